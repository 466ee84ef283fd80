"""The backup's server ends a connection that the primary's carries on."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import SERVICE
from tests.integration.pair import Pair

PORT = 26
EARLY = shlex.join([sys.executable, str(Path(__file__).with_name("early_server.py")), str(PORT)])
ASKER = """
import socket, sys
stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), 8)
lines = stream.makefile("rb")
for line in sys.stdin:
    stream.sendall(line.encode())
    if line == "wait\\n":
        print("waits", flush=True)
    try:
        print(len(lines.readline()), flush=True)
    except TimeoutError:
        print("silence", flush=True)
    except ConnectionResetError:
        print("reset", flush=True)
"""


@pytest.fixture(scope="module")
def early() -> Iterator[Pair]:
    """A pair that would wait for an end for much longer than the client does."""
    lab = Lab(f"test-early-end-{os.getpid()}")
    try:
        lab.up([f"{PORT}/tcp={EARLY}"], ["timing.end_grace_ms=60000", "timing.detach_after_ms=60000"])
        yield Pair(lab)
    finally:
        lab.down()


class Asker:
    """A client whose lines are answered."""

    def __init__(self, lab: Lab, family: int = 4) -> None:
        self._process = lab.popen(
            CLIENT, [sys.executable, "-c", ASKER, SERVICE[family], str(PORT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def say(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin
        print(line, file=self._process.stdin, flush=True)

    def hear(self) -> str:
        """What came of it: a length, `reset` or `silence`."""
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.communicate()


def flow_of(lab: Lab, role: str) -> dict[str, Any]:
    """What a node knows of the one connection, if it does."""
    flows = lab.ask(lab.node_in_role(role), {"op": "connections", "all": True}, 5)["connections"]
    return dict(flows[-1]) if flows else {}


@pytest.mark.parametrize(("how", "family"), [("say no", 4), ("reset", 6)])
def test_an_end_that_the_primary_contradicts_is_not_waited_for(early: Pair, how: str, family: int) -> None:
    """The answer comes although the backup's server has gone; the grace is longer than the client waits."""
    lab = early.ready().lab
    sign = lab.home / lab.node_in_role("backup") / "root" / "early"
    client = Asker(lab, family)
    try:
        client.say("hello")
        assert client.hear() == "1001"
        sign.write_text(how)
        client.say("hello")
        assert client.hear() == "1001"
        await_condition(lambda: flow_of(lab, "primary")["reason"] == "peer-end", 30, "it is told why")
    finally:
        sign.unlink(missing_ok=True)
        client.end()


def test_a_client_that_only_the_backups_server_reset_learns_of_it_when_the_primary_dies(early: Pair) -> None:
    """Within the grace, nothing is certain yet; the host crashes, and the client must not wait for ever."""
    lab = early.ready().lab
    backup = lab.node_in_role("backup")
    sign = lab.home / backup / "root" / "early"
    client = Asker(lab)
    try:
        client.say("hello")
        assert client.hear() == "1001"
        sign.write_text("reset")
        client.say("wait")
        assert client.hear() == "waits"
        await_condition(
            lambda: bool(flow_of(lab, "backup")["closed"]), 30, "the backup's server has reset it"
        )
        make_fault(lab, "crash-host", "primary")
        assert client.hear() == "reset"
    finally:
        sign.unlink(missing_ok=True)
        client.end()
