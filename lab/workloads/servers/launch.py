"""Makes the files that a real server needs in the working directory, then becomes that server (exec).

The files are the same bytes with the same times on every host, as they would be on well-kept peers.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lab import keys
from lab.workloads.ramp import PERIOD, Ramp

CONTENT_SEED = 1
CONTENT_TIME = 1_700_000_000
WEB_SIZE = 128 << 20
HTTPD_SIZE = 32 << 20
SSH_SIZE = 32 << 20
TFTP_SIZES = (100_000, 1_000_000, 2_000_000, 5_000_000, 20_000_000)

NGINX_CONF = """
worker_processes 2;
daemon off;
user root;
pid nginx.pid;
error_log nginx-error.log warn;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  keepalive_timeout 75s;
  client_body_temp_path upload-temp;
  client_max_body_size 0;
  proxy_temp_path upload-temp;
  fastcgi_temp_path upload-temp;
  uwsgi_temp_path upload-temp;
  scgi_temp_path upload-temp;
  server {
    listen [ADDRESS]:PORT ipv6only=off backlog=4096;
    root www;
    location /put/ { dav_methods PUT DELETE; create_full_put_path on; }
    OWN
  }
}
"""
NGINX_PACED = """
    location /paced/ { alias www/; limit_rate $arg_rate; sendfile_max_chunk 64k; }
    location /slow/ { alias www/; limit_rate $arg_rate; sendfile_max_chunk 8k; }
"""
NGINX_TLS = """
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate tls.pem;
    ssl_certificate_key tls.key;
"""
SSH_HOME = Path("/srv/ssh")
"""Of each host its own, at the same place: sshd tells its clients where it found their key."""
SSH_FILE = SSH_HOME / "ramp.bin"
SSHD_CONF = f"""
Port PORT
ListenAddress 0.0.0.0
ListenAddress [ADDRESS]
HostKey {SSH_HOME}/host_key
AuthorizedKeysFile {SSH_HOME}/users
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
"""


def write_ramp(path: Path, size: int) -> None:
    """Write a file of ``size`` bytes of the content ramp, unless it is there."""
    if path.exists() and path.stat().st_size == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    once = Ramp(CONTENT_SEED).span(0, PERIOD)
    unfinished = path.with_suffix(f".{os.getpid()}")
    with unfinished.open("wb") as file:
        for at in range(0, size, PERIOD):
            file.write(once[: size - at])
    os.utime(unfinished, (CONTENT_TIME, CONTENT_TIME))
    unfinished.rename(path)


def nginx(address: str, port: int) -> list[str]:
    """nginx with a big file, paced locations and an upload location."""
    return _nginx(Path.cwd(), address, str(port), NGINX_PACED)


def nginx_tls(address: str, port: int) -> list[str]:
    """nginx that ends TLS, with a big file and an upload location.

    Its command is the same on all hosts: when it is kept in step, the keys of its tickets follow from that.
    """
    home = Path("tls")
    home.mkdir(exist_ok=True)
    (home / "tls.key").write_text(keys.TLS_KEY)
    (home / "tls.pem").write_text(keys.TLS_CERTIFICATE)
    return _nginx(home, address, f"{port} ssl", NGINX_TLS)


def _nginx(home: Path, address: str, port: str, own: str) -> list[str]:
    write_ramp(home / "www/ramp.bin", WEB_SIZE)
    (home / "www/put").mkdir(exist_ok=True)
    config = NGINX_CONF.replace("ADDRESS", address).replace("PORT", port).replace("OWN", own)
    (home / "nginx.conf").write_text(config)
    return ["nginx", "-p", f"{home}/", "-e", "nginx-error.log", "-c", "nginx.conf"]


def sshd(address: str, port: int) -> list[str]:
    """OpenSSH, for root with the lab's key."""
    write_ramp(SSH_FILE, SSH_SIZE)
    Path("/run/sshd").mkdir(exist_ok=True)
    keys.write_private(SSH_HOME / "host_key", keys.SSH_HOST_KEY)
    (SSH_HOME / "users").write_text(f"{keys.SSH_USER}\n")
    config = SSH_HOME / "sshd_config"
    config.write_text(SSHD_CONF.replace("ADDRESS", address).replace("PORT", str(port)))
    return ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)]


def http_server(address: str, port: int) -> list[str]:
    """Python's own http.server."""
    write_ramp(Path("httpd/ramp.bin"), HTTPD_SIZE)
    return ["python3", "-m", "http.server", str(port), "--bind", address, "--directory", "httpd"]


def tftpd(address: str, port: int) -> list[str]:
    """tftpd-hpa, for read and write requests."""
    for size in TFTP_SIZES:
        write_ramp(Path(f"tftp/ramp-{size}.bin"), size)
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    options = ["--foreground", "--listen", "--address", place, "--user", "root", "--create", "--secure"]
    return ["in.tftpd", *options, f"{Path.cwd()}/tftp"]


LAUNCHERS = {"nginx": nginx, "nginx-tls": nginx_tls, "sshd": sshd, "http.server": http_server, "tftpd": tftpd}


def main() -> None:
    """Prepare and become the server."""
    parser = argparse.ArgumentParser(description="prepare a real server's files and run it")
    parser.add_argument("server", choices=sorted(LAUNCHERS))
    parser.add_argument("address", help="IPv6 address, :: for every address; tftpd: also an IPv4 address")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    argv = LAUNCHERS[options.server](options.address, options.port)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
