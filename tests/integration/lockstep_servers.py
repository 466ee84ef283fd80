"""Servers that end TLS and SSH themselves, unmodified, for a lab whose nodes keep them in step."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

SIZE = 60_000_000
"""More than all buffers on the way hold."""
HTTPS, SSH = 443, 22
SERVICE = "10.77.0.100"

_NGINX = """
daemon off; worker_processes 1; error_log stderr; pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    server {{
        listen {port} ssl; listen [::]:{port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {home}/rsa.pem; ssl_certificate_key {home}/rsa.key;
        ssl_certificate {home}/ec.pem; ssl_certificate_key {home}/ec.key;
        root {home}/files;
        location = /hello {{ return 200 "hello\\n"; }}
    }}
    {more}
}}
"""
_SSHD = """
Port {port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
SetEnv HOME=/nonexistent
Subsystem sftp internal-sftp
"""


def certificates(home: Path) -> None:
    """Make those of nginx."""
    for kind, options in (("rsa", "rsa:2048"), ("ec", "ec -pkeyopt ec_paramgen_curve:prime256v1")):
        words = f"req -x509 -nodes -days 30 -subj /CN=lab -newkey {options}".split()
        files = ["-keyout", str(home / f"{kind}.key"), "-out", str(home / f"{kind}.pem")]
        subprocess.run(["openssl", *words, *files], check=True, capture_output=True)


def prepare_https(home: Path, more: str = "") -> None:
    """Make certificates and configuration of nginx, with `more` servers in it."""
    certificates(home)
    (home / "nginx.conf").write_text(_NGINX.format(home=home, port=HTTPS, more=more))
    home.chmod(0o755)  # nginx serves as another user


def prepare(home: Path) -> None:
    """Make certificates, keys, configurations and the file that is served."""
    prepare_https(home)
    prepare_ssh(home)
    (home / "files").mkdir()
    (home / "files" / "file").write_bytes(random.Random(7).randbytes(SIZE))


def prepare_ssh(home: Path) -> None:
    """Make the keys and the configuration of sshd."""
    for name in ("host_key", "user_key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)]
        subprocess.run(words, check=True)
    (home / "sshd_config").write_text(_SSHD.format(home=home, port=SSH))


def sshd(home: Path, beside: str = "") -> str:
    """What the lab serves: sshd, and a shell's commands beside it."""
    return f"{SSH}/tcp=sh -c '{beside} mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f {home}/sshd_config'"


def specs(home: Path) -> list[str]:
    """What the lab serves."""
    return [f"{HTTPS}/tcp=nginx -c {home}/nginx.conf -p .", sshd(home)]


def curl(*options: str, path: str = "file") -> list[str]:
    """A client that takes the file over HTTPS, and does not try again."""
    words = ["curl", "--silent", "--show-error", "--insecure", "--max-time", "60"]
    return [*words, *options, f"https://{SERVICE}:{HTTPS}/{path}"]


def ssh_options(home: Path) -> list[str]:
    """What a client of OpenSSH is told, whichever it is."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
    return ["-F", "none", "-i", str(home / "user_key"), *(part for one in options for part in ("-o", one))]


def ssh(home: Path, *command: str) -> list[str]:
    """A client that has a command run over SSH."""
    return ["ssh", *ssh_options(home), f"root@{SERVICE}", *command]
