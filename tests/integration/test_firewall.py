"""What others do to the firewall, and to rules of routing, makes no backup speak, ends no connection, hides
nothing.

Under downloads and silent connections over IPv4 and IPv6 one act follows the other on one node; then the
primary's host crashes. What is captured at the switch tells who spoke: one node up to the crash, the other
one from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.capture import Capture, out_of_turn
from lab.experiment import SYNC_S, Detached, keep_logs
from lab.faults import make_fault
from lab.firewalls import RULE_ACTS
from lab.hosts import await_condition
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.traffic import traffic

pytestmark = needs_root


UFW = "ufw"
"""Lets nothing in for some hundred milliseconds while it begins: more silence than the default D bears."""
PATIENT = ("timing.heartbeat_ms=50", "timing.heartbeat_misses=30")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("firewall", workloads=("bulk-down",))


@pytest.fixture(scope="module")
def pair_without_renewal() -> Iterator[Pair]:
    yield from pair_named("once", ("renew=none",), ("bulk-down",))


@pytest.fixture(scope="module")
def patient_pair() -> Iterator[Pair]:
    yield from pair_named("ufw", PATIENT, ("bulk-down",))


@pytest.mark.parametrize("target", ["backup", "primary"])
def test_connections_survive_every_act_and_then_the_crash(pair: Pair, target: str, tmp_path: Path) -> None:
    survive(pair, [act for act in RULE_ACTS if act != UFW], target, tmp_path)


@pytest.mark.parametrize("target", ["backup", "primary"])
def test_connections_survive_what_shuts_everything_for_a_while(
    patient_pair: Pair, target: str, tmp_path: Path
) -> None:
    survive(patient_pair, [UFW], target, tmp_path)


@pytest.mark.parametrize("target", ["backup", "primary"])
def test_a_killed_daemon_leaves_a_silent_host(pair: Pair, target: str, tmp_path: Path) -> None:
    """Its connections and its address are in the kernel still, and the other node goes on mirroring to it."""
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    dead, spoke = (old, [old, new]) if target == "primary" else (new, [old])
    with Capture(lab, tmp_path) as capture, traffic(lab) as connections:
        try:
            connections.goes_on("the start")
            make_fault(lab, "kill-node", dead)
            connections.goes_on("the kill")
            for act in ("nft", "iptables", "restore", "accept", "raw", "ip-rule", "docker"):
                make_fault(lab, "rules", act, dead)
                connections.goes_on(act, silent=True)
                assert not out_of_turn(capture.spans(), spoke), act
        finally:
            keep_logs(lab, tmp_path)
    assert not capture.dropped


def test_what_a_takeover_ends_is_reset_by_the_services_own_routes(
    pair_without_renewal: Pair, tmp_path: Path
) -> None:
    """The engine's own packets go where the stack's go: main's rule may be gone, or lead elsewhere."""
    pair = pair_without_renewal
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    with traffic(lab) as connections:
        try:
            connections.goes_on("the start")
            for link in ("peer", "client"):
                make_fault(lab, "cut", link, new)
            lab.wait(f"primary={old}", 10.0)
            await_condition(lambda: pair.group(old)["mode"] == "solo", 30, "the end of the pairing")
            make_fault(lab, "heal")
            lab.wait("synced", SYNC_S)
            make_fault(lab, "rules", "ip-rule", new)
            connections.goes_on("the new pairing")
            make_fault(lab, "crash-host", old)
            said = connections.ask("silent")
        finally:
            keep_logs(lab, tmp_path)
    assert said.count("reset: ") == 6, said


def survive(pair: Pair, acts: Sequence[str], target: str, evidence: Path) -> None:
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    node = old if target == "primary" else new
    detached = Detached(lab)
    with Capture(lab, evidence) as capture, traffic(lab) as connections:
        try:
            connections.goes_on("the start")
            for act in acts:
                make_fault(lab, "rules", act, node)
                connections.goes_on(act)
                assert not out_of_turn(capture.spans(), [old]), act
                assert not detached.look(), act
            standing = pair.group(node)["firewall"]
            assert isinstance(standing, dict) and standing["rules"] and standing["guard"]
            assert not standing["missing"]
            assert pair.group(old)["synced"] and pair.group(new)["synced"]
            make_fault(lab, "crash-host", old)
            connections.goes_on("the crash", silent=True)
        finally:
            keep_logs(lab, evidence)
    assert not out_of_turn(capture.spans(), [old, new])
    assert not capture.dropped
