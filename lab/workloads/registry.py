"""The workloads and the servers that they talk to."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from ssl import TLSVersion

from lab.workloads import crowd, ends, odd, ssh, stream, tls, udp, unlike, web
from lab.workloads.base import Session

ROOT = Path(__file__).resolve().parents[2]
SERVICE = {4: "10.77.0.100", 6: "fd77::100"}


@dataclass(frozen=True)
class Server:
    """A server command per family (one for both where the server can do that), on ports of its own."""

    name: str
    proto: str  # tcp or udp
    commands: Mapping[tuple[int, ...], str]
    ports: Mapping[int, int]  # by family

    def specs(self) -> list[str]:
        """Return the PORT/PROTO=COMMAND strings that the lab serves."""
        return [f"{self.ports[fam[0]]}/{self.proto}={command}" for fam, command in self.commands.items()]


def _python(module: str, *arguments: object) -> str:
    words = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", module, *(str(a) for a in arguments)]
    return shlex.join(words)


def _dual(name: str, proto: str, port: int, command: str) -> Server:
    return Server(name, proto, {(4, 6): command}, {4: port, 6: port})


def _udp_pair(name: str, port: int, command: Callable[[int, int], str]) -> Server:
    """A UDP server must be bound to the address that it shall answer from, so there is one per family."""
    return Server(name, "udp", {(4,): command(4, port), (6,): command(6, port + 1)}, {4: port, 6: port + 1})


def _socat_udp(family: int, port: int) -> str:
    address = SERVICE[4] if family == 4 else f"[{SERVICE[6]}]"
    return f"socat -T 60 UDP{family}-LISTEN:{port},bind={address},fork,reuseaddr PIPE"


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        _dual("plain", "tcp", 7000, _python("lab.workloads.servers.plain", 7000, "--keepalive")),
        _dual("nginx", "tcp", 80, _python("lab.workloads.servers.launch", "nginx", "::", 80)),
        _dual("nginx-tls", "tcp", 443, _python("lab.workloads.servers.launch", "nginx-tls", "::", 443)),
        _dual("sshd", "tcp", 22, _python("lab.workloads.servers.launch", "sshd", "::", 22)),
        _dual("http.server", "tcp", 8000, _python("lab.workloads.servers.launch", "http.server", "::", 8000)),
        _dual("socat", "tcp", 7, "socat TCP6-LISTEN:7,ipv6only=0,fork,reuseaddr,backlog=1024,nodelay PIPE"),
        _dual("ncat", "tcp", 1007, "ncat -l -k 1007 --exec /bin/cat"),
        _dual("unlike", "tcp", 7300, _python("lab.workloads.servers.unlike", 7300)),
        _udp_pair("tftpd", 69, lambda f, p: _python("lab.workloads.servers.launch", "tftpd", SERVICE[f], p)),
        _udp_pair("udp-single", 1700, lambda f, p: _python("lab.workloads.servers.udp_echo", SERVICE[f], p)),
        _udp_pair("udp-socat", 1710, _socat_udp),
        _udp_pair("udp-ncat", 1720, lambda f, p: f"ncat -{f} -u -l -k {SERVICE[f]} {p} --exec /bin/cat"),
    )
}

IN_STEP = ("nginx-tls", "sshd")


@dataclass(frozen=True)
class Workload:
    """Traffic of one kind: which server it needs, and the client's body."""

    name: str
    server: Server
    body: Callable[[Session], None]

    @property
    def what(self) -> str:
        """What the client does, in a sentence: of the body, or of the function that made it."""
        maker = getattr(sys.modules[self.body.__module__], self.body.__qualname__.partition(".")[0])
        return (inspect.getdoc(self.body) or inspect.getdoc(maker) or "").partition("\n")[0]

    @property
    def in_step(self) -> bool:
        """Its server draws random numbers, so the group needs `lockstep` to protect it."""
        return self.server.name in IN_STEP

    def port(self, family: int) -> int:
        """The server's port for IPv4 (4) or IPv6 (6)."""
        return self.server.ports[family]


_TABLE: tuple[tuple[str, str, Callable[[Session], None]], ...] = (
    ("bulk-down", "plain", stream.bulk_down),
    ("paced-down", "plain", stream.paced_down),
    ("bulk-up", "plain", stream.bulk_up),
    ("both", "plain", stream.both),
    ("echo", "socat", stream.echo),
    ("echo-ncat", "ncat", stream.echo),
    ("echo-plain", "plain", stream.echo_plain),
    ("request", "plain", stream.request),
    ("idle", "plain", stream.idle),
    ("keepalive-idle", "plain", stream.keepalive_idle),
    ("many", "plain", crowd.many),
    ("short", "plain", ends.short),
    ("http", "nginx", web.http),
    ("http-keepalive", "nginx", web.http_keepalive),
    ("put", "nginx", web.put),
    ("http100", "nginx", web.http100),
    ("http.server", "http.server", web.http_server),
    ("tftp-get-512", "tftpd", udp.tftp_get(512, 1_000_000)),
    ("tftp-get-1468", "tftpd", udp.tftp_get(1468, 2_000_000)),
    ("tftp-get-8192", "tftpd", udp.tftp_get(8192, 5_000_000)),
    ("tftp-put-512", "tftpd", udp.tftp_put(512, 1_000_000)),
    ("tftp-put-1468", "tftpd", udp.tftp_put(1468, 2_000_000)),
    ("tftp-put-8192", "tftpd", udp.tftp_put(8192, 5_000_000)),
    ("udp-echo", "udp-single", udp.udp_echo),
    ("udp-echo-socat", "udp-socat", udp.udp_echo),
    ("udp-echo-ncat", "udp-ncat", udp.udp_echo),
    ("udp-echo-large", "udp-single", udp.udp_echo_large),
    ("half-close", "plain", stream.half_close),
    ("half-close-server", "plain", stream.half_close_server),
    ("zero-window", "plain", stream.zero_window),
    ("zero-window-up", "plain", stream.zero_window_up),
    ("rst-client", "plain", ends.rst_client),
    ("rst-server", "plain", ends.rst_server),
    ("server-closes-first", "plain", ends.server_closes_first),
    ("simultaneous-close", "plain", ends.simultaneous_close),
    ("urgent", "plain", stream.urgent),
    ("unlike-length", "unlike", unlike.unlike("length", busy=False)),
    ("unlike-length-busy", "unlike", unlike.unlike("length", busy=True)),
    ("unlike-content", "unlike", unlike.unlike("content", busy=False)),
    ("unlike-content-busy", "unlike", unlike.unlike("content", busy=True)),
    ("odd-peer", "socat", odd.odd_peer),
    ("tls13-down", "nginx-tls", tls.down(TLSVersion.TLSv1_3)),
    ("tls12-down", "nginx-tls", tls.down(TLSVersion.TLSv1_2)),
    ("tls13-keepalive", "nginx-tls", tls.keepalive(TLSVersion.TLSv1_3)),
    ("tls12-keepalive", "nginx-tls", tls.keepalive(TLSVersion.TLSv1_2)),
    ("tls13-each", "nginx-tls", tls.each(TLSVersion.TLSv1_3, resume=False)),
    ("tls12-each", "nginx-tls", tls.each(TLSVersion.TLSv1_2, resume=False)),
    ("tls13-resume", "nginx-tls", tls.each(TLSVersion.TLSv1_3, resume=True)),
    ("tls12-resume", "nginx-tls", tls.each(TLSVersion.TLSv1_2, resume=True)),
    ("tls13-put", "nginx-tls", tls.put(TLSVersion.TLSv1_3)),
    ("tls12-put", "nginx-tls", tls.put(TLSVersion.TLSv1_2)),
    ("ssh-down", "sshd", ssh.down),
    ("ssh-up", "sshd", ssh.up),
    ("ssh-echo", "sshd", ssh.echo),
)

WORKLOADS = {name: Workload(name, SERVERS[server], body) for name, server, body in _TABLE}

USUAL = tuple(name for name, workload in WORKLOADS.items() if not workload.in_step)
"""Those that a group serves as it comes."""
SETS = {
    "usual": USUAL,
    "tls": tuple(name for name in WORKLOADS if name.startswith("tls")),
    "ssh": tuple(name for name in WORKLOADS if name.startswith("ssh-")),
}


def serve_specs(workloads: Iterable[str] | None = None) -> list[str]:
    """Return the PORT/PROTO=COMMAND strings of all servers that these workloads need (None: the usual ones).

    Raises:
        KeyError: there is no such workload.
    """
    names = list(USUAL if workloads is None else workloads)
    servers = {WORKLOADS[name].server.name: WORKLOADS[name].server for name in names}
    return [spec for server in servers.values() for spec in server.specs()]
