"""Orders to a pair that serves: failover without consent, and maintenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.experiment import Case, Disturbance
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.nodeconfig import GROUP
from lab.state import LabState
from tests.integration.pair import Pair


def order(lab: Lab, node: str, op: str) -> dict[str, Any]:
    """Give an order about the lab's group to the daemon of a node."""
    return lab.ask(node, {"op": op, "group": GROUP}, timeout_s=5)


@pytest.mark.parametrize("family", [4, 6])
def test_failover_moves_a_busy_connection(pair: Pair, family: int, tmp_path: Path) -> None:
    """Every byte right, one node speaking at a time, whether the primary consented in time or not."""
    forced = Disturbance(lambda lab: order(lab, lab.node_in_role("backup"), "failover"), mends=True)
    outcome = pair.run(Case("both", "failover", family, moment_s=0.8, duration_s=2.5), tmp_path, forced)
    assert outcome.ok, outcome.why
    assert outcome.takeover["cause"] in ("switchover", "failover"), "handed over, or outlasted"


def test_the_primary_refuses_a_failover(pair: Pair) -> None:
    refused = order(pair.lab, pair.lab.node_in_role("primary"), "failover")
    assert "this node is the primary" in refused["error"]


def test_maintenance_keeps_the_role_until_resume(pair: Pair) -> None:
    """Asked of the backup, it holds on the primary too, whose server then dies; resume ends it on both."""
    lab = pair.lab
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    order(lab, backup, "pause")
    await_condition(lambda: bool(pair.group(primary)["paused"]), 30, "the primary knows of the pause")
    epoch = pair.group(primary)["epoch"]
    make_fault(lab, "kill-server", "primary")
    events = lab.ask(primary, {"op": "events"}, timeout_s=5)["events"]
    await_condition(
        lambda: any(
            event["event"] == "server-healthy" and event["number"] > events[-1]["number"]
            for event in lab.ask(primary, {"op": "events"}, timeout_s=5)["events"]
        ),
        30,
        "the server is back",
    )
    now = pair.group(primary)
    assert (now["role"], now["epoch"]) == ("primary", epoch), "it stayed the primary all the time"
    for op in ("switchover", "failover"):
        assert "paused" in order(lab, backup, op)["error"]
    order(lab, primary, "resume")
    await_condition(lambda: not pair.group(backup)["paused"], 30, "the backup knows of the end")
    pair.ready()


def test_a_primary_that_dies_during_maintenance_is_replaced_after_it(pair: Pair) -> None:
    lab = pair.lab
    backup = lab.node_in_role("backup")
    order(lab, backup, "pause")
    make_fault(lab, "crash-host", "primary")
    await_condition(lambda: not pair.group(backup)["peer_alive"], 30, "the primary is missed")
    assert pair.group(backup)["role"] == "backup" and LabState.load(lab.name).hosts[backup].node is not None
    order(lab, backup, "resume")
    await_condition(lambda: pair.group(backup)["role"] == "primary", 30, "the takeover that was due")
    pair.ready()
