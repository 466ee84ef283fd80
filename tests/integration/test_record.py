"""A history on disk, of a pair on real kernels: each node has that of its own server, and another server says
the same when it is told that again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fttcp.history.reader import Event, Kind, Reader
from lab.faults import make_fault
from lab.lifecycle import fttcp_program
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

HERE = Path(__file__).parent
NODES = ("alpha", "beta")
COUNTS = f"{sys.executable} {HERE / 'counting_server.py'} 80"
"""It keeps something between connections: how many lines all of them have sent."""
SAYS_LINES = f"{sys.executable} {HERE / 'line_server.py'} 80"
PATIENCE_S = 60.0
CLIENT = """
import socket, sys
socket.setdefaulttimeout(20)
socks = [socket.create_connection(("10.77.0.100", 80)) for _ in range(3)]
for turn in range(4):
    for sock in socks:
        sock.sendall(b"x" * 5000 * turn + b"\\n")
        print(int(sock.makefile("rb").readline()))
"""
"""Three connections in turn: what each is told depends on the order of all."""
SAID = list(range(1, 13))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    home = tmp_path_factory.mktemp("histories")
    # so the backup's server is told nothing before it has said as much as the primary's
    settings = ("order=service", *(f"{node}.history_dir={home / node}" for node in NODES))
    for pair in pair_named("record", settings):
        pair.lab.up([f"80/tcp={COUNTS}"], settings)
        yield pair


def events(path: Path) -> list[Event]:
    return list(Reader(path).events())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ended(path: Path) -> int:
    return sum(event.kind is Kind.END for event in events(path))


def replayed(path: Path, command: str) -> tuple[int, dict[str, Any]]:
    words = [fttcp_program(), "replay", str(path), "--json", "--patience", "30", "--", *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def files(pair: Pair) -> dict[str, Path]:
    """Of each node, with all that the client and its server have said."""
    done = pair.lab.exec("client", [sys.executable, "-c", CLIENT], timeout=PATIENCE_S)
    assert list(map(int, done.stdout.split())) == SAID, done
    found = {node: Path(pair.group(node)["recording"]["file"]) for node in NODES}
    until(lambda: all(ended(file) == 3 for file in found.values()))
    return found


@pytest.mark.parametrize("node", NODES)
def test_another_server_says_the_same(pair: Pair, files: dict[str, Path], node: str) -> None:
    status, told = replayed(files[node], COUNTS)
    assert status == 0 and told["ok"] and told["ending"] == "open", json.dumps(told)
    assert told["played"] | {"events": 0, "compared": 0} == {
        "events": 0,
        "connections": 3,
        "bytes_in": 3 * (5000 * (1 + 2 + 3) + 4),
        "bytes_out": 12 * 10,
        "compared": 0,
        "beyond": 0,
    }
    assert told["played"]["compared"] >= 12 and not told["note"]
    assert pair.group(node)["counters"]["unrecorded"] == 0


def test_one_that_says_something_else_is_found_out(files: dict[str, Path]) -> None:
    status, told = replayed(files["alpha"], SAYS_LINES)
    assert status == 1 and not told["ok"]
    assert told["note"].startswith("it is the history of another command")
    assert told["differences"] or told["trouble"]


def test_the_next_life_has_a_file_of_its_own(pair: Pair) -> None:
    first = Path(pair.group("alpha")["recording"]["file"])
    make_fault(pair.lab, "kill-server", "alpha")
    until(lambda: pair.group("alpha")["recording"]["file"] != str(first))
    until(lambda: Reader(first).head.life != b"" and _is_done(first))
    second = Path(pair.group("alpha")["recording"]["file"])
    assert Reader(second).head.life != Reader(first).head.life
    assert not [event for event in events(second) if event.kind is Kind.INPUT]


def _is_done(path: Path) -> bool:
    reader = Reader(path)
    list(reader.events())
    return reader.ending is not None and reader.ending.value == "done"
