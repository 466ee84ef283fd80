"""One healthy node that could serve is not left waiting by another one that cannot."""

from __future__ import annotations

import pytest

from fttcp.ownership import events as ev
from fttcp.ownership.model import Cause, EngineMode
from fttcp.ownership.pair import PairMachine
from tests.sim.host import Host
from tests.sim.world import LINKS, MS, SECOND, SERVICE_LINK, World

PEER_LINK = 0
LONG = 8 * SECOND


def in_step(nodes: int, arbitrated: bool) -> tuple[World, Host, Host]:
    """Return an even world, its primary and its backup."""
    world = World(11, nodes, arbitrated)
    world.loss = world.halt_chance = 0.0
    for host in world.hosts.values():
        host.boot()
    world.run(4 * SECOND)
    primary = next(host for host in world.hosts.values() if host.emits)
    backup = next(other for other in world.others(primary) if other.machine.in_step)
    return world, primary, backup


def without_arbiter(world: World, *hosts: Host) -> None:
    for host in hosts:
        world.cut |= {("arbiter", host.name, -1), (host.name, "arbiter", -1)}


def without_peer_links(world: World) -> None:
    names = list(world.hosts)
    world.cut |= {(one, other, PEER_LINK) for one in names for other in names if one != other}


def lose_server(host: Host) -> None:
    host.server_up = False
    host.feed(ev.ServerFailed(Cause.SERVER_DIED))


def assert_served(world: World) -> None:
    serving = [h for h in world.hosts.values() if h.emits and h.server_up and h.carrier]
    assert len(serving) == 1, f"nobody serves{world.story()}"


@pytest.mark.parametrize(("nodes", "arbitrated"), [(2, False), (2, True), (3, True)])
@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("flows", [ev.FlowsSeen(), ev.FlowsSeen(catching=3), ev.FlowsSeen(unverified=1)])
def test_a_failover_takes_the_role_from_a_primary_that_works(
    nodes: int, arbitrated: bool, hangs: bool, flows: ev.FlowsSeen
) -> None:
    """Its daemon may answer, or hang while its beat thread goes on. Nor is a renewal waited for."""
    world, primary, backup = in_step(nodes, arbitrated)
    primary.flows, primary.flows_until = flows, world.now + LONG
    if hangs:
        primary.stall(LONG)
    backup.feed(ev.FailoverRequested(7))
    world.run(world.now + SECOND)
    assert backup.emits and not primary.emits, world.story()


@pytest.mark.parametrize("nodes", [2, 3])
def test_an_offer_is_taken_back_from_one_that_cannot_reach_the_arbiter(nodes: int) -> None:
    world, primary, backup = in_step(nodes, arbitrated=True)
    without_arbiter(world, backup)
    primary.feed(ev.SwitchoverRequested(7))
    world.run(world.now + SECOND)
    assert_served(world)


@pytest.mark.parametrize("nodes", [2, 3])
def test_a_lone_primary_that_lost_the_arbiter_gives_up(nodes: int) -> None:
    world, primary, _ = in_step(nodes, arbitrated=True)
    without_peer_links(world)
    world.run(world.now + SECOND)
    without_arbiter(world, primary)
    world.run(world.now + LONG)
    assert_served(world)


@pytest.mark.parametrize("nodes", [2, 3])
def test_a_primary_without_the_arbiter_gives_up_when_its_backup_begins_anew(nodes: int) -> None:
    world, primary, backup = in_step(nodes, arbitrated=True)
    without_arbiter(world, primary)
    backup.crash()
    world.run(world.now + SECOND)
    backup.boot()
    world.run(world.now + LONG)
    assert_served(world)


def test_flows_outlive_the_loss_of_the_peer_link_and_of_the_primarys_arbiter() -> None:
    world, primary, _ = in_step(2, arbitrated=True)
    without_arbiter(world, primary)
    without_peer_links(world)
    modes = set()
    end = world.now + LONG
    while world.now < end:
        world.run(world.now + SECOND // 500)
        modes.add(primary.native.mode)
    assert primary.emits and modes == {EngineMode.PAIRED, EngineMode.SOLO}, world.story()


def test_a_primary_without_the_arbiter_is_served_by_the_consent_of_the_backup_that_left() -> None:
    world, primary, backup = in_step(2, arbitrated=True)
    without_arbiter(world, primary)
    lose_server(backup)
    world.run(world.now + LONG)
    assert_served(world)


@pytest.mark.parametrize("arbitrated", [False, True])
@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("fault", ["carrier", "server"])
def test_a_peer_that_hears_the_primary_on_another_link_only_serves_for_it(
    monkeypatch: pytest.MonkeyPatch, fault: str, nodes: int, arbitrated: bool
) -> None:
    if nodes > 2 and not arbitrated:
        return  # refused by the configuration
    monkeypatch.setattr("tests.sim.world.LINKS", (PEER_LINK, SERVICE_LINK, 2))
    world, primary, _ = in_step(nodes, arbitrated)
    without_peer_links(world)
    world.run(world.now + SECOND)
    primary = next(host for host in world.hosts.values() if host.emits)
    if fault == "carrier":
        primary.set_carrier(False)
    else:
        lose_server(primary)
    world.run(world.now + LONG)
    assert_served(world)


def test_a_pair_of_which_neither_can_serve_makes_way_for_a_third_node() -> None:
    world, primary, backup = in_step(3, arbitrated=True)
    primary.set_carrier(False)
    without_arbiter(world, backup)
    world.run(world.now + LONG)
    assert_served(world)


def test_a_backup_that_cannot_serve_makes_way_when_its_primary_lost_the_arbiter() -> None:
    world, primary, backup = in_step(3, arbitrated=True)
    without_arbiter(world, primary)
    lose_server(backup)
    world.run(world.now + LONG)
    assert_served(world)


@pytest.mark.parametrize(("nodes", "arbitrated"), [(2, False), (2, True), (3, True)])
def test_a_primary_without_a_cable_offers_nothing_to_a_backup_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, nodes: int, arbitrated: bool
) -> None:
    monkeypatch.setattr(PairMachine, "_note_gap", lambda *_: None)  # a stall would help it out
    world, primary, _ = in_step(nodes, arbitrated)
    for host in (*world.others(primary), primary):
        host.set_carrier(False)
        world.run(world.now + SECOND // 5)
    for host in world.others(primary):
        host.crash()
    world.run(world.now + SECOND)
    primary.set_carrier(True)
    world.run(world.now + LONG)
    assert_served(world)


@pytest.mark.parametrize("deaf", ["primary", "both", "all"])
@pytest.mark.parametrize("known", [False, True])
def test_a_hiccup_while_the_arbiter_is_unreachable_ends_no_service(deaf: str, known: bool) -> None:
    """Grants ran low for a moment, the primary asked for the group alone, and will never know the answer."""
    if deaf != "primary" and not known:
        return  # without an arbiter more than two nodes stay silent when their primary may have lost its pair
    world, primary, backup = in_step(3, arbitrated=True)
    deaf_ones = {"primary": [primary], "both": [primary, backup], "all": list(world.hosts.values())}[deaf]
    without_arbiter(world, *deaf_ones)
    world.run(world.now + (2 * SECOND if known else 0))
    cut = {(backup.name, primary.name, link) for link in LINKS}
    world.cut |= cut
    world.later(30 * MS, lambda: world.cut.difference_update(cut))
    world.run(world.now + LONG)
    assert_served(world)
