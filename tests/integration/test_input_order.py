"""A backup's server hears nothing that answers what it has not said, and its flow stays protected."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import SERVICE
from tests.integration.pair import Pair

PORT = 25
STRICT = shlex.join([sys.executable, str(Path(__file__).with_name("strict_server.py")), str(PORT)])
DIALOGUE = """
import socket, sys
stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).makefile("rwb")
assert stream.readline() == b"220 hello\\n"
number = 0
for count in sys.stdin:
    for _ in range(int(count)):
        number += 1
        stream.write(b"line %d\\n" % number)
        stream.flush()
        assert (answer := stream.readline()) == b"250 line %d\\n" % number, answer
    print("answered", number, flush=True)
"""


class Dialogue:
    """A client that asks, waits for the answer, and asks again."""

    def __init__(self, lab: Lab, family: int) -> None:
        self._process = lab.popen(
            CLIENT, [sys.executable, "-c", DIALOGUE, SERVICE[family], str(PORT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._asked = 0

    def ask(self, count: int) -> None:
        """Have so many answers, each before the next question."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._asked += count
        print(count, file=self._process.stdin, flush=True)
        said = self._process.stdout.readline()
        assert said == f"answered {self._asked}\n", said or self._process.stderr.read()

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.communicate()


def flow_of(lab: Lab, role: str) -> dict[str, Any]:
    """What a node knows of the one connection."""
    (flow,) = lab.ask(lab.node_in_role(role), {"op": "connections"}, 5)["connections"]
    return dict(flow)


@pytest.fixture(scope="module")
def strict() -> Iterator[Pair]:
    """A pair that serves the strict server; its backup's is the slower one, by more than a round trip."""
    lab = Lab("test-input-order")
    try:
        lab.up([f"{PORT}/tcp={STRICT}"])
        yield Pair(lab)
    finally:
        lab.down()


@pytest.mark.parametrize("family", [4, 6])
def test_a_strict_server_that_is_slower_on_the_backup(strict: Pair, family: int) -> None:
    """No question reaches it before it has given the answer to the one before; a crash changes nothing."""
    lab, backup = strict.ready().lab, strict.lab.node_in_role("backup")
    slow = lab.home / backup / "root" / "slow"
    slow.write_text("0.02")
    client = Dialogue(lab, family)
    try:
        client.ask(50)
        flow = flow_of(lab, "primary")
        assert flow["protection"] == "protected", flow
        counters = strict.group(backup)["counters"]
        assert isinstance(counters, dict) and counters["ordered"], "questions waited"
        await_condition(
            lambda: flow_of(lab, "backup")["local_snd_nxt"] == flow["local_snd_nxt"], 5, "all is said"
        )
        slow.unlink()
        lab.fault("crash-host", "primary")
        client.ask(20)
    finally:
        client.end()
        slow.unlink(missing_ok=True)
    assert "synchronization" not in lab.log(backup).read_text()
