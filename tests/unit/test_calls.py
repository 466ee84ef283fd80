"""Two copies of a program: the follower is told what the leader's calls returned. A family of calls each."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fttcp._numbers import CallsFamily
from fttcp.server import calls
from lab.hosts import await_condition
from tests.calls.copies import Copies, compiled
from tests.unit.test_lockstep import free_port

CHANCE, TIME, SELF, EVENTS, ACCEPT, READ, WRITE, FILES, SIGNALS, CHILDREN, LOCKS = CallsFamily


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs are."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("chance", "clock", "self", "files", "signals", "children", "serve", "pour"):
        compiled(name, folder)
    return folder


def followed(*families: int) -> pytest.MarkDecorator:
    """With all families, and without each of these: then the copies are not alike."""
    cases = [(calls.ALL, True)] + [(calls.ALL & ~one, False) for one in families]
    return pytest.mark.parametrize(("families", "alike"), cases)


@followed(CHANCE, READ)
def test_random_numbers(families: int, alike: bool, programs: Path, tmp_path: Path) -> None:
    copies = Copies(tmp_path, families)
    assert copies.run([str(programs / "chance")]) == [0, 0]
    assert copies.alike is alike, copies.told


@followed(TIME)
def test_time(families: int, alike: bool, programs: Path, tmp_path: Path) -> None:
    copies = Copies(tmp_path, families)
    assert copies.run([str(programs / "clock"), "20"]) == [0, 0]
    assert copies.alike is alike, copies.told


@followed(SELF)
def test_who_and_where_it_is(families: int, alike: bool, programs: Path, tmp_path: Path) -> None:
    """The follower's host has another name."""
    copies = Copies(tmp_path, families)
    program = str(programs / "self")
    host = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", f"hostname $0; exec {program}"]
    statuses = copies.run([*host, "here"], [*host, "other"])
    assert copies.alike is alike, copies.told
    if alike:
        assert statuses == [0, 0]
        assert copies.said[0].split()[2:4] == ["here"] * 2


@followed(FILES, READ)
def test_files(families: int, alike: bool, programs: Path, tmp_path: Path) -> None:
    """They were made in another order, and at other times."""
    places, names = [tmp_path / "a", tmp_path / "b"], ["one", "two", "three", "four"]
    for place, order in zip(places, (names, names[::-1]), strict=True):
        place.mkdir()
        for name in order:
            (place / name).write_text(f"this is {name}")
    copies = Copies(tmp_path, families)
    assert copies.run([str(programs / "files")], cwd=places) == [0, 0]
    assert copies.alike is alike, copies.told


@followed(SIGNALS)
def test_signals(families: int, alike: bool, programs: Path, tmp_path: Path) -> None:
    """They come to the leader, and by its timer; the follower's own timer is not heard."""
    copies = Copies(tmp_path, families, ring_size=1 << 16)
    with copies.running([str(programs / "signals")]) as (leader, follower):
        output = copies.outputs[0]
        await_condition(lambda: output.read_bytes().count(b"signal 14") > 3, 20, "a timer")
        for _ in range(3):
            before = output.read_bytes().count(b"signal 10")
            leader.send_signal(signal.SIGUSR1)
            await_condition(lambda n=before: output.read_bytes().count(b"signal 10") > n, 20, "a handler")
        leader.terminate()
        assert leader.wait(20) == 0
        if not alike:
            follower.terminate()
            calls.end(copies.log)  # else it waits for a leader that is gone
        assert follower.wait(20) == 0
    assert copies.alike is alike, copies.told


@followed(CHILDREN, CHANCE)
def test_children_and_threads(families: int, alike: bool, programs: Path, tmp_path: Path) -> None:
    copies = Copies(tmp_path, families)
    statuses = copies.run([str(programs / "children")])
    assert copies.alike is alike, copies.told
    if alike:
        assert statuses == [0, 0]


def test_more_children_and_threads_than_the_log_has_rings(programs: Path, tmp_path: Path) -> None:
    """One after the other: whose thread has ended in both copies leaves its ring to the next. The leader
    waits for a follower that is behind."""
    copies = Copies(tmp_path, patience_ms=60_000)
    with copies.running([str(programs / "children"), "100"]) as (leader, follower):
        follower.send_signal(signal.SIGSTOP)
        await_condition(lambda: copies.told["threads"] == calls.RINGS, 20, "a leader that has no ring left")
        follower.send_signal(signal.SIGCONT)
        assert [leader.wait(60), follower.wait(60)] == [0, 0]
    assert copies.alike, copies.told


# ------------------------------------------------------------------ connections


@contextmanager
def client_of(own: int, port: int, timeout_s: float = 20) -> Iterator[socket.socket]:
    """A connection from a port of ours."""
    with socket.socket() as client:
        client.settimeout(timeout_s)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.bind(("127.0.0.1", own))
        await_condition(lambda: not client.connect_ex(("127.0.0.1", port)), 20, "the server")
        yield client


def converse(leader: list[socket.socket], follower: list[socket.socket]) -> list[list[bytes]]:
    """Say the same to both copies, to the follower in another order and other pieces; return the answers."""
    first = [b""] * len(leader)
    for other in reversed(follower):
        other.sendall(b"x" * 150)
        other.shutdown(socket.SHUT_WR)
    for turn, lines in ((10, 2), (20, 1), (120, 2)):
        for i, client in enumerate(leader):
            client.sendall(b"x" * turn)
            wanted = first[i].count(b"\n") + lines
            while first[i].count(b"\n") < wanted:
                first[i] += client.recv(1 << 16)
    for client in leader:
        client.shutdown(socket.SHUT_WR)
    rest, second = (
        [b"".join(iter(lambda c=one: c.recv(1 << 16), b"")) for one in side] for side in (leader, follower)
    )
    return [[a + b for a, b in zip(first, rest, strict=True)], second]


@pytest.mark.parametrize("how", ["epoll", "edge", "poll", "select"])
@followed(EVENTS, ACCEPT, READ)
def test_connections(how: str, families: int, alike: bool, programs: Path, tmp_path: Path) -> None:
    """Clients that come and speak in another order, and whose words come in other pieces."""
    copies = Copies(tmp_path, families)
    ports, own = [free_port(), free_port()], [free_port() for _ in range(3)]
    commands = [[str(programs / "serve"), str(port), how, "3"] for port in ports]
    patience_s = 20 if alike else 3  # a copy that took another way may wait for what does not come
    with copies.running(*commands) as both, ExitStack() as stack:
        leader = [stack.enter_context(client_of(port, ports[0], patience_s)) for port in own]
        follower = [stack.enter_context(client_of(port, ports[1], patience_s)) for port in reversed(own)][
            ::-1
        ]
        try:
            first, second = converse(leader, follower)
        except OSError:
            assert not alike, copies.told
            return
        if alike:
            assert [one.wait(20) for one in both] == [0, 0], copies.told
    assert (first == second and copies.told["state"] == "runs") is alike, copies.told


@followed(WRITE)
def test_short_writes(families: int, alike: bool, programs: Path, tmp_path: Path) -> None:
    """The leader's client reads late, the follower's at once."""
    copies, size = Copies(tmp_path, families), 16 << 20
    ports, own, got = [free_port(), free_port()], free_port(), [0, 0]
    commands = [[str(programs / "pour"), str(port), str(size)] for port in ports]

    def read_all(i: int, client: socket.socket) -> None:
        while piece := client.recv(1 << 16):
            got[i] += len(piece)

    with (
        copies.running(*commands) as both,
        client_of(own, ports[0]) as slow,
        client_of(own, ports[1]) as fast,
    ):
        readers = [threading.Thread(target=read_all, args=one) for one in ((1, fast), (0, slow))]
        readers[0].start()
        await_condition(lambda: b"EAGAIN" in copies.outputs[0].read_bytes(), 20, "a leader that cannot go on")
        readers[1].start()
        for reader in readers:
            reader.join()
        if alike:  # else the follower may wait for a call that the leader does not make
            assert [one.wait(20) for one in both] == [0, 0], copies.told
    assert copies.alike is alike, copies.told
    if alike:
        assert got[0] == got[1] >= size
