"""A node with two adapters to its clients' network: one that fails is replaced inside the host, on real
kernels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import network
from lab.experiment import Case, Disturbance
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4, SERVICE_LINK, SWITCH
from lab.state import LabState
from tests.integration.netns import Net, needs_root, net
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import await_mac, events, known_mac, mac_of
from tests.integration.test_rules import drive
from tests.integration.traffic import traffic

pytestmark = needs_root
__all__ = ["net"]

TOLD_S = 10.0


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("adapters", ('standby_interfaces=["svc1"]',), ("bulk-down",))


@pytest.mark.parametrize("first", ["svc0-gone", "missing"])
def test_routes_lead_over_the_adapter_that_is_used(net: Net, tmp_path: Path, first: str) -> None:
    """Those of the first one, with their gateways, also if it has gone and taken them with it. The other has
    no address."""
    net.node.run("ip", "link", "add", "svc1", "type", "veth", "peer", "name", "far1")
    for end in ("far1", "svc1"):
        net.node.run("ip", "link", "set", end, "up")
    said = drive(net, tmp_path, "adapters", "apply", "table", first, "use-svc1", "table", "ground", "table")
    before, at_once, later = [part.splitlines() for part in said.split("table ")[1:]]
    moved = {line.strip().replace("dev svc0", "dev svc1") for line in before if "dev svc0" in line}
    assert {"default via 10.77.0.10", "default via fd77::10"} <= {
        line.partition(" dev ")[0] for line in moved
    }
    for shown in (at_once, later):
        lines = {line.strip() for line in shown if " dev " in line}
        assert moved <= lines and not any("dev svc0" in line for line in lines), said
    if first != "svc0-gone":
        said = drive(net, tmp_path, "adapters", "apply", "use-svc0", "table")
        assert "dev svc0" in said and "dev svc1" not in said


def used(lab: Lab, node: str, asked: str | None = None) -> str:
    """The adapter that a node uses, as one of the nodes tells."""
    told = lab.ask(asked or node, {"op": "status"}, timeout_s=5.0)["adapters"]
    return next((str(one["name"]) for one in told.get(node, []) if one["used"]), "")


def nodes(lab: Lab) -> tuple[str, str]:
    """Primary and backup."""
    primary = lab.node_in_role("primary")
    (backup,) = set(lab.nodes()) - {primary}
    return primary, backup


def test_a_download_goes_on_over_the_other_adapter(pair: Pair, tmp_path: Path) -> None:
    """No role moves."""
    pull = Disturbance(lambda lab: make_fault(lab, "cut", "client", "primary"), takeover=False, bound_s=2.0)
    lab = pair.ready().lab
    primary, backup = nodes(lab)
    outcome = pair.run(Case("bulk-down", "none"), tmp_path, pull)
    assert outcome.ok, outcome
    await_condition(lambda: used(lab, primary, backup) == "svc1", TOLD_S, "its peer is told")
    assert events(lab, primary, "adapter-moved") and not events(lab, primary, "carrier")
    assert known_mac(lab, CLIENT, SERVICE4) == mac_of(lab, primary, "svc1")


def test_it_moves_on_and_back_and_the_next_crash_is_outlived(pair: Pair) -> None:
    """By failures and by order; an adapter that is removed and comes back is taken up again; both nodes have
    moved when one crashes. Clients of both IP versions, some of them silent all the time."""
    lab = pair.ready().lab
    primary, backup = nodes(lab)
    switch = lab.host(SWITCH)
    with traffic(lab) as connections:
        connections.goes_on("the start")
        first = used(lab, primary)
        assert first and pair.order(primary, "adapter", "svc0")["status"] == 0
        connections.goes_on("the order")
        (cable,) = network.cables(primary, SERVICE_LINK)
        switch.run(["ip", "link", "delete", cable.port])
        await_condition(lambda: used(lab, primary) == "svc1", TOLD_S, "it moves")
        connections.goes_on("the first has gone, with its routes", silent=True)
        assert pair.order(primary, "adapter", "svc0")["reason"] == "no-adapter"
        network.plug(switch, lab.host(primary), [cable])
        await_condition(
            lambda: all(
                one["carrier"] for one in lab.ask(primary, {"op": "status"}, 5.0)["adapters"][primary]
            ),
            TOLD_S,
            "the first one is back",
        )
        assert used(lab, primary) == "svc1", "no fail-back"
        make_fault(lab, "cut", "standby", primary)
        await_condition(lambda: used(lab, primary) == "svc0", TOLD_S, "it moves back")
        connections.goes_on("the failure of the second", silent=True)
        make_fault(lab, "heal")
        for node in (primary, backup):
            make_fault(lab, "cut", "client", node)
            await_condition(lambda node=node: used(lab, node) == "svc1", TOLD_S, "it moves once more")  # type: ignore[misc]
        connections.goes_on("both have moved", silent=True)
        lab.wait("synced")
        assert lab.node_in_role("primary") == primary
        make_fault(lab, "crash-host", primary)
        connections.goes_on("the crash", silent=True)
        await_mac(lab, CLIENT, mac_of(lab, backup, "svc1"))


@pytest.fixture
def referring() -> Iterator[Lab]:
    """Nodes that ask over both adapters whether they reach the client. As a backup dies its primary needs
    that answer before its lease ends: on a busy machine it takes longer than 100 ms."""
    settings = (
        "timing.heartbeat_ms=60",
        *('reference.addresses=["10.77.0.10"]', "reference.method=neighbour"),
        *("reference.interval_ms=100", "reference.timeout_ms=80", 'standby_interfaces=["svc1"]'),
    )
    for pair in pair_named("referring", settings, ("bulk-down",)):
        yield pair.ready().lab


def test_an_adapter_that_reaches_nobody_is_left_and_a_killed_daemon_begins_with_one_that_works(
    referring: Lab,
) -> None:
    """It keeps its carrier: its port is on another network. If no adapter reaches anybody, none is left."""
    lab = referring
    primary, backup = nodes(lab)
    with traffic(lab) as connections:
        connections.goes_on("the start")
        (cable,) = network.cables(primary, SERVICE_LINK)
        lab.host(SWITCH).run(["ip", "link", "set", cable.port, "nomaster"])
        await_condition(lambda: used(lab, primary) == "svc1", TOLD_S, "the adapter is left")
        connections.goes_on("the move", silent=True)
        make_fault(lab, "cut", "client", backup)
        await_condition(lambda: used(lab, backup) == "svc1", TOLD_S, "the backup moves")
        make_fault(lab, "kill-node", backup)
        lab._start_daemon(LabState.load(lab.name), backup)
        lab.wait("synced")
        assert used(lab, backup) == "svc1"
        connections.goes_on("the kill", silent=True)
    lab.host(CLIENT).run(["ip", "address", "del", "10.77.0.10/24", "dev", "eth0"])
    lost = ("svc0", "svc1")
    await_condition(
        lambda: {event["interface"] for event in events(lab, primary, "reference-lost")} == set(lost),
        TOLD_S,
        "the network is lost",
    )
    assert used(lab, primary) == "svc1"


def test_without_any_adapter_the_role_moves(pair: Pair) -> None:
    """Whatever adapter the other node uses."""
    lab = pair.ready().lab
    primary, backup = nodes(lab)
    with traffic(lab) as connections:
        connections.goes_on("the start")
        make_fault(lab, "cut", "client", backup)
        await_condition(lambda: used(lab, backup) == "svc1", TOLD_S, "the backup moves")
        make_fault(lab, "cut", "standby", primary)
        make_fault(lab, "cut", "client", primary)
        lab.wait(f"primary={backup}")
        connections.goes_on("the takeover", silent=True)
