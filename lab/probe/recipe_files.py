"""Configuration files and long commands of the recipes."""

from __future__ import annotations

from collections.abc import Sequence

NGINX = """
user root; worker_processes 1; error_log stderr; pid /run/nginx.pid; daemon off;
events { worker_connections 1024; }
http { access_log off; sendfile on; server {
    listen 80; listen 443 ssl http2; root html;
    ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3;
} }
"""
NGINX_H2 = NGINX.replace("root html;", "root html; ssl_buffer_size 8201;")
"""Each frame is a TLS record of its own, whatever the socket takes at once."""
BEHIND = """
user root; worker_processes 1; error_log stderr; pid /run/nginx.pid; daemon off;
events { worker_connections 1024; }
http { access_log off; server { listen 127.0.0.1:8001; root html; } }
"""
NGINX_GIT = (
    NGINX.replace("listen 443 ssl http2; root html;", "root git;").partition("ssl_certificate")[0] + "} }\n"
)
STUNNEL = """
foreground = yes
pid =
syslog = no
[https]
accept = 443
connect = 127.0.0.1:8001
cert = both.pem
"""
HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend tls
    bind :443 ssl crt both.pem
    default_backend own
backend own
    server nginx 127.0.0.1:8001
"""
LIGHTTPD = """
server.modules = ("mod_openssl")
server.document-root = env.PWD + "/html"
server.port = 80
etag.use-inode = "disable"
index-file.names = ("index.html")
mimetype.assign = (".html" => "text/html", "" => "application/octet-stream")
$SERVER["socket"] == ":443" { ssl.engine = "enable" ssl.pemfile = env.PWD + "/both.pem" }
"""
APACHE_COMMAND = "exec apache2 -DFOREGROUND -d $PWD -f $PWD/apache.conf"
SSHD_COMMAND = (
    "mkdir -p /run/sshd && chmod 755 /run/sshd && exec /usr/sbin/sshd -D -e -f /dev/null -h $PWD/host "
    "-o AuthorizedKeysFile=$PWD/authorized -o PermitRootLogin=yes -o StrictModes=no -o UsePAM=no"
)
VSFTPD = """
listen=YES
background=NO
anonymous_enable=YES
no_anon_password=YES
pasv_min_port=30000
pasv_max_port=30009
secure_chroot_dir=/run/vsftpd/empty
seccomp_sandbox=NO
"""
VSFTPD_COMMAND = (
    "mkdir -p /run/vsftpd/empty /srv/ftp && chmod 755 html && "
    "exec vsftpd $PWD/vsftpd.conf -oanon_root=$PWD/html"
)
EXIM = """
primary_hostname = mail.example
queue_only = true
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = SPOOL/cert.pem
tls_privatekey = SPOOL/key.pem
spool_directory = SPOOL/spool
log_file_path = SPOOL/exim-%slog
acl_smtp_rcpt = all
begin acl
all:
  accept
"""
EXIM_COMMAND = (
    "sed -i s,SPOOL,$PWD,g exim.conf && mkdir -p spool && chown Debian-exim: . spool key.pem && "
    "exec exim4 -C $PWD/exim.conf -bdf -oX 25 -oP $PWD/exim.pid"
)
EXIM_PROOF = "sed 1d spool/input/*-D | cmp - body"
SWAKS = (
    'printf "Subject: x\\r\\n\\r\\nhello\\r\\n" | curl -sSk TLS --max-time 30 --mail-from a@example '
    "--mail-rcpt b@example -T - smtp://$SERVICE4/client.example"
)
DOVECOT = """
protocols = imap pop3
base_dir = /run/dovecot
log_path = /dev/stderr
ssl = required
ssl_options = no_ticket
import_environment = $import_environment LD_PRELOAD FTTCP_LOCKSTEP
ssl_cert = </run/dovecot-files/cert.pem
ssl_key = </run/dovecot-files/key.pem
mail_location = maildir:/run/dovecot-files/mail
first_valid_uid = 1
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = 993
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = 0
  }
  inet_listener pop3s {
    port = 995
    ssl = yes
  }
}
passdb {
  driver = static
  args = password=probe
}
userdb {
  driver = static
  args = uid=mail gid=mail home=/run/dovecot-files
}
"""
DOVECOT_COMMAND = (
    "mkdir -p /run/dovecot-files && cp -rp maildir /run/dovecot-files/mail && "
    "cp cert.pem key.pem /run/dovecot-files && "
    "chown -R mail: /run/dovecot-files && exec dovecot -F -c $PWD/dovecot.conf"
)
UIDLIST = "3 V1700000000 N2 G0123456789abcdef0123456789abcdef\n1 :1700000000.1.probe\n"
AS_POSTGRES = "--reuid=postgres --regid=postgres --clear-groups"
MAY_NUMBER = "--inh-caps +checkpoint_restore --ambient-caps +checkpoint_restore"
"""So that children get the numbers of their connections."""
POSTGRES = (
    "/usr/lib/postgresql/*/bin/postgres -D $PWD/pg -c listen_addresses=* -c port=5432 -c fsync=off "
    "-c unix_socket_directories= -c dynamic_shared_memory_type=mmap -c ssl=on -c ssl_cert_file=$PWD/cert.pem "
    "-c ssl_key_file=$PWD/key.pem"
)
ETCD_COMMAND = (
    "exec etcd --name one --data-dir $PWD/data --listen-client-urls http://0.0.0.0:2379 "
    "--advertise-client-urls http://10.77.0.100:2379"
)
PYTHON = """
import http.server, ssl
class Pages(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *words):
        super().__init__(*words, directory="html")
server = http.server.ThreadingHTTPServer(("", 443), Pages)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
NODE = """
const fs = require("fs"), https = require("https");
const own = {key: fs.readFileSync("key.pem"), cert: fs.readFileSync("cert.pem")};
https.createServer(own, (request, response) => {
    const name = "html" + (request.url === "/" ? "/index.html" : request.url.replaceAll("..", ""));
    if (!fs.existsSync(name)) { response.writeHead(404); response.end("no\\n"); return; }
    response.sendDate = false; // it is made once in a second, for all connections
    response.writeHead(200, {"Content-Length": fs.statSync(name).size});
    fs.createReadStream(name).pipe(response);
}).listen(443, "0.0.0.0");
"""
JAVA = """
import com.sun.net.httpserver.*;
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.security.*;
import javax.net.ssl.*;

public class Server {
    public static void main(String[] words) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        char[] password = "probe1".toCharArray();
        store.load(new FileInputStream("store.p12"), password);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        HttpsServer server = HttpsServer.create(new InetSocketAddress("0.0.0.0", 443), 128);
        server.setHttpsConfigurator(new HttpsConfigurator(context));
        server.createContext("/", exchange -> {
            String path = exchange.getRequestURI().getPath();
            Path file = Path.of("html" + (path.equals("/") ? "/index.html" : path)).normalize();
            boolean there = Files.isRegularFile(file);
            exchange.sendResponseHeaders(there ? 200 : 404, there ? Files.size(file) : -1);
            try (OutputStream out = exchange.getResponseBody()) { if (there) Files.copy(file, out); }
        });
        server.setExecutor(java.util.concurrent.Executors.newCachedThreadPool());
        server.start();
    }
}
"""


def apache(mpm: str) -> str:
    """The configuration of Apache with one of its ways to serve."""
    modules = {
        "ssl": "ssl",
        "authz_core": "authz_core",
        "dir": "dir",
        "mime": "mime",
        f"mpm_{mpm}": f"mpm_{mpm}",
    }
    load = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{file}.so" for name, file in modules.items()
    )
    return f"""
{load}
ServerName probe.test
PidFile /run/apache.pid
ErrorLog /dev/stderr
Listen 443
User www-data
Group www-data
TypesConfig /etc/mime.types
DocumentRoot ${{PWD}}/html
DirectoryIndex index.html
<Directory "${{PWD}}/html">
    Require all granted
</Directory>
SSLEngine on
SSLCertificateFile ${{PWD}}/cert.pem
SSLCertificateKeyFile ${{PWD}}/key.pem
"""


def copy(rows: int) -> str:
    """Rows of a query that needs no table."""
    return f"copy (select i, md5(i::text) from generate_series(1, {rows}) i) to stdout"


MOSQUITTO = """
listener 1883
allow_anonymous true
persistence false
max_queued_messages 0
"""
GIT_DAEMON = "git -c safe.directory=* daemon --base-path=/srv/probe/git --export-all --reuseaddr"
RSYNC = """
use chroot = no
uid = root
[files]
path = /srv/probe/html
"""
DNSMASQ = (
    "dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --port=0 --bind-dynamic "
    "--enable-tftp --tftp-root=/srv/probe/html"
)
GANESHA = """
NFS_CORE_PARAM { NFS_Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFSV4 { Graceless = true; RecoveryBackend = fs; Minor_Versions = 0; }
EXPORT {
    Export_Id = 1; Path = /srv/probe/html; Pseudo = /html; Access_Type = RO; Squash = None; SecType = sys;
    Protocols = 4; Transports = TCP; FSAL { Name = VFS; }
}
"""
GANESHA_COMMAND = (
    "mkdir -p /run/ganesha /var/lib/nfs/ganesha && "
    "exec ganesha.nfsd -F -E 1700000000 -L /dev/stderr -f /srv/probe/ganesha.conf -p /run/ganesha.pid"
)
TGT_COMMAND = (
    "(until tgtadm --op show --mode sys > /dev/null 2>&1; do sleep 0.05; done; "
    "tgtadm --op new --mode target --tid 1 --targetname iqn.2026-01.example:disk && "
    "tgtadm --op new --mode logicalunit --tid 1 --lun 1 --backing-store $PWD/html/payload && "
    "tgtadm --op bind --mode target --tid 1 --initiator-address ALL && "
    "tgtadm --op new --mode portal --param portal=0.0.0.0:3260) & "
    "exec tgtd -f --iscsi portal=127.0.0.1:3261"
)
"""Its port is opened when there is something to be had."""
TFTPD = "in.tftpd --foreground --listen --address 10.77.0.100:69 --secure /srv/probe/html"
WEBSOCKET = """
import asyncio, pathlib, websockets
data = pathlib.Path("html/payload").read_bytes()
async def serve(client):
    async for size in client:
        for at in range(0, int(size), 50_000):
            await client.send(data[at:min(at + 50_000, int(size))])
async def main():
    async with websockets.serve(serve, "0.0.0.0", 80, compression=None, ping_interval=None):
        await asyncio.Future()
asyncio.run(main())
"""
WEBSOCKET_CLIENT = """
import asyncio, sys, websockets
async def main():
    async with websockets.connect(f"ws://{sys.argv[1]}", compression=None, ping_interval=None) as server:
        await server.send(sys.argv[2])
        left = int(sys.argv[2])
        while left:
            piece = await server.recv()
            left -= len(piece)
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
asyncio.run(main())
"""

BIRD_COMMAND = "env FTTCP_LOCKSTEP_RANDOM=1 bird -f -c bird.conf -s /run/bird.ctl -P /run/bird.pid"
BIRD_SETTINGS = ("timing.output_lag_ms=20000",)
BIRD_NEIGHBOUR = """
log "LOG" all; debug protocols { states, events };
router id 10.77.0.10;
protocol device { }
protocol static { ipv4; route 203.0.113.0/24 blackhole; }
protocol bgp service {
  local LOCAL as 65002; neighbor SERVICE as 65001; multihop; hold time 3; connect delay time 1;
  ipv4 { import all; export where source = RTS_STATIC; };
}
"""
_BIRD_BEGINS = (
    "d=$(mktemp -d); own=$(ip route get $SERVICE4 | sed -n 's/.* src \\([0-9.]*\\).*/\\1/p'); "
    "sed -e s/SERVICE/$SERVICE4/ -e s/LOCAL/$own/ -e s,LOG,$d/log, {files}/peer.conf > $d/conf; "
    "bird -f -c $d/conf -s $d/ctl -P $d/pid & trap 'kill $!; wait; rm -r $d' EXIT; "
)
BIRD_BEHIND_ROUTER = "protocol bgp far from peers { neighbor 10.81.0.40 as 65002; multihop; }\n"
BIRD_PEER = f"{_BIRD_BEGINS} sleep 6; birdc -s $d/ctl show protocols service | grep Established"
BIRD_LOOKS = 80
BIRD_STREAM = (
    f"{_BIRD_BEGINS} up() {{ birdc -s $d/ctl show protocols service 2>&1 | grep -q Established; }}; "
    "until up; do kill -0 $! || exit 1; sleep 0.1; done; "
    f"for i in $(seq {BIRD_LOOKS}); do up || exit 1; echo established; sleep 0.1; done; "
    "! grep -e Received: -e closed $d/log >&2"
)
"""Says again and again that the session is up; it fails if there was another one meanwhile."""


def bird(
    peers: Sequence[str],
    how: str = "passive;",
    routes: Sequence[str] = ("198.51.100.0/24",),
    export: str = "where source = RTS_STATIC",
) -> str:
    """The configuration of BIRD as a router with such peers. ``how`` they meet: passive, they connect to the
    service address; ``routes`` of its own; which of all are sent to peers."""
    own = " ".join(f"route {network} blackhole;" for network in routes)
    sessions = "\n".join(f"protocol bgp from peers {{ neighbor {address} external; }}" for address in peers)
    return f"""
log stderr all;
router id 10.77.0.100;
protocol device {{ }}
protocol static {{ ipv4; {own} }}
template bgp peers {{
  local 10.77.0.100 as 65001;
  {how}
  strict bind;
  hold time 240;
  ipv4 {{ import all; export {export}; }};
}}
{sessions}
"""
