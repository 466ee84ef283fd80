"""Servers of the field, each as one can run it in a probe: programs, files, and what a client does.

Commands run in a directory that has the recipe's files; `sh -c` where they must know its name.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import keys
from lab.download import make_file
from lab.probe import recipe_clients as clients
from lab.probe import recipe_files as text

STREAM_BYTES = 20_000_000
VALUE_BYTES = 100_000
GIT_FILE_BYTES = 50_000
ROWS = 300_000
_CURL = "curl -sSkf --max-time 60"
_SSH = (
    "ssh -q -i /run/fttcp-probe-ssh -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "
    "-o UserKnownHostsFile=/dev/null root@$SERVICE4"
)
_KEY = "install -m 600 {files}/client /run/fttcp-probe-ssh"

Prepare = Callable[[Path], bytes]
"""Writes files to a directory; returns what `stream` prints, b"" if that is not known."""


@dataclass(frozen=True)
class Recipe:
    """A server. `client`: None for what `fttcp probe-server` generates; `stream`: prints a long download, or
    an upload piece by piece as it is taken. `{files}` in these is the directory of the files, as the client
    sees it. `proof`: run with the files of the server that is left, says whether it has all of an upload."""

    name: str
    port: str
    command: str
    prepare: Prepare
    version: str
    packages: tuple[str, ...]
    client: str | None = None
    stream: str | None = None
    proof: str | None = None
    settings: tuple[str, ...] = ()
    note: str = ""

    @property
    def program(self) -> str:
        """What must be installed."""
        return shlex.split(self.version)[0]

    @property
    def first_port(self) -> int:
        """Of its ports."""
        return int(re.split(r"[-/]", self.port)[0])


def _certificate(place: Path) -> None:
    words = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=probe"
    subprocess.run(words.split(), cwd=place, check=True, capture_output=True)
    (place / "both.pem").write_text((place / "cert.pem").read_text() + (place / "key.pem").read_text())


def _site(place: Path) -> bytes:
    """Some pages, a long file, and a certificate."""
    (place / "html").mkdir()
    (place / "html/index.html").write_text("<p>hello</p>\n")
    _certificate(place)
    make_file(place / "html/payload", STREAM_BYTES)
    return (place / "html/payload").read_bytes()


def _with(**files: str) -> Prepare:
    """A site, and files of these names (`__` is a dot)."""

    def prepare(place: Path) -> bytes:
        for name, content in files.items():
            (place / name.replace("__", ".")).write_text(content)
        return _site(place)

    return prepare


def _ssh(place: Path) -> bytes:
    keys.write_private(place / "host", keys.SSH_HOST_KEY)
    keys.write_private(place / "client", keys.SSH_USER_KEY)
    (place / "authorized").write_text(f"{keys.SSH_USER}\n")
    return _site(place)


def _ftp(place: Path) -> bytes:
    (place / "vsftpd.conf").write_text(text.VSFTPD)
    return _site(place)


def _mail(place: Path) -> bytes:
    """A certificate, and a long mail in the file `mail`, with lines as SMTP wants them."""
    _certificate(place)
    body = base64.encodebytes(random.Random(1).randbytes(STREAM_BYTES * 3 // 4))
    mail = b"Subject: long\r\n\r\n" + body.replace(b"\n", b"\r\n")
    (place / "mail").write_bytes(mail)
    return mail


def _exim(place: Path) -> bytes:
    (place / "exim.conf").write_text(text.EXIM)
    mail = _mail(place)
    (place / "body").write_bytes(mail.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n"))
    return mail


def _git_site(place: Path) -> bytes:
    """The same repositories as files, and the pack of the big one."""
    _git(place)
    (place / "nginx.conf").write_text(text.NGINX_GIT)
    for repository in (place / "git").iterdir():
        subprocess.run(["git", "-C", repository, "update-server-info"], check=True)
    (pack,) = (place / "git/big").glob("objects/pack/*.pack")
    return pack.read_bytes()


def _dialogue(put: bytes, stored: bytes, get: bytes, got: bytes, **files: str) -> Prepare:
    """A client that stores a value, and asks for it again and again on the same connection; what it says, and
    how it is answered, with TEXT where that stands. More `files`: of the server."""

    def prepare(place: Path) -> bytes:
        value, count = (
            base64.b16encode(random.Random(1).randbytes(VALUE_BYTES // 2)),
            STREAM_BYTES // VALUE_BYTES,
        )
        said, first, ask, each = (one.replace(b"TEXT", value) for one in (put, stored, get, got))
        (place / "put").write_bytes(said)
        (place / "get").write_bytes(ask)
        sizes = f"STORED, GOT, COUNT = {len(first)}, {len(each)}, {count}\n"
        (place / "client.py").write_text(sizes + clients.DIALOGUE)
        for name, content in files.items():
            (place / name.replace("__", ".")).write_text(content)
        return first + each * count

    return prepare


def _bird(place: Path) -> bytes:
    (place / "bird.conf").write_text(text.bird(["10.77.0.10"]) + text.BIRD_BEHIND_ROUTER)
    (place / "peer.conf").write_text(text.BIRD_NEIGHBOUR)
    return b"established\n" * text.BIRD_LOOKS


def _dovecot(place: Path) -> bytes:
    """One mail, and what is kept about mails: each node would draw its own numbers."""
    (place / "dovecot.conf").write_text(text.DOVECOT)
    mail = _mail(place)
    (place / "maildir/cur").mkdir(parents=True)
    (place / "mail").rename(place / "maildir/cur/1700000000.1.probe:2,S")
    (place / "maildir/dovecot-uidlist").write_text(text.UIDLIST)
    return mail


def _disk(place: Path) -> bytes:
    """The file as a disk: whole blocks of it."""
    return _site(place)[: STREAM_BYTES // 512 * 512]


def _git(place: Path) -> bytes:
    """Two repositories, a small one and a big one; returns the pack of a clone of that."""
    chance, stream = random.Random(1), [b"commit refs/heads/main\ncommitter x <x> 1700000000 +0000\ndata 0\n"]
    for number in range(STREAM_BYTES // GIT_FILE_BYTES):
        blob = chance.randbytes(GIT_FILE_BYTES)
        stream.append(b"M 644 inline %d\ndata %d\n%s\n" % (number, len(blob), blob))
    for name, commit in (("big", stream), ("small", stream[:2])):
        where = ["git", "-C", f"git/{name}", "-c", "core.compression=0"]
        for words in (["init", "-q", "--bare", "-b", "main"], ["fast-import", "--quiet", "--depth=0"]):
            (place / "git" / name).mkdir(parents=True, exist_ok=True)
            subprocess.run([*where, *words], cwd=place, check=True, input=b"".join(commit))
    words = ["git", "-c", "safe.directory=*", "clone", "-q", "--bare", f"file://{place}/git/big", "copy"]
    subprocess.run(words, cwd=place, check=True)
    (pack,) = (place / "copy").glob("objects/pack/*.pack")
    content = pack.read_bytes()
    shutil.rmtree(place / "copy")
    return content


def _postgres(place: Path) -> bytes:
    """One cluster, copied to both: it has the name and the numbers that it was made with."""
    (place / "password").write_text("probe\n")
    shutil.chown(place, "postgres", "postgres")
    initdb = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    words = [
        str(initdb),
        "--no-sync",
        "--auth=scram-sha-256",
        "--username=probe",
        "--pwfile=password",
        "-D",
        "pg",
    ]
    subprocess.run(["setpriv", *text.AS_POSTGRES.split(), *words], cwd=place, check=True, capture_output=True)
    with (place / "pg/pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    _certificate(place)
    rows = (f"{i}\t{hashlib.md5(str(i).encode()).hexdigest()}\n".encode() for i in range(1, ROWS + 1))
    return b"".join(rows)


def _java(place: Path) -> bytes:
    expected = _with(**{"Server__java": text.JAVA})(place)
    store = "openssl pkcs12 -export -inkey key.pem -in cert.pem -out store.p12 -passout pass:probe1"
    subprocess.run(store.split(), cwd=place, check=True, capture_output=True)
    subprocess.run(["javac", "Server.java"], cwd=place, check=True)
    return expected


def _http(path: str = "payload") -> str:
    return f"{_CURL} http://$SERVICE4/{path}"


def _https(path: str = "payload", more: str = "") -> str:
    return f"{_CURL} {more} https://$SERVICE4/{path}"


def _pages(url: str, more: str = "") -> str:
    """Ten clients, some of them asking twice on one connection."""
    twice = f"{_CURL} {more} -o /dev/null {url} -o /dev/null {url}"
    return f"for i in 0 1 2 3 4 5 6 7 8 9; do {twice} || exit 1; done"


_DIALOGUE = "python3 {files}/client.py $SERVICE4 $PORT"
_SMTP = f"python3 -c {shlex.quote(clients.SMTP)} $SERVICE4 {{files}}/mail"
_NFS, _NFS_OPTIONS = "nfs-cat 'nfs://'$SERVICE4'/html", "?version=4&autoreconnect=0'"
_ISCSI = f"python3 -c {shlex.quote(clients.ISCSI)} $SERVICE4"
_MEMCACHED = _dialogue(
    b"set x 0 0 %d\r\nTEXT\r\n" % VALUE_BYTES, b"STORED\r\n",
    b"get x\r\n", b"VALUE x 0 %d\r\nTEXT\r\nEND\r\n" % VALUE_BYTES,
)  # fmt: skip
_REDIS = _dialogue(
    b"*3\r\n$3\r\nset\r\n$1\r\nx\r\n$%d\r\nTEXT\r\n" % VALUE_BYTES, b"+OK\r\n",
    b"get x\r\n", b"$%d\r\nTEXT\r\n" % VALUE_BYTES,
)  # fmt: skip
_RETAINED = b"\x31\xa3\x8d\x06\0\1tTEXT"
"""MQTT 3.1.1: PUBLISH to the topic t, retained; 100,003 bytes follow its length."""
_MOSQUITTO = _dialogue(
    b"\x10\x0d\0\4MQTT\4\2\0\0\0\1c" + _RETAINED, b"\x20\2\0\0",
    b"\x82\6\0\1\0\1t\0\xa2\5\0\1\0\1t", b"\x90\3\0\1\0" + _RETAINED + b"\xb0\2\0\1",
    mosquitto__conf=text.MOSQUITTO,
)  # fmt: skip
_DOVECOT = ("dovecot-imapd", "dovecot-pop3d")
_ENVIRONMENT = "`import_environment` with the two variables; `ssl_options = no_ticket`"
_ETAG = '`etag.use-inode = "disable"`: else the number of the file is in each `ETag`'
_LIGHTTPD = "sh -c 'exec lighttpd -D -f lighttpd.conf'"
_NGINX = "nginx -p . -c nginx.conf"
_PSQL = "PGPASSWORD=probe psql -qAt -h $SERVICE4 -U probe -d postgres"
_MANY = "for i in 1 2 3 4 5; do {} || exit 1; done"
_POSTGRES = (
    "sh -c 'chown -R postgres: . $FTTCP_LOCKSTEP && chmod 700 pg && chmod 600 key.pem && "
    f"FTTCP_LOCKSTEP_PIDS=1 exec setpriv {text.AS_POSTGRES} {text.MAY_NUMBER} {text.POSTGRES}'"
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("memcached", "11211/tcp", "memcached -u root -p 11211", _MEMCACHED, "memcached -V",
               ("memcached",), stream=_DIALOGUE, settings=('state="memory"',)),
        Recipe("redis", "6379/tcp", "redis-server --protected-mode no --save '' --bind '*' '-::*'",
               _REDIS, "redis-server -v", ("redis-server",), stream=_DIALOGUE, settings=('state="memory"',)),
        Recipe("mosquitto", "1883/tcp", "mosquitto -c mosquitto.conf", _MOSQUITTO,
               "mosquitto -h", ("mosquitto",), client=f"{_DIALOGUE} > /dev/null", stream=_DIALOGUE,
               settings=('state="memory"',)),
        Recipe("nginx", "80/tcp", _NGINX, _with(nginx__conf=text.NGINX), "nginx -v",
               ("nginx-light",), stream=_http()),
        Recipe("nginx-tls13", "443/tcp", _NGINX, _with(nginx__conf=text.NGINX), "nginx -v",
               ("nginx-light",), stream=_https(more="--http1.1")),
        Recipe("nginx-tls12", "443/tcp", _NGINX, _with(nginx__conf=text.NGINX), "nginx -v",
               ("nginx-light",), client=_pages("https://$SERVICE4/", "--http1.1 --tls-max 1.2"),
               stream=_https(more="--http1.1 --tls-max 1.2")),
        Recipe("nginx-h2", "443/tcp", _NGINX, _with(nginx__conf=text.NGINX_H2), "nginx -v",
               ("nginx-light",), client=_pages("https://$SERVICE4/", "--http2"),
               stream=_https(more="--http2"), note="`ssl_buffer_size 8201`"),
        Recipe("lighttpd", "80/tcp", _LIGHTTPD, _with(lighttpd__conf=text.LIGHTTPD),
               "lighttpd -v", ("lighttpd", "lighttpd-mod-openssl"), stream=_http(), note=_ETAG),
        Recipe("lighttpd-tls", "443/tcp", _LIGHTTPD, _with(lighttpd__conf=text.LIGHTTPD),
               "lighttpd -v", ("lighttpd", "lighttpd-mod-openssl"), stream=_https(more="--http1.1"),
               note=_ETAG),
        Recipe("lighttpd-gnutls", "443/tcp", _LIGHTTPD,
               _with(lighttpd__conf=text.LIGHTTPD.replace("openssl", "gnutls")), "lighttpd -v",
               ("lighttpd", "lighttpd-mod-gnutls"), stream=_https(more="--http1.1"), note=_ETAG),
        Recipe("haproxy-tls", "443/tcp", "sh -c 'nginx -p . -c nginx.conf & exec haproxy -f haproxy.cfg'",
               _with(haproxy__cfg=text.HAPROXY, nginx__conf=text.BEHIND), "haproxy -v",
               ("haproxy", "nginx-light"), stream=_https(), note="ends TLS before an nginx on its own host"),
        Recipe("stunnel", "443/tcp", "sh -c 'nginx -p . -c nginx.conf & exec stunnel4 stunnel.conf'",
               _with(stunnel__conf=text.STUNNEL, nginx__conf=text.BEHIND), "stunnel4 -version",
               ("stunnel4", "nginx-light"), stream=_https(), note="before an nginx on its own host"),
        Recipe("apache-event", "443/tcp", f"sh -c '{text.APACHE_COMMAND}'",
               _with(apache__conf=text.apache("event")), "apache2 -v", ("apache2",), stream=_https()),
        Recipe("apache-prefork", "443/tcp", f"sh -c '{text.APACHE_COMMAND}'",
               _with(apache__conf=text.apache("prefork")), "apache2 -v", ("apache2",), stream=_https()),
        Recipe("openssh", "22/tcp", f"sh -c '{text.SSHD_COMMAND}'", _ssh, "ssh -V", ("openssh-server",),
               client=f"{_KEY} && " + _MANY.format(f"{_SSH} echo hello"),
               stream=f"{_KEY} && {_SSH} cat {{files}}/html/payload"),
        Recipe("vsftpd", "21/tcp,30000-30009/tcp", f"sh -c '{text.VSFTPD_COMMAND}'", _ftp, "vsftpd -v 0>&1",
               ("vsftpd",), client=_MANY.format(f"{_CURL} -o /dev/null ftp://$SERVICE4/index.html"),
               stream=f"{_CURL} ftp://$SERVICE4/payload", settings=('order="service"',),
               note='passive: it draws the port of the data; `order = "service"`'),
        Recipe("exim", "25/tcp", f"sh -c '{text.EXIM_COMMAND}'", _exim, "exim4 -bV", ("exim4-daemon-light",),
               client=_MANY.format(text.SWAKS.replace("TLS", "")), stream=_SMTP, proof=text.EXIM_PROOF),
        Recipe("exim-starttls", "25/tcp", f"sh -c '{text.EXIM_COMMAND}'", _exim, "exim4 -bV",
               ("exim4-daemon-light",), client=_MANY.format(text.SWAKS.replace("TLS", "--ssl-reqd")),
               stream=f"{_SMTP} tls", proof=text.EXIM_PROOF),
        Recipe("dovecot-imap", "993/tcp", f"sh -c '{text.DOVECOT_COMMAND}'", _dovecot, "dovecot --version",
               _DOVECOT, client=_MANY.format(f"{_CURL} -o /dev/null -u probe:probe imaps://$SERVICE4/"),
               stream=f"{_CURL} -u probe:probe \"imaps://$SERVICE4/INBOX;MAILINDEX=1\"",
               note=_ENVIRONMENT),
        Recipe("dovecot-pop3", "995/tcp", f"sh -c '{text.DOVECOT_COMMAND}'", _dovecot, "dovecot --version",
               _DOVECOT, client=_MANY.format(f"{_CURL} -o /dev/null -u probe:probe pop3s://$SERVICE4/"),
               stream=f"{_CURL} -u probe:probe pop3s://$SERVICE4/1",
               note=_ENVIRONMENT),
        Recipe("postgres", "5432/tcp", _POSTGRES, _postgres, "psql -V", ("postgresql",),
               client=_MANY.format(f'PGSSLMODE=disable {_PSQL} -c "select 42"'),
               stream=f"PGSSLMODE=disable {_PSQL} -c '{text.copy(ROWS)}'",
               note="SCRAM; two copies of one cluster; `FTTCP_LOCKSTEP_PIDS=1`"),
        Recipe("postgres-tls", "5432/tcp", _POSTGRES, _postgres, "psql -V", ("postgresql",),
               client=_MANY.format(f'PGSSLMODE=require {_PSQL} -c "select 42"'),
               stream=f"PGSSLMODE=require {_PSQL} -c '{text.copy(ROWS)}'",
               note="SCRAM over TLS; `FTTCP_LOCKSTEP_PIDS=1`"),
        Recipe("python-ssl", "443/tcp", "python3 server.py", _with(server__py=text.PYTHON),
               "python3 --version", ("python3",), stream=_https()),
        Recipe("nodejs-tls", "443/tcp", "node server.js", _with(server__js=text.NODE), "node --version",
               ("nodejs",), stream=_https()),
        Recipe("java-tls", "443/tcp", "java -cp . Server", _java, "java -version", ("default-jdk-headless",),
               stream=_https()),
        Recipe("rsync", "873/tcp", "rsync --daemon --no-detach --port=873 --config=rsyncd.conf",
               _with(rsyncd__conf=text.RSYNC), "rsync --version", ("rsync",),
               client=_MANY.format("rsync -q rsync://$SERVICE4/files/index.html /dev/null"),
               stream=clients.RSYNC_STREAM, note="clients with `--checksum-seed=1`"),
        Recipe("dnsmasq-tftp", "69/udp", text.DNSMASQ, _site, "dnsmasq --version", ("dnsmasq-base",),
               stream=f"{_CURL} --tftp-blksize 1408 tftp://$SERVICE4/payload"),
        Recipe("tftpd-hpa", "69/udp", text.TFTPD, _site, "in.tftpd -V", ("tftpd-hpa",),
               stream=f"{_CURL} --tftp-blksize 1408 tftp://$SERVICE4/payload"),
        Recipe("git", "9418/tcp", text.GIT_DAEMON, _git, "git --version", ("git",),
               client=clients.git(clients.GIT, "git://$SERVICE4", ""),
               stream=clients.git(clients.GIT_STREAM, "git://$SERVICE4", "tmp_pack")),
        Recipe("git-http", "80/tcp", _NGINX, _git_site, "nginx -v", ("git", "nginx-light"),
               client=clients.git(clients.GIT, "http://$SERVICE4", ""),
               stream=clients.git(clients.GIT_STREAM, "http://$SERVICE4", ".pack.temp"),
               note="`git update-server-info`, served as files by nginx"),
        Recipe("ganesha", "2049/tcp", f"sh -c '{text.GANESHA_COMMAND}'", _with(ganesha__conf=text.GANESHA),
               "ganesha.nfsd -v", ("nfs-ganesha", "nfs-ganesha-vfs", "libnfs-utils"),
               client=_MANY.format(f"{_NFS}/index.html{_NFS_OPTIONS} > /dev/null"),
               stream=f"{_NFS}/payload{_NFS_OPTIONS}", note="NFS 4.0, one disk; the same `-E`"),
        Recipe("tgt", "3260/tcp", f"sh -c '{text.TGT_COMMAND}'", _disk, "tgtd --version",
               ("tgt", "libiscsi-bin"), client=_MANY.format(f"{_ISCSI} 10 > /dev/null"),
               stream=f"{_ISCSI} {STREAM_BYTES // 512}", note="iSCSI"),
        Recipe("websocket", "80/tcp", "/usr/bin/python3 server.py",
               _with(server__py=text.WEBSOCKET, client__py=text.WEBSOCKET_CLIENT),
               "/usr/bin/python3 -c 'import websockets; print(websockets.__version__)'",
               ("python3-websockets",),
               client=_MANY.format("/usr/bin/python3 {files}/client.py $SERVICE4 1000 > /dev/null"),
               stream=f"/usr/bin/python3 {{files}}/client.py $SERVICE4 {STREAM_BYTES}",
               note="Python's websockets, `ping_interval=None`"),
        Recipe("bird", "179/tcp", text.BIRD_COMMAND, _bird, "bird --version", ("bird2",),
               client=text.BIRD_PEER, stream=text.BIRD_STREAM, settings=text.BIRD_SETTINGS,
               note="peers connect; `FTTCP_LOCKSTEP_RANDOM=1`"),
        Recipe("iperf3", "5201/tcp", "iperf3 -s", lambda _: b"", "iperf3 --version", ("iperf3",),
               client="for i in 1 2 3; do iperf3 -c $SERVICE4 -n 2M -R > /dev/null || exit 1; done",
               note="each side tells the other its own processor time and speed"),
        Recipe("go", "2379/tcp", f"sh -c '{text.ETCD_COMMAND}'", lambda _: b"", "etcd --version",
               ("etcd-server",), client=_MANY.format(f"{_CURL} -o /dev/null http://$SERVICE4:2379/version"),
               note="etcd, a Go program"),
    )
}  # fmt: skip
