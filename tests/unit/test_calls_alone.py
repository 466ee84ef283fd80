"""A follower alone in the middle of a call loses no byte and no connection; none signals strangers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from fttcp.server import calls
from lab.hosts import await_condition
from tests.calls.copies import Copies
from tests.unit.test_calls import client_of
from tests.unit.test_lockstep import free_port

LISTEN = "import os, socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"


def python(script: str, port: int = 0) -> list[str]:
    return [sys.executable, "-S", "-c", script, str(port)]


def unread(port: int) -> int:
    """Bytes that have come to a server's connection, and were not read."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(int(row[4][9:], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")


def test_what_was_read_of_a_piece_is_the_servers(tmp_path: Path) -> None:
    """The leader reads all of it at once; to the follower a part has come when the leader is lost."""
    copies, ports, own = Copies(tmp_path), [free_port(), free_port()], free_port()
    script = LISTEN + "c, _ = s.accept()\nwhile p := c.recv(100): os.write(1, p)"
    with (
        copies.running(python(script, ports[0]), python(script, ports[1])) as (leader, follower),
        client_of(own, ports[0]) as to_leader,
        client_of(own, ports[1]) as to_follower,
    ):
        to_leader.sendall(b"a" * 40 + b"b" * 60)
        await_condition(lambda: len(copies.said[0]) == 100, 20, "a leader that has read")
        to_follower.sendall(b"a" * 40)
        await_condition(lambda: not unread(ports[1]), 20, "a follower that has read")
        leader.kill()
        calls.end(copies.log)
        await_condition(lambda: copies.said[1] == "a" * 40, 20, "a follower that says what it has")
        to_follower.sendall(b"b" * 60)
        to_follower.shutdown(socket.SHUT_WR)
        assert follower.wait(20) == 0
    assert copies.said[1] == copies.said[0]


def test_what_the_leader_has_written_is_written(tmp_path: Path) -> None:
    """The follower's client has not read it when the leader is gone."""
    copies, ports, own, size = Copies(tmp_path), [free_port(), free_port()], free_port(), 32 << 20
    script = f"""{LISTEN}
c, left = s.accept()[0], {size}
while left:
    n = c.send(bytes(left)); left -= n; os.write(1, str(n).encode())
"""
    with (
        copies.running(python(script, ports[0]), python(script, ports[1])) as (leader, follower),
        client_of(own, ports[0]) as fast,
        client_of(own, ports[1]) as slow,
    ):
        assert sum(len(piece) for piece in iter(lambda: fast.recv(1 << 20), b"")) == size
        assert leader.wait(20) == 0
        got = len(slow.recv(1))
        calls.end(copies.log)
        await_condition(lambda: bool(copies.said[1]), 20, "a follower that says how much went")
        assert got + sum(len(piece) for piece in iter(lambda: slow.recv(1 << 20), b"")) == size
        assert follower.wait(20) == 0


@pytest.mark.parametrize(
    ("why", "before", "clients"),
    [
        ("cannot be followed", "[os.dup(0) for _ in range(20)]", 1),
        ("what the leader had did not come", "0", 12),
    ],
)
def test_a_host_with_fewer_descriptors(why: str, before: str, clients: int, tmp_path: Path) -> None:
    """It cannot give a connection the leader's number, or take it: the log ends, the server goes on."""
    copies, ports = Copies(tmp_path), [free_port(), free_port()]
    own = [free_port() for _ in range(clients)]
    script = f"""{LISTEN}
if os.environ["FTTCP_CALLS_ROLE"] == "leader": {before}
taken = []
try:
    while len(taken) < {clients}:
        try: taken.append(s.accept()[0])
        except ConnectionAbortedError: pass
except OSError: pass
for c in taken: c.sendall(b'x')
"""
    limits = [["sh", "-c", 'ulimit -n $0; exec "$@"', str(n)] for n in (64, 12)]
    leader, follower = ([*words, *python(script, port)] for words, port in zip(limits, ports, strict=True))
    with copies.running(leader, follower) as both, ExitStack() as stack:
        to_follower, _ = (
            [stack.enter_context(client_of(one, port)) for one in own] for port in reversed(ports)
        )
        assert [one.wait(20) for one in both] == [0, 0]
        assert to_follower[0].recv(1) == b"x"
    assert copies.told["broken"]["why"] == why


def test_a_thread_that_was_made_alone_makes_a_process(tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    calls.end(copies.log)
    script = """import os, threading, time
time.time()
def work(): os.write(1, str(os.waitpid(os.fork() or os._exit(7), 0)[1]).encode())
one = threading.Thread(target=work); one.start(); one.join()"""
    assert copies.run(python(script)) == [0, 0]
    assert copies.said == [str(7 << 8)] * 2


def test_a_follower_signals_no_stranger(tmp_path: Path) -> None:
    """A number that is a process of the leader's is another one's on the follower's host."""
    copies = Copies(tmp_path)
    script = "import os, sys; os.kill(int(sys.argv[1]), 15)"
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as meant,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger,
    ):
        assert copies.run(python(script, meant.pid), python(script, stranger.pid)) == [0, 0]
        stranger.communicate()
        assert (meant.wait(), stranger.returncode) == (-signal.SIGTERM, 0)
