"""Whose sockets count when a server's ports are looked at."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fttcp.server import procfs
from fttcp.server.progress import Progress, Sample
from fttcp.server.sampler import Sampler, bound
from fttcp.server.sockets import Connection, Sockets
from fttcp.server.waits import Doing, Thread
from lab.hosts import Process

SERVER = """
import socket, sys
kind, port, interface = sys.argv[1], int(sys.argv[2]), sys.argv[3]
stream = kind == "tcp"
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
if interface:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
server.bind(("127.0.0.2", port))
if stream:
    server.listen()
print("serves", flush=True)
sys.stdin.read()
"""


@contextmanager
def listening(family: int, kind: int, at: str, only: int | None) -> Iterator[tuple[int, str]]:
    """A socket that serves at an address; its port and protocol. ``only``: IPV6_V6ONLY."""
    with socket.socket(family, kind) as server:
        if only is not None:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        server.bind((at, 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        yield server.getsockname()[1], "tcp" if kind == socket.SOCK_STREAM else "udp"


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("interface", ["", "lo"])
def test_only_the_servers_own_sockets_are_bound_to_an_interface(proto: str, interface: str) -> None:
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        stranger.bind(("127.0.0.1", 0))
        if proto == "tcp":
            stranger.listen()
        port = stranger.getsockname()[1]
        command = [sys.executable, "-c", SERVER, proto, str(port), interface]
        with Process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout and server.stdout.readline() == "serves\n"
            sampler = Sampler([(port, port, proto)])
            missing, listeners = sampler.not_served([server.pid])
            sampler.close()
        assert (missing, len(listeners)) == ("", 1)
        assert bound(listeners) == ([f"{port}/{proto} to lo"] if interface else [])


def test_a_range_needs_one_listener_and_beside_a_single_port_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as server:
        port, foreign = server.getsockname()[1], other.getsockname()[1]
        pid = os.getpid()
        for ports, missing in (
            ([(port, port, "tcp"), (1, 9, "tcp")], ""),
            ([(1, 9, "tcp"), (port, port, "tcp")], ""),
            ([(port - 1, port + 1, "tcp")], ""),
            ([(1, 9, "tcp")], "nobody listens on any of 1-9/tcp yet"),
            ([(port - 1, port + 1, "tcp"), (1, 9, "udp")], "nobody listens on any of 1-9/udp yet"),
        ):
            sampler = Sampler(ports)
            assert sampler.not_served([pid])[0] == missing
            sampler.close()
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        with Process(command, stdin=subprocess.PIPE) as stranger:
            for ports, begins in (
                ([(foreign, foreign, "tcp")], f"process {pid}"),
                ([(foreign - 1, foreign + 1, "tcp")], "nobody listens on any of"),
            ):
                sampler = Sampler(ports)
                assert sampler.not_served([stranger.pid])[0].startswith(begins)
                sampler.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize(
    ("family", "at", "only", "hears"),
    [
        (socket.AF_INET, "0.0.0.0", None, True),
        (socket.AF_INET, "127.0.0.2", None, True),
        (socket.AF_INET, "127.0.0.3", None, False),
        (socket.AF_INET6, "::", 0, True),
        (socket.AF_INET6, "::", 1, False),
        (socket.AF_INET6, "::1", 1, False),
        (socket.AF_INET6, "::ffff:127.0.0.2", 0, True),
        (socket.AF_INET6, "::ffff:127.0.0.3", 0, False),
    ],
)
def test_a_server_that_does_not_listen_where_clients_speak_does_not_serve(
    kind: int, family: int, at: str, only: int | None, hears: bool
) -> None:
    with listening(family, kind, at, only) as (port, proto):
        sampler = Sampler([(port, port, proto)], ["127.0.0.2"])
        missing, _ = sampler.not_served([os.getpid()])
        sampler.close()
    if hears or proto == "udp":
        assert missing == ""
    else:
        assert missing.startswith(f"nobody listens on 127.0.0.2 port {port}/{proto}, only on ")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize(
    ("family", "at", "only", "unheard"),
    [
        (socket.AF_INET, "127.0.0.2", None, ["::1"]),
        (socket.AF_INET, "0.0.0.0", None, ["::1"]),
        (socket.AF_INET6, "::", 0, []),
        (socket.AF_INET6, "::", 1, ["127.0.0.2"]),
    ],
)
def test_addresses_that_nobody_listens_on_are_told_of_either_version(
    kind: int, family: int, at: str, only: int | None, unheard: list[str]
) -> None:
    """A server of IPv4 alone serves; what it lacks is told."""
    with listening(family, kind, at, only) as (port, proto):
        sampler = Sampler([(port, port, proto)], ["127.0.0.2", "::1"])
        missing, listeners = sampler.not_served([os.getpid()])
        places = sampler.unheard(listeners)
        sampler.close()
    assert [place.address for place in places] == unheard
    assert [str(place) for place in places] == [f"{one} port {port}/{proto}, only on {at}" for one in unheard]
    assert bool(missing) == (proto == "tcp" and "127.0.0.2" in unheard)


def test_a_udp_server_may_have_a_port_for_each_version() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.2", 0))
        other.bind(("::1", 0))
        ports = [(sock.getsockname()[1],) * 2 + ("udp",) for sock in (one, other)]
        sampler = Sampler(ports, ["127.0.0.2", "::1"])
        missing, listeners = sampler.not_served([os.getpid()])
        assert (missing, sampler.unheard(listeners)) == ("", [])
        sampler.close()


def test_what_an_earlier_question_is_told_late_is_no_answer() -> None:
    """After a failure the rest of its answer is still to come."""
    asked, fresh = Sockets(), Sockets()
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,  # each version is a question
    ):
        all_of_tcp = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFF) + bytes(48)
        asked._send(20, 0x300, all_of_tcp)
        found = None
        while found is None:
            with suppress(OSError):  # EBUSY: the kernel is not done with the first one yet
                found = asked.listeners(("tcp",))
        places = [sock.getsockname()[:2] for sock in (one, other)]
        ours, told = (
            [where for where in ((row.address, row.port) for row in some) if where in places]
            for some in (found, fresh.listeners(("tcp",)))
        )
        assert ours == told == places
    asked.close()
    fresh.close()


LOCKED = "import threading; print('ready', flush=True); threading.Event().wait()"
ONE_AWAKE = (
    "import sys, threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    + ("print('ready', flush=True); sys.stdin.read()")
)
LOCKED_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {LOCKED!r}]).wait()"
BUSY_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {ONE_AWAKE!r}]).wait()"


@pytest.mark.parametrize(
    ("code", "asked"), [(LOCKED, True), (ONE_AWAKE, False), (LOCKED_CHILD, True), (BUSY_CHILD, False)]
)
def test_connections_are_asked_for_at_each_look_only_where_a_server_may_hang(
    code: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs milliseconds on a large host. What a stall needs is asked for in each case, now and then."""
    unread = Sockets.unread
    counted: list[Sockets] = []
    monkeypatch.setattr(Sockets, "unread", lambda self, *args: counted.append(self) or unread(self, *args))
    command = [sys.executable, "-c", code]
    with Process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout and server.stdout.readline() == "ready\n"
        sampler, patient, hasty = Sampler([(9, 9, "tcp")]), Progress(1, 1e9), Progress(1, 0)
        try:
            sampler.sample([server.pid], hasty)
            assert len(counted) == 1
            deadline_s = time.monotonic() + 30
            while (sampler.sample([server.pid], patient).unread is not None) != asked:
                assert time.monotonic() < deadline_s
            counted.clear()
            assert [sampler.sample([server.pid], patient).unread is not None for _ in range(5)] == [asked] * 5
            assert len(counted) == 5 * asked
            sampler.sample([server.pid], hasty)
            assert len(counted) == 5 * asked + 1
        finally:
            sampler.close()
            for pid in procfs.family([server.pid]):
                os.kill(pid, 9)


def test_that_a_server_cannot_be_looked_at_is_said_before_input_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_text = Path.read_text

    def refused(path: Path, *args: str, **kw: str) -> str:
        if path.name == "syscall":
            raise PermissionError(str(path))
        return read_text(path, *args, **kw)

    monkeypatch.setattr(Path, "read_text", refused)
    sampler, patient = Sampler([(9, 9, "tcp")]), Progress(1, 1e9)
    server = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # without children, as this process may not be
    try:
        sampler.sample([server.pid], Progress(1, 0))
        assert sampler.sample([server.pid], patient).unread is None
        assert (
            sampler.blind == f"the threads of process {server.pid} cannot be seen (CAP_SYS_PTRACE is missing)"
        )
    finally:
        server.communicate()
        sampler.close()


def test_input_that_was_there_when_nobody_asked_has_waited_all_the_time() -> None:
    progress = Progress(hang_s=100, stall_s=3)
    waits = Connection(b"cookie", 7, "[::1]:1", 5, 0, 10)
    threads = {1: [Thread(1, Doing.WAITING, "S", 0)]}
    seen = Sample([waits], {7: frozenset({1})}, threads)
    assert progress.judge(seen, 0) is None
    assert progress.judge(Sample(None), 1) is None
    assert progress.waiting([waits])
    finding = progress.judge(seen, 4)
    assert finding is not None and finding.kind == "stalled" and "have waited 4.0 s" in finding.reason


def test_a_process_is_looked_through_once_however_many_clients_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may have a thread for each client, and each of them children: a look must not take seconds."""
    looked: list[list[int]] = []
    tree = procfs.tree
    monkeypatch.setattr(procfs, "tree", lambda pids, *at: looked.append(list(pids)) or tree(pids, *at))
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        port = server.getsockname()[1]
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        served = [server.accept()[0] for _ in clients]
        for client in clients:
            client.sendall(b"?")
        sampler = Sampler([(port, port, "tcp")])
        progress = Progress(10, 0)
        progress.judge(sampler.sample([os.getpid()], progress), 0)  # they wait; now it asks who has them
        looked.clear()
        sample = sampler.sample([os.getpid()], progress)
        sampler.close()
        for one in clients + served:
            one.close()
    assert sample.unread is not None and len(sample.unread) == len(sample.owners) == 50
    assert looked == [[os.getpid()]] * 2  # of the whole server, of the one process
