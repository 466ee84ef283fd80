"""A server between its connection and a program: in which order it hears them, in a real process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fttcp.group import lockstep
from lab.hosts import Process
from tests.unit.test_lockstep import free_port

_SERVER = """
import contextlib, json, os, select, signal, socket, sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
connection, _ = listener.accept()
if os.fork():
    os.wait()
    sys.exit()
listener.close()
heard = []
left = True

def reap(*_):
    global left
    while left:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        heard.append(["end", os.waitstatus_to_exitcode(status)])
        left = False

signal.signal(signal.SIGCHLD, reap)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # asked for after a wait, as in sshd
connection.recv(1)
answer, theirs = os.pipe()
mine, food = os.pipe()
if os.fork() == 0:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.dup2(theirs, 1)
    os.dup2(mine, 0)
    os.closerange(3, 100)
    os.execv("/bin/sh", ["sh", "-c", sys.argv[2]])
os.close(theirs)
os.close(mine)
waiting = select.poll()
waiting.register(connection, select.POLLIN)
waiting.register(answer, select.POLLIN)
open_ones = {connection.fileno(), answer}
while left or open_ones:
    found = waiting.poll(1000)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for fd, _ in found:
        said = os.read(fd, 32768)
        if fd == answer:
            heard.append(["program", len(said)])
        else:
            heard.append(["client", said.decode()])
            with contextlib.suppress(BrokenPipeError):
                os.write(food, said)
        if not said:
            waiting.unregister(fd)
            open_ones.discard(fd)
            if fd != answer:
                os.close(food)
connection.sendall(json.dumps(heard).encode())
connection.close()
os._exit(0)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of a server without an engine: connections are known by their addresses."""
    made = tmp_path / "a.lockstep"
    lockstep.make_for_comparison(made)
    return made


def heard(file: Path, program: str, said: bytes) -> list[list[Any]]:
    """What the server heard of the program and of a client that says this, in which order."""
    port = free_port()
    with Process(
        [sys.executable, "-c", _SERVER, str(port), program],
        stdout=subprocess.PIPE,
        env={**os.environ, **lockstep.environment(file)},
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(b"x" + said)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while more := client.recv(65536):
                answer += more
        return list(json.loads(answer))


def test_what_a_program_says_is_one_piece_whenever_it_says_it(file: Path) -> None:
    """It works in between, and ends; the client spoke before, and is heard when nothing more can come."""
    work = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done"
    told = heard(file, f"echo one; {work}; echo two; {work}; echo three; exit 5", b"hello")
    assert told == [["program", 14], ["program", 0], ["end", 5], ["client", "hello"], ["client", ""]]


def test_a_program_that_waits_for_the_client_has_said_all(file: Path) -> None:
    """Then the client is heard, and the program again."""
    told = heard(file, "echo ready; read line; echo got $line; exit 3", b"hello\n")
    assert told[:3] == [["program", 6], ["client", "hello\n"], ["program", 10]]
    assert ["end", 3] in told and told.index(["program", 0]) < told.index(["end", 3])


def test_long_output_comes_in_whole_pieces(file: Path) -> None:
    """However the program writes it; this one hardly works, so nothing is told for that."""
    told = heard(file, 'x=$(printf %10000s); for i in 1 2 3 4 5 6 7 8 9; do printf %s "$x"; done', b"")
    assert told[:4] == [
        ["program", 32768],
        ["program", 32768],
        ["program", 90000 - 2 * 32768],
        ["program", 0],
    ]


def test_a_client_is_heard_behind_all_that_is_poured_out_to_it(file: Path) -> None:
    """However long that takes: two copies would hear it between other pieces. The program works in between,
    so now and then none is there."""
    pours = (
        "import os, time\n"
        "end = time.monotonic() + 5\n"
        "while time.monotonic() < end:\n"
        "    os.write(1, bytes(32768))\n"
        "    rest = time.process_time() + 0.02\n"
        "    while time.process_time() < rest: pass\n"
    )
    told = heard(file, f"exec {sys.executable} -c '{pours}'", b"hello")
    pieces = [one for one in told if one == ["program", 32768]]
    assert len(pieces) > 10 and told[: len(pieces)] == pieces
    assert told.index(["client", "hello"]) > len(pieces)


def test_what_a_program_says_while_one_looks_at_it_is_said_before_the_client_is_heard(
    file: Path, tmp_path: Path
) -> None:
    """It fills the pipe and sleeps, each time a moment after that was found empty."""
    size = 200 << 20
    long = tmp_path / "long"
    with long.open("wb") as sparse:
        sparse.truncate(size)
    told = heard(file, f"exec cat {long}", b"hello")
    assert sum(int(one[1]) for one in told if one[0] == "program") == size
    assert told.index(["client", "hello"]) > told.index(["program", 0])


def test_a_client_is_heard_though_a_program_works(file: Path) -> None:
    """Nothing is kept back for good: this one goes on until the client was heard."""
    marker = file.with_suffix(".stop")
    told = heard(
        file, f"echo busy; exec 3<&0; cat <&3 >{marker} & while ! [ -s {marker} ]; do :; done", b"stop"
    )
    assert told[0] == ["program", 5]
    assert told.index(["client", "stop"]) < told.index(["end", 0])


def test_a_client_is_heard_though_a_program_works_and_speaks(file: Path) -> None:
    """That fills no window, for which all would sleep: this one goes on until the client was heard."""
    works = (
        "import os, select, sys, time\n"
        "while time.process_time() < 10 and not select.select([0], [], [], 0)[0]:\n"
        "    os.write(1, b'busy')\n"
        "    rest = time.process_time() + 0.06\n"
        "    while time.process_time() < rest: pass\n"
        "os.write(1, b'heard' if select.select([0], [], [], 0)[0] else b'not')\n"
    )
    told = heard(file, f'exec {sys.executable} -c "{works}"', b"stop")
    assert told.index(["client", "stop"]) < told.index(["program", 0])


def test_an_end_is_told_though_another_program_keeps_the_pipe(file: Path) -> None:
    """A program may leave another one behind."""
    told = heard(file, "sleep 1 & echo done; exit 4", b"")
    assert told[0] == ["program", 5]
    assert told.index(["end", 4]) < told.index(["program", 0])
