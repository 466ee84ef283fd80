"""Real etcd members on the loopback, each a process that can be killed, frozen and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

needs_etcd = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs etcd (Debian: etcd-server)")

HEARTBEAT_MS, ELECTION_MS = 50, 300


class Certificates:
    """An authority, a server's certificate and a client's, made by openssl.

    With logins, etcd's gateway refuses client certificates that have a CN: this client's has none.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ca = home / "ca.pem"
        names = "subjectAltName=IP:127.0.0.1"
        self._openssl("req", "-x509", "-subj", "/CN=test authority", *self._new("ca"), "-out", str(self.ca))
        for name, subject in (("server", "/CN=server"), ("client", "/O=nodes")):
            self._openssl("req", "-subj", subject, *self._new(name), "-out", str(home / f"{name}.csr"))
            (home / "names").write_text(names)
            self._openssl(
                "x509", "-req", "-in", str(home / f"{name}.csr"), "-CA", str(self.ca), "-CAkey",
                str(home / "ca.key"), "-CAcreateserial", "-extfile", str(home / "names"), "-out",
                str(home / f"{name}.pem"),
            )  # fmt: skip

    def _new(self, name: str) -> list[str]:
        return ["-newkey", "rsa:2048", "-nodes", "-keyout", str(self.home / f"{name}.key")]

    def _openssl(self, *words: str) -> None:
        done = subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr


class Member:
    """One etcd process; its data stays when it is killed."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command, self._log = command, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class EtcdCluster:
    """``size`` members. ``tls``: clients must use https and show a certificate."""

    def __init__(self, home: Path, size: int, tls: Certificates | None = None) -> None:
        self.tls, scheme = tls, "https" if tls else "http"
        with ExitStack() as stack:
            ports = [self._port(stack) for _ in range(2 * size)]
        self.endpoints = [f"{scheme}://127.0.0.1:{port}" for port in ports[:size]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[size:]]
        all_peers = ",".join(f"m{i}={peer}" for i, peer in enumerate(peers))
        secure = [] if tls is None else [
            "--cert-file", str(tls.home / "server.pem"), "--key-file", str(tls.home / "server.key"),
            "--client-cert-auth", "--trusted-ca-file", str(tls.ca),
        ]  # fmt: skip
        self.members = [
            Member(
                ["etcd", "--name", f"m{i}", "--data-dir", str(home / f"m{i}"), "--initial-cluster", all_peers,
                 "--listen-client-urls", self.endpoints[i], "--advertise-client-urls", self.endpoints[i],
                 "--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
                 "--heartbeat-interval", str(HEARTBEAT_MS), "--election-timeout", str(ELECTION_MS), *secure],
                home / f"m{i}.log",
            )
            for i in range(size)
        ]  # fmt: skip
        for member in self.members:
            member.start()

    @staticmethod
    def _port(stack: ExitStack) -> int:
        probe = stack.enter_context(socket.socket())
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

    def etcdctl(self, *words: str, user: str = "") -> str:
        """Run etcdctl against all members; return what it prints."""
        secure = [] if self.tls is None else [
            "--cacert", str(self.tls.ca), "--cert", str(self.tls.home / "client.pem"),
            "--key", str(self.tls.home / "client.key"),
        ]  # fmt: skip
        login = ["--user", user] if user else []
        command = ["etcdctl", "--endpoints", ",".join(self.endpoints), *secure, *login, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env={"ETCDCTL_API": "3"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """Kill all members."""
        for member in self.members:
            member.kill()
