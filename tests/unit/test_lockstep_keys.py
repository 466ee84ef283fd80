"""Which key a process draws from: never one that others have, or that is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fttcp.group import lockstep
from lab.hosts import Process
from tests.unit.test_lockstep import free_port, speak_from

_FORKS = """
import json, os, ssl, sys

def child():
    answer, theirs = os.pipe()
    if os.fork() == 0:
        os.write(theirs, ssl.RAND_bytes(8))
        os._exit(0)
    os.wait()
    return os.read(answer, 8).hex()

if sys.argv[1] == "executed":
    os.environ["AGAIN"] = "1"
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", os.environ["CODE"], "same"])
    os.wait()
else:
    print(json.dumps([ssl.RAND_bytes(8).hex(), child(), child()]), flush=True)
"""

_CLOSES = """
import ctypes, json, socket, sys, threading

SIZE = 1 << 26
draw = ctypes.CDLL(None).RAND_bytes
told = []
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(flush=True)
    for _ in range(2):
        drawn = ctypes.create_string_buffer(SIZE)
        connection, _ = listener.accept()

        def work():
            connection.recv(1)
            draw(drawn, SIZE)

        worker = threading.Thread(target=work)
        worker.start()
        while not any(drawn[:64]):
            pass
        connection.close()
        worker.join()
        told.append([drawn[:8].hex(), drawn[SIZE - 8 : SIZE].hex()])
print(json.dumps(told), flush=True)
"""

_STARTS = """
import json, os, ssl, sys

NAME = "FTTCP_LOCKSTEP_FIRST"
if sys.argv[1] == "another":
    os.environ[NAME] = f"{os.getpid()}:1:1"
    os.execv(sys.executable, [sys.executable, "-c", os.environ["CODE"], "now"])
print(json.dumps(ssl.RAND_bytes(8).hex()), flush=True)
"""

_PASSED = """
import json, os, socket, ssl, sys

here, there = socket.socketpair()
with socket.create_server(("127.0.0.1", 0)) as listener:
    client = socket.create_connection(listener.getsockname())
    socket.send_fds(there, [b"x"], [client.fileno()])
    socket.recv_fds(here, 1, 1)
print(json.dumps([ssl.RAND_bytes(8).hex()]), flush=True)
"""

_CHILD = """
import ctypes, json, os, socket, sys

raw = ctypes.CDLL(None).syscall
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(flush=True)
    connection, _ = listener.accept()
connection.recv(1)
if os.fork() == 0:
    device = os.open("/dev/urandom", os.O_RDONLY)
    raw(3, device)  # close
    reads, writes = os.pipe()
    os.write(writes, b"12345678")
    print(json.dumps([reads == device, os.read(reads, 8).decode("latin1")]), flush=True)
    os._exit(0)
os.wait()
"""

_WAITS = """
import json, select, socket, ssl, sys

HOW = sys.argv[2]
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(flush=True)
    connection, _ = listener.accept()
    waiting = select.epoll() if HOW == "epoll" else select.poll()
    waiting.register(connection, select.EPOLLIN)
    if HOW != "alone":
        waiting.register(listener, select.EPOLLIN)
    connection.recv(1)
    told = [ssl.RAND_bytes(8).hex()]
    if HOW == "select":
        select.select([connection, listener], [], [], 0)
    else:
        waiting.poll(0)
    told.append(ssl.RAND_bytes(8).hex())
print(json.dumps(told), flush=True)
"""


def run(file: Path, code: str, *words: str, stdin: int | None = None) -> Any:
    """What a program with the library tells."""
    environment = {**os.environ, "CODE": code, **lockstep.environment(file)}
    argv = [sys.executable, "-c", code, *words]
    done = subprocess.run(argv, stdin=stdin, stdout=subprocess.PIPE, env=environment, check=True)
    return json.loads(done.stdout)


def run_server(
    file: Path, code: str, clients: int, words: Sequence[str] = (), port: int = 0, own: int = 0
) -> Any:
    """... and one that is told a port and serves so many clients, each of which sends one byte."""
    port = port or free_port()
    argv = [sys.executable, "-c", code, str(port), *words]
    environment = {**os.environ, **lockstep.environment(file)}
    with Process(argv, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        server.stdout.readline()
        for _ in range(clients):
            speak_from(own, port)
        return json.loads(server.stdout.read())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The memory of one server."""
    made = tmp_path / "a.lockstep"
    lockstep.make_for_comparison(made)
    return made


def test_a_server_and_what_it_forks_draw_the_same_at_each_start(file: Path) -> None:
    """And no two of them the same."""
    first, again = (run(file, _FORKS, "same") for _ in range(2))
    assert first == again
    assert len(set(first)) == 3


def test_what_an_executed_program_forks_draws_from_the_kernel(file: Path) -> None:
    """It has no start of its own, so none to give: there may be one for each request."""
    first, again = (run(file, _FORKS, "executed") for _ in range(2))
    assert len({*first, *again}) == 6


def test_a_key_is_whole_while_it_is_drawn_from(file: Path) -> None:
    """Another thread closes the connection meanwhile."""
    told = run_server(file, _CLOSES, 2)
    assert len({one for each in told for one in each}) == 4


def test_a_process_whose_pid_came_again_is_not_the_first(file: Path) -> None:
    """It began at another time."""
    assert run(file, _STARTS, "now") == run(file, _STARTS, "now")
    assert run(file, _STARTS, "another") != run(file, _STARTS, "another")


def test_a_process_that_is_given_its_connection_has_served(file: Path) -> None:
    """By who started it, or over a socket; with an identity or without."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        first, again = (run(file, _STARTS, "now", stdin=client.fileno()) for _ in range(2))
    assert first != again
    assert run(file, _PASSED) != run(file, _PASSED)


def test_a_number_that_was_the_random_device_is_another_files(file: Path) -> None:
    """Its descriptor was closed where the library cannot see it."""
    assert run_server(file, _CHILD, 1) == [True, "12345678"]


@pytest.mark.parametrize(
    ("how", "same"), [("epoll", False), ("poll", False), ("select", False), ("alone", True)]
)
def test_after_a_wait_for_many_that_ended_for_none_nobody_is_served(
    tmp_path: Path, how: str, same: bool
) -> None:
    """What timers draw is no connection's. Who waits for one alone is still busy with it."""
    told = []
    port, own = free_port(), free_port()
    made = tmp_path / "made"
    lockstep.make_for_comparison(made)
    for name in ("a", "b"):
        copy = tmp_path / name
        copy.write_bytes(made.read_bytes())
        told.append(run_server(copy, _WAITS, 1, [how], port=port, own=own))
    assert told[0][0] == told[1][0]
    assert (told[0][1] == told[1][1]) is same
