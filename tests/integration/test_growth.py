"""Ten thousand connections on real kernels are protected and survive; a flood of SYNs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fttcp.network.rules import HANDSHAKE_QUEUES
from lab import network
from lab.bench.programs import FLOOD
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.workloads.herds import PORT, herds, serve_spec
from tests.integration.pair import pair_named

FLOWS = 10_000
FLOW_BYTES = 512
"""Memory that an idle flow may cost a node."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A pair in step, with a server for all connections."""
    for pair in pair_named("growth"):
        pair.lab.up([serve_spec(FLOWS)], ["limits.max_flows=65536", "limits.max_half_open=1024"])
        yield pair.lab


def groups(lab: Lab) -> dict[str, Any]:
    """The group's status, by node."""
    return {node["node"]: node["groups"][0] for node in lab.status()["nodes"] if node["groups"]}


def await_protected(lab: Lab, flows: int) -> None:
    """Wait until both nodes count so many protected flows."""

    def counted() -> bool:
        return [group["flows"]["protected"] for group in groups(lab).values()] == [flows, flows]

    await_condition(counted, 20, f"{flows} protected flows on both nodes")


def right(report: dict[str, Any], messages: int) -> None:
    """Every message came back, once, byte by byte."""
    assert "error" not in report, report
    assert report["messages"] == messages, report


@pytest.mark.parametrize("fault", ["crash-host", "switchover"])
def test_ten_thousand_connections_survive(lab: Lab, fault: str) -> None:
    """While some are busy the host goes; afterwards each one of them goes on from where it was."""
    empty = {node: group["flow_bytes"] for node, group in groups(lab).items()}
    with herds(lab, FLOWS, bound_s=30) as held:
        right(held.ask(FLOWS), FLOWS)
        await_protected(lab, FLOWS)
        for node, group in groups(lab).items():
            assert group["flow_bytes"] - empty[node] <= FLOWS * FLOW_BYTES
        held.tell("ask", 2000, 100, 1000)
        make_fault(lab, fault, "primary")
        right(held.answers(), 2000)
        taken = groups(lab)[lab.node_in_role("primary")]["takeovers"][-1]
        assert taken["flows"] == FLOWS and taken["done_ms"] is not None
        right(held.ask(FLOWS), FLOWS)
        right(held.end(), 0)


def flood(lab: Lab, count: int, per_s: int) -> None:
    """Send so many SYNs of strangers from the lab's client."""
    argv = [sys.executable, "-I", FLOOD, network.SERVICE4, str(PORT), str(count), str(per_s)]
    done = lab.exec(network.CLIENT, argv, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr


def come(lab: Lab, node: str) -> dict[int, int]:
    """How many packets have come to each NFQUEUE of `node`: those that the kernel dropped in front, too."""
    text = lab.host(node).run(["cat", "/proc/net/netfilter/nfnetlink_queue"])
    rows = [[int(word) for word in line.split()] for line in text.splitlines()]
    return {number: dropped + ids for number, _, _, _, _, dropped, _, ids, _ in rows}


def test_a_flood_of_syns_disturbs_nobody(lab: Lab) -> None:
    """Protected connections go on; memory stays bounded; the flood is counted, and over when it ends. It has
    queues of its own: a packet of a connection never waits behind it, or is dropped for it."""
    with herds(lab, 100, bound_s=30) as held:
        await_protected(lab, 100)
        held.tell("ask", 4000, 100, 500)
        first = come(lab, lab.node_in_role("primary"))
        flood(lab, 8000, 4000)
        right(held.answers(), 4000)
        last = come(lab, lab.node_in_role("primary"))
        queue_in = min(last)
        assert last[queue_in + HANDSHAKE_QUEUES] - first[queue_in + HANDSHAKE_QUEUES] >= 8000
        assert last[queue_in] - first[queue_in] < 4000 * 3  # a question, and what acknowledges its answer
        counted = groups(lab)
        primary = counted[lab.node_in_role("primary")]
        assert primary["counters"]["syn_floods"] > 0
        for group in counted.values():
            tracked = sum(
                group["flows"][kind] for kind in ("protected", "unprotected", "detached", "opening")
            )
            assert tracked <= 100 + 4 * 1024
        right(held.ask(100), 100)
        with herds(lab, 20, bound_s=30) as later:
            right(later.ask(20), 20)
            await_condition(
                lambda: groups(lab)[lab.node_in_role("primary")]["flows"]["protected"] >= 100,
                20,
                "the protection of those that were there before",
            )
        right(held.end(), 0)
