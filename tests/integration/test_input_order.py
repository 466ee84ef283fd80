"""A backup's server hears nothing that answers what it has not said, and its flow stays protected."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.asker import Asker
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


def flow_of(lab: Lab, role: str) -> dict[str, Any]:
    """What a node knows of the one connection."""
    (flow,) = lab.ask(lab.node_in_role(role), {"op": "connections"}, 5)["connections"]
    return dict(flow)


@pytest.fixture(scope="module")
def strict() -> Iterator[Pair]:
    """A pair that serves the strict server; its backup's is the slower one, by more than a round trip."""
    lab = Lab(f"test-input-order-{os.getpid()}")
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
    client = Asker(lab, DIALOGUE, family, PORT)
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
        make_fault(lab, "crash-host", "primary")
        client.ask(20)
    finally:
        client.end()
        slow.unlink(missing_ok=True)
    assert "synchronization" not in lab.log(backup).read_text()
