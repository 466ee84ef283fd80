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

from fttcp.runtime import lockstep
from tests.unit.test_lockstep import free_port

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


def run(file: Path, code: str, *words: str, extra: dict[str, str] | None = None) -> Any:
    """What a program with the library tells."""
    environment = {**os.environ, "CODE": code, **lockstep.environment(file), **(extra or {})}
    argv = [sys.executable, "-c", code, *words]
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, env=environment, check=True).stdout)


def run_server(file: Path, code: str, clients: int, words: Sequence[str] = ()) -> Any:
    """... and one that is told a port and serves so many clients, each of which sends one byte."""
    port = free_port()
    argv = [sys.executable, "-c", code, str(port), *words]
    environment = {**os.environ, **lockstep.environment(file)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        server.stdout.readline()
        for _ in range(clients):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.send(b"x")
                client.recv(1)
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
