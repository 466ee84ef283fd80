"""order = "service": no connection of a client is ahead of what the backup's server said on another one."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.experiment import Case
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.asker import Asker
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

PORT = 6000
SHARED = shlex.join([sys.executable, str(Path(__file__).with_name("shared_server.py")), str(PORT)])
WRITES_AND_READS = """
import socket, sys
def connect():
    return socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).makefile("rwb")
def ask(stream, question):
    stream.write(question + b"\\n")
    stream.flush()
    return stream.readline().strip()
writer, reader, number = connect(), connect(), 0
for count in sys.stdin:
    for _ in range(int(count)):
        number += 1
        value = b"%d" % number + b"x" * (number % 9)
        assert (answer := ask(writer, b"set key " + value)) == b"ok", answer
        assert (answer := ask(reader, b"get key")) == value, (answer, value)
    print("answered", number, flush=True)
"""


def flows_of(lab: Lab, role: str) -> list[dict[str, Any]]:
    """What a node knows of the two connections."""
    flows = lab.ask(lab.node_in_role(role), {"op": "connections"}, 5)["connections"]
    return [dict(flow) for flow in flows if not flow["closed"]]


def counters_of(pair: Pair, host: str) -> dict[str, int]:
    """What the engine of a node has counted."""
    counters = pair.group(host)["counters"]
    assert isinstance(counters, dict)
    return counters


def pair_with(name: str, *settings: str) -> Iterator[Pair]:
    """A pair that serves the server whose connections share what they know."""
    lab = Lab(f"test-{name}-{os.getpid()}")
    try:
        lab.up([f"{PORT}/tcp={SHARED}"], settings)
        yield Pair(lab)
    finally:
        lab.down()


@pytest.fixture(
    scope="module",
    params=[("workers=2",), ("alpha.engine=programmable",), ("beta.engine=programmable",)],
    ids=["c", "python-primary", "python-backup"],
)
def ordered(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A pair that keeps the order of the service."""
    yield from pair_with("ordered", "order=service", *request.param)


@pytest.mark.parametrize("family", [4, 6])
def test_what_was_written_on_one_connection_is_read_on_another(ordered: Pair, family: int) -> None:
    """The backup's server writes more slowly than the primary's: it says the same, and takes over."""
    lab, backup = ordered.ready().lab, ordered.lab.node_in_role("backup")
    slow = lab.home / backup / "root" / "slow"
    slow.write_text("0.02")
    client = Asker(lab, WRITES_AND_READS, family, PORT)
    try:
        client.ask(30)
        flows = flows_of(lab, "primary")
        assert [flow["protection"] for flow in flows] == ["protected"] * 2, flows
        assert counters_of(ordered, lab.node_in_role("primary"))["order_waits"], "output waited"
        await_condition(
            lambda: all(flow["verified"] == flow["bytes_out"] for flow in flows_of(lab, "primary")),
            30,
            "all output is verified",
        )
        assert [flow["divergences"] for flow in flows_of(lab, "backup")] == [0, 0]
        slow.unlink()
        make_fault(lab, "crash-host", "primary")
        client.ask(20)
    finally:
        client.end()
        slow.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def unordered() -> Iterator[Pair]:
    """A pair as it is without the setting."""
    yield from pair_with("unordered")


def test_without_it_the_backups_server_reads_too_early(unordered: Pair) -> None:
    """What the setting is for: the same servers and the same client differ."""
    lab, backup = unordered.ready().lab, unordered.lab.node_in_role("backup")
    (lab.home / backup / "root" / "slow").write_text("0.02")
    client = Asker(lab, WRITES_AND_READS, 4, PORT)
    try:
        client.ask(30)
        differing = [flow for flow in flows_of(lab, "primary") if flow["divergences"]]
        assert differing or counters_of(unordered, lab.node_in_role("primary"))["flows_detached"]
    finally:
        client.end()


@pytest.fixture(scope="module")
def carrying() -> Iterator[Pair]:
    """A pair that carries much, in the order of the service."""
    yield from pair_named("carrying", ("order=service",), ("both", "bulk-down", "bulk-up"))


@pytest.mark.parametrize("fault", ["crash-host", "switchover", "loss-both"])
@pytest.mark.parametrize("workload", ["both", "bulk-down", "bulk-up"])
def test_a_transfer_gets_on_and_survives(carrying: Pair, workload: str, fault: str, tmp_path: Path) -> None:
    """Output waits for a stack that nobody acknowledges but the engine; nothing stands still."""
    family = 6 if workload == "both" else 4
    outcome = carrying.ready().run(Case(workload, fault, family, moment_s=0.8, duration_s=2.0), tmp_path)
    assert outcome.ok, outcome.why
