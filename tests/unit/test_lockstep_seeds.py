"""A program that is executed with one connection has the seed of that one, and no other."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from fttcp.group import lockstep

ROWS = 1024
SECRETS_AT = 4096 + ROWS * 512

_PROGRAM = """
import json, pathlib, re, socket, ssl, sys

file, port = sys.argv[1], int(sys.argv[2])
maps = pathlib.Path("/proc/self/maps").read_text()
found = re.findall(rf"([0-9a-f]+)-([0-9a-f]+) \\S+ ([0-9a-f]+) .*{file}", maps)
ends = [int(offset, 16) + int(end, 16) - int(begin, 16) for begin, end, offset in found]
own = socket.socket(fileno=0)
own.recv(1)
told = {"mapped": max(ends), "own": ssl.RAND_bytes(8).hex()}
listener = socket.create_server(("127.0.0.1", port))
own.send(b"x")
other, _ = listener.accept()
other.recv(1)
told["other"] = ssl.RAND_bytes(8).hex()
own.recv(1)
told["again"] = ssl.RAND_bytes(8).hex()
print(json.dumps(told))
"""


def show(file: Path, *pairs: tuple[socket.socket, int]) -> None:
    """Write rows as an engine does, for clients and the port that they talk to, in every bucket."""
    loopback = bytes(10) + b"\xff\xff" + socket.inet_aton("127.0.0.1")
    with file.open("r+b") as memory:
        for at in range(ROWS):
            client, port = pairs[at % len(pairs)]
            who = loopback + loopback + struct.pack("<HH", client.getsockname()[1], port)
            memory.seek(4096 + at * 512)
            memory.write(struct.pack("<Q36sI20sI", 2, who, 0, b"", 1))
            memory.seek(SECRETS_AT + (1 + at) * 32)
            memory.write(bytes([1 + at % len(pairs)]) * 32)


def bound() -> socket.socket:
    """A client that has its port already."""
    client = socket.socket()
    client.bind(("127.0.0.1", 0))
    return client


def told_by_program(file: Path) -> dict[str, Any]:
    """Execute the program with one connection; let it accept another one, which has an identity, too."""
    lockstep.make(file, bytes(32), 1, ROWS, 0, 0o600)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as later:
        first, second = bound(), bound()
        port = later.getsockname()[1]
        later.close()
        show(file, (first, listener.getsockname()[1]), (second, port))
        first.connect(listener.getsockname())
        with listener.accept()[0] as connection:
            argv = [sys.executable, "-c", _PROGRAM, str(file), str(port)]
            environment = {**os.environ, "PYTHONHASHSEED": "0", **lockstep.environment(file)}
            program = subprocess.Popen(argv, stdin=connection, stdout=subprocess.PIPE, env=environment)
    with program, first, second:
        assert program.stdout is not None
        first.send(b"x")
        first.recv(1)
        second.connect(("127.0.0.1", port))
        second.send(b"x")
        first.send(b"x")
        return dict(json.loads(program.stdout.read()))


def test_it_has_its_own_alone(tmp_path: Path) -> None:
    """Another connection that it accepts draws from the kernel; its own goes on as before."""
    first, second = (told_by_program(tmp_path / f"{name}.lockstep") for name in "ab")
    assert first["mapped"] == second["mapped"] == SECRETS_AT, "rows are there, and no secret"
    assert (first["own"], first["again"]) == (second["own"], second["again"])
    assert len({first["own"], first["again"], first["other"], second["other"]}) == 4
    drawn = lockstep.shown(tmp_path / "a.lockstep", [])["drawn"]
    assert (drawn["accepted"], drawn["unknown"], drawn["of_connections"]) == (1, 0, 2)
