"""Processes that are forked for a connection have the same number in both copies of a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fttcp.group import lockstep
from lab.hosts import Process
from tests.unit.test_lockstep import free_port, speak_from

LAST = Path("/proc/sys/kernel/ns_last_pid")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a pid namespace needs root"),
    pytest.mark.skipif(not LAST.exists(), reason="this kernel has no ns_last_pid"),
]

_FORKER = """
import json, os, socket, sys

def forked(work):
    answer, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(theirs, work())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(theirs)
    with open(answer, "rb") as told:
        return pid, told.read()

for _ in range(int(sys.argv[2])):  # this copy has had more to do by now
    forked(lambda: b"")
told = []
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(flush=True)
    for _ in range(3):
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            for _ in range(2):
                pid, own = forked(lambda: str(os.getpid()).encode())
                assert pid == int(own), "it is a number that processes can be signalled by"
                told.append(pid)
print(json.dumps(told), flush=True)
"""


def pids(file: Path, port: int, clients: list[int], before: int, wanted: str) -> list[int]:
    """The numbers of what a server forks for these clients, in a namespace of its own, after so many."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", _FORKER]
    environment = {**os.environ, **lockstep.environment(file), "FTTCP_LOCKSTEP_PIDS": wanted}
    with Process(
        [*words, str(port), str(before)], stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "\n"
        for own in clients:
            speak_from(own, port)
        return list(json.loads(server.stdout.read()))


def test_numbers_are_those_of_the_connection_if_they_are_asked_for(tmp_path: Path) -> None:
    """Also where the two copies have forked another number of processes before."""
    port, clients = free_port(), [free_port(), free_port(), free_port()]
    told = {}
    for wanted in ("1", "0"):
        files = [tmp_path / f"{wanted}{copy}.lockstep" for copy in range(2)]
        lockstep.make_for_comparison(files[0])
        files[1].write_bytes(files[0].read_bytes())
        for copy, file in enumerate(files):
            told[wanted, copy] = pids(file, port, clients, 7 * copy, wanted)
    assert told["1", 0] == told["1", 1] and len(set(told["1", 0])) == 6
    assert told["0", 0] != told["0", 1]
