"""field_servers.py SERVER PORT ...: makes the files of an unmodified server where it is, then becomes the
server.

Each node's makes its own: nothing is shared between them but the program and the configuration.
"""

from __future__ import annotations

import os
import pwd
import random
import subprocess
import sys
from pathlib import Path

from postgres_copy import cluster, postmaster  # it lies beside this program

EXIM = """
primary_hostname = mail.example
spool_directory = HERE/spool
log_file_path = HERE/exim-%slog
queue_only = true
keep_environment =
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_helo = slowly
acl_smtp_mail = slowly
acl_smtp_rcpt = slowly
acl_smtp_data = slowly
begin acl
slowly:
  accept set acl_c_slow = ${if exists{HERE/slow}{${run{/bin/sleep 0.02}}}}
"""
RELAY = """
primary_hostname = mail.example
spool_directory = HERE/spool
log_file_path = HERE/exim-%slog
keep_environment =
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = all
begin acl
all:
  accept
begin routers
on:
  driver = manualroute
  route_list = * NEXT
  transport = on
begin transports
on:
  driver = smtp
  port = 2525
  interface = FROM
  hosts_try_fastopen =
"""
MOSQUITTO = """
listener PORT
allow_anonymous true
persistence false
max_queued_messages 0
"""
VSFTPD = """
listen=NO
listen_ipv6=YES
listen_port=PORT
background=NO
anonymous_enable=YES
no_anon_password=YES
pasv_enable=NO
ftp_username=daemon
connect_from_port_20=YES
anon_root=HERE
secure_chroot_dir=HERE/empty
seccomp_sandbox=NO
"""
FTP_BYTES = 40_000_000
GIT_FILES, GIT_FILE_BYTES = 400, 50_000


def exim(port: int) -> list[str]:
    """A mail server that keeps what it gets. It is slow while there is a file `slow`."""
    return _exim(port, EXIM)


def relay(port: int, source: str, onward: str) -> list[str]:
    """A mail server that sends all that it gets from one address to another one."""
    return _exim(port, RELAY.replace("FROM", source).replace("NEXT", onward))


def _exim(port: int, text: str) -> list[str]:
    here = Path.cwd()
    conf, spool = here / "exim.conf", here / "spool"
    conf.write_text(text.replace("HERE", str(here)))
    spool.mkdir(exist_ok=True)
    user = pwd.getpwnam("Debian-exim")
    for path in (here, spool):
        os.chown(path, user.pw_uid, user.pw_gid)
    return ["exim4", "-C", str(conf), "-bdf", "-oX", str(port), "-oP", str(here / "exim.pid")]


def mosquitto(port: int) -> list[str]:
    """A broker that keeps nothing on disk."""
    Path("mosquitto.conf").write_text(MOSQUITTO.replace("PORT", str(port)))
    return ["mosquitto", "-c", "mosquitto.conf"]


def redis(port: int) -> list[str]:
    """A store in memory."""
    options = {"bind": "* -::*", "protected-mode": "no", "save": "", "appendonly": "no"}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return ["redis-server", "--port", str(port), *words]


def postgres(port: int) -> list[str]:
    """A cluster of its own, so with an identity and random numbers of its own."""
    here = Path("postgres").absolute()
    here.mkdir(exist_ok=True)
    here.chmod(0o755)
    made = here / "cluster"
    return postmaster(made if made.exists() else cluster(here), port)


def git(port: int) -> list[str]:
    """A repository with the same content everywhere."""
    repository = Path("repositories/field.git")
    if not repository.exists():
        chance, commit = random.Random(1), ["commit refs/heads/main", "committer x <x> 1700000000 +0000"]
        stream = ["\n".join([*commit, "data 0", ""]).encode()]
        for number in range(GIT_FILES):
            stream.append(f"M 644 inline {number}\ndata {GIT_FILE_BYTES}\n".encode())
            stream += [chance.randbytes(GIT_FILE_BYTES), b"\n"]
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
        store = ["git", "-C", repository, "-c", "core.compression=0", "fast-import", "--quiet", "--depth=0"]
        subprocess.run(store, input=b"".join(stream), check=True)
    place = [f"--port={port}", f"--base-path={repository.parent}", "--export-all", "--reuseaddr"]
    return ["git", "-c", "safe.directory=*", "daemon", *place]


def vsftpd(port: int) -> list[str]:
    """It connects to its clients, out of port 20."""
    here = Path("ftp").absolute()
    (here / "empty").mkdir(parents=True, exist_ok=True)
    (here / "file").write_bytes(random.Random(1).randbytes(FTP_BYTES))
    (here / "vsftpd.conf").write_text(VSFTPD.replace("PORT", str(port)).replace("HERE", str(here)))
    return ["vsftpd", str(here / "vsftpd.conf")]


SERVERS = {one.__name__: one for one in (exim, mosquitto, redis, postgres, git, vsftpd, relay)}


def main() -> None:
    """Prepare and become the server."""
    argv = SERVERS[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:])
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
