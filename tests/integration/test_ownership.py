"""A pair with a real witness on a third host: partitions, crashes, freezes, seen on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import experiment
from lab.capture import Capture
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named, who_serves

pytestmark = needs_root

NODES = ("alpha", "beta")


class Watched:
    """A pair and its witness."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.lab = pair, pair.lab

    def group(self, node: str) -> dict[str, Any]:
        return dict(self.pair.group(node))

    def primaries(self) -> list[str]:
        """Who serves now."""
        return who_serves(self.lab)

    def parted_without_loss(self, node: str) -> bool:
        """True if it got out of step though no heartbeat was late. On a loaded machine one may be: a node
        that did not run for longer than the lease is lost, and in step again when it is heard."""
        lost = False
        for event in self.lab.ask(node, {"op": "events", "since": 0}, timeout_s=5.0)["events"]:
            lost = lost or event["event"] in ("peer-lost", "link-lost", "lease-lapsed")
            if event["event"] == "out-of-step" and not lost:
                return True
            lost = lost and event["event"] != "in-step"
        return False

    def await_primary(self, node: str) -> None:
        await_condition(lambda: self.primaries() == [node], 15, f"{node} serves alone or in step")

    def part(self, on: bool) -> None:
        """Let the nodes hear each other on no link, though both reach clients and the witness."""
        for node in NODES:
            for interface in ("svc0", "peer0"):
                rule = ["-i", interface, "-p", "udp", "--dport", "7710:7718", "-j", "DROP"]
                self.lab.host(node).run(["iptables", "-t", "raw", "-I" if on else "-D", "PREROUTING", *rule])


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    for pair in pair_named("owner"):
        pair.lab.up(arbiter="witness")
        yield Watched(pair)


@pytest.fixture(autouse=True)
def in_step(watched: Watched) -> None:
    experiment.mend(watched.lab)
    watched.lab.wait("synced")


def served(lab: Lab) -> bool:
    return lab.exec("client", ["curl", "-sS", "--max-time", "1", "http://10.77.0.100/"]).returncode == 0


def test_a_healthy_pair_needs_no_arbiter_and_a_lone_node_does(watched: Watched, tmp_path: Path) -> None:
    lab, primary = watched.lab, watched.lab.node_in_role("primary")
    other = next(node for node in NODES if node != primary)
    assert watched.group(primary)["ownership"]["record"]["mode"] == "paired"
    with Capture(lab, tmp_path / "wire") as capture:
        make_fault(lab, "kill-node", "witness")
        await_condition(
            lambda: watched.group(primary)["ownership"]["arbiter"]["reachable"] is False, 15, "it is missed"
        )
        await_condition(lambda: watched.group(primary)["synced"], 30, "in step without it")
        assert served(lab) and not watched.parted_without_loss(primary)
        make_fault(lab, "crash-host", other)
        await_condition(lambda: not watched.primaries(), 30, "silence: who may serve is unknown")
        make_fault(lab, "restart-host", "witness")
        watched.await_primary(primary)
        await_condition(lambda: served(lab), 30, "service")
    assert {span.host for span in capture.spans()} == {primary}


def test_nodes_that_hear_each_other_nowhere_do_not_both_serve(watched: Watched, tmp_path: Path) -> None:
    lab, hosts = watched.lab, list(NODES)
    with Capture(lab, tmp_path / "wire") as capture:
        watched.part(on=True)
        try:
            await_condition(lambda: len(watched.primaries()) == 1, 30, "one of them serves")
            owner = watched.primaries()[0]
            await_condition(lambda: served(lab), 30, "service")
            await_condition(
                lambda: watched.group(owner)["ownership"]["record"]["mode"] == "solo", 10, "the record"
            )
        finally:
            watched.part(on=False)
        lab.wait("synced")
    assert len(capture.spans()) <= len(hosts), capture.spans()


def test_both_crash_and_return_in_either_order(watched: Watched) -> None:
    lab = watched.lab
    first = lab.node_in_role("primary")
    second = next(node for node in NODES if node != first)
    for order in ((first, second), (second, first)):
        for node in NODES:
            make_fault(lab, "crash-host", node)
        make_fault(lab, "restart-host", order[0])
        watched.await_primary(order[0])
        await_condition(lambda: served(lab), 30, "service")
        make_fault(lab, "restart-host", order[1])
        lab.wait("synced")
        assert lab.node_in_role("primary") == order[0]


def test_a_frozen_primary_thaws_into_silence(watched: Watched, tmp_path: Path) -> None:
    lab = watched.lab
    old, new = lab.node_in_role("primary"), lab.node_in_role("backup")
    with Capture(lab, tmp_path / "wire") as capture:
        assert served(lab)
        make_fault(lab, "freeze-node", old, seconds=3)
        watched.await_primary(new)
        await_condition(lambda: served(lab), 30, "service")
        lab.wait("synced")
    assert [span.host for span in capture.spans()] == [old, new]
