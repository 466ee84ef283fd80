"""What clients say over TLS is read record by record, by servers that wait with epoll."""

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

_READER = """
import json, os, select, socket, sys

port, size, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def serve(client, length):
    client.setblocking("blocks" in how)
    waiting = select.epoll()
    if "poll" not in how:
        changes = select.EPOLLET if "changes" in how else 0
        waiting.register(client, select.EPOLLIN | select.EPOLLOUT | changes)
    select.select([client], [], [])  # all that the client says before it waits is there
    if "late" in how:
        sys.stdin.readline()
    read, told, ended = (lambda n: os.read(client.fileno(), n)) if "read" in how else client.recv, [], False
    while not ended:
        if "poll" not in how and "blocks" not in how:
            waiting.poll()
        try:
            while not ended:
                said = read(size)
                ended = not said or ("once" in how and sum(map(len, told)) + len(said) == length)
                told.append(said)
                if "once" in how:
                    break
        except BlockingIOError:
            if told and told[-1]:
                told.append(b"")
    return [one.hex() for one in told]

with socket.create_server(("127.0.0.1", port)) as listener:
    print(flush=True)
    for length in sys.argv[4:]:
        client, _ = listener.accept()
        with client:
            print(json.dumps(serve(client, int(length))), flush=True)
"""


def record(kind: int, body: bytes) -> bytes:
    """One of TLS."""
    return bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body


HELLO, CIPHER, FINISHED = record(22, b"hello" * 40), record(20, b"\1"), record(22, b"finished")
REQUEST, NEXT = record(23, b"request" * 2000), record(23, b"next")
ALL = HELLO + CIPHER + FINISHED + REQUEST + NEXT


def pieces_of(tmp_path: Path, said: list[bytes], size: int, how: str) -> list[list[bytes]]:
    """Say something to a server that has the library, and close, on one connection after the other; return
    what it read on each, with b"" where it was told that there is no more."""
    port, file = free_port(), tmp_path / "a.lockstep"
    lockstep.make_for_comparison(file)
    argv = [sys.executable, "-c", _READER, str(port), str(size), how, *(str(len(one)) for one in said)]
    environment = {**os.environ, **lockstep.environment(file)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with Process(argv, env=environment, text=True, **pipes) as server:  # type: ignore[call-overload]
        assert server.stdout.readline() == "\n"
        for one in said:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(one)
        try:
            told, _ = server.communicate("on\n" * len(said), timeout=5)
        finally:
            server.kill()
    return [[bytes.fromhex(one) for one in json.loads(line)] for line in told.splitlines()]


def pieces(tmp_path: Path, said: bytes, size: int, how: str) -> list[bytes]:
    """... on one connection."""
    return pieces_of(tmp_path, [said], size, how)[0]


def between(told: list[bytes]) -> list[bytes]:
    """What was read up to each time that there was no more."""
    parts = [b""]
    for one in told:
        parts[-1] += one
        if not one:
            parts.append(b"")
    return [part for part in parts if part]


@pytest.mark.parametrize("how", ["", "changes", "changes read", "late changes"])
@pytest.mark.parametrize("size", [65536, 4096, 3])
def test_a_server_acts_behind_each_record(tmp_path: Path, how: str, size: int) -> None:
    """However much it asks for, and also if it is told of changes only. Nothing is lost."""
    told = pieces(tmp_path, ALL, size, how)
    assert between(told) == [HELLO + CIPHER + FINISHED, REQUEST, NEXT]


@pytest.mark.parametrize("how", ["once", "changes once"])
def test_a_server_that_reads_once_hears_of_the_rest(tmp_path: Path, how: str) -> None:
    """It takes less than it asked for as a sign that there is no more."""
    assert between(pieces(tmp_path, ALL, 65536, how)) == [HELLO + CIPHER + FINISHED, REQUEST, NEXT]


@pytest.mark.parametrize("how", ["blocks", "poll blocks"])
def test_who_does_not_wait_with_epoll_reads_all(tmp_path: Path, how: str) -> None:
    """So does one whose socket blocks: it is never told that there is nothing."""
    assert b"".join(pieces(tmp_path, ALL, 65536, how)) == ALL


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n" * 9, HELLO + b"SSH-2.0" + ALL, record(22, b"")])
def test_what_is_not_tls_is_let_be(tmp_path: Path, said: bytes) -> None:
    """From the first head on that is none."""
    assert between(pieces(tmp_path, said, 65536, "late changes")) == [said]


def test_where_no_tls_was_spoken_nothing_is_looked_at_before_it_is_read(tmp_path: Path) -> None:
    """Of the next client's first read, that is; if that one does speak TLS, what follows is taken record by
    record again, and all of the client after it."""
    at_once, parts = [ALL], [HELLO + CIPHER + FINISHED, REQUEST, NEXT]
    told = pieces_of(tmp_path, [b"GET / HTTP/1.1\r\n\r\n", ALL, ALL], 65536, "late changes")
    assert [between(one) for one in told[1:]] == [at_once, parts]
    assert between(pieces_of(tmp_path, [b"GET /", ALL], 50, "late changes")[1]) == parts
