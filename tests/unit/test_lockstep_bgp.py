"""What peers say over BGP is read message by message, by a router that has nothing else to do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fttcp.group import lockstep
from lab.hosts import Process
from tests.unit.test_lockstep import free_port

_ROUTER = """
import json, os, select, socket, sys

port, size, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def read(peer):
    try:
        return (peer.recv(size) if "recv" in how else os.read(peer.fileno(), size)).hex()
    except BlockingIOError:
        return "-"

listener = socket.create_server(("127.0.0.1", port))
print(flush=True)
peer, _ = listener.accept()
waiting, alone, told, busy = select.poll(), select.poll(), [], []
waiting.register(listener, select.POLLIN)
for polled in waiting, alone:
    polled.register(peer, select.POLLIN)
peer.setblocking("blocks" in how)
waiting.poll()
told.append(read(peer))  # the first message stands alone
print(flush=True)
sys.stdin.readline()     # all others are there
while told[-1]:
    if "rests" in how and not busy:
        select.poll().poll(1100)
    busy.append(len(waiting.poll(0)))
    assert alone.poll(0), "it is told nothing of the only one that it asks for"
    waiting.poll()
    told.append(read(peer))
    while told[-1] not in ("", "-") and "blocks" not in how:
        told.append(read(peer))
print(json.dumps([told, busy]))
"""


def message(kind: int, body: bytes = b"") -> bytes:
    """One of BGP (RFC 4271, 4.1)."""
    return b"\xff" * 16 + (19 + len(body)).to_bytes(2, "big") + bytes([kind]) + body


OPEN, KEEPALIVE = message(1, b"\4open"), message(4)
TABLE = [message(2, b"%d" % n * n) for n in (3, 900, 1, 2000)]


def read_by(
    tmp_path: Path, first: bytes, rest: bytes, size: int, how: str
) -> tuple[list[list[bytes]], list[int]]:
    """What a router with the library reads, in the turns between its waits; and whether it was told of its
    peer while it was busy."""
    port, file = free_port(), tmp_path / "a.lockstep"
    lockstep.make_for_comparison(file)
    argv = [sys.executable, "-c", _ROUTER, str(port), str(size), how]
    environment = {**os.environ, **lockstep.environment(file)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with Process(argv, env=environment, text=True, **pipes) as router:  # type: ignore[call-overload]
        assert router.stdout.readline() == "\n"
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(first)
            assert router.stdout.readline() == "\n"
            peer.sendall(rest)
        try:
            told, _ = router.communicate("on\n", timeout=5)
        finally:
            router.kill()
    said, busy = json.loads(told)
    turns: list[list[bytes]] = [[]]
    for one in said[1:]:
        if one == "-":
            turns.append([])
        else:
            turns[-1].append(bytes.fromhex(one))
    return turns, busy


@pytest.mark.parametrize(
    ("size", "how"),
    [(4096, ""), (50, ""), (7, ""), (4096, "recv"), (50, "recv"), (7, "recv"), (4096, "rests")],
)
def test_a_router_reads_a_message_of_a_peer_when_it_has_waited(tmp_path: Path, size: int, how: str) -> None:
    """However much it asks for, and however long it has waited. While it is busy it is told of none, unless
    it asks for one alone; nothing is lost, nor is the end."""
    turns, busy = read_by(tmp_path, OPEN[:size], OPEN[size:] + b"".join([KEEPALIVE, *TABLE]), size, how)
    whole = [b"".join(turn) for turn in turns]
    rest = [OPEN[size:]] if OPEN[size:] else []
    assert whole == [*rest, KEEPALIVE, *TABLE, b""]
    assert not any(busy[len(rest) if size < 19 else 0 :])


def test_who_is_never_told_that_there_is_nothing_reads_all(tmp_path: Path) -> None:
    """A socket that blocks."""
    turns, _ = read_by(tmp_path, OPEN, b"".join([KEEPALIVE, *TABLE]), 65536, "blocks")
    assert b"".join(turns[0]) == b"".join([KEEPALIVE, *TABLE])


@pytest.mark.parametrize(
    "first", [b"\xff" * 40, KEEPALIVE, OPEN[:16] + b"\0\1" + OPEN[18:], b"GET / HTTP/1.1"]
)
def test_what_is_not_bgp_is_let_be(tmp_path: Path, first: bytes) -> None:
    """A peer begins with OPEN."""
    turns, busy = read_by(tmp_path, first, b"".join(TABLE), 65536, "")
    assert b"".join(turns[0]) == b"".join(TABLE)
    assert busy[0] == 1
