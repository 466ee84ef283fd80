"""Python stands still between a decision and its orders, or between two of them; the beat thread goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.ownership import Ownership
from tests.sim.host import Host
from tests.sim.test_unserved import assert_served, in_step
from tests.sim.world import LEASE, LINKS, MS, SECOND, SOLO_LEASE, World


def stall_once(
    host: Host, when: Callable[[do.Command], bool], duration: int, after: bool
) -> list[do.Command]:
    """Let Python stand still before a step's orders, or right `after` the wanted one; returns what it was."""
    decide, found = host.machine.step, []

    def step(event: ev.Event, now_ns: int) -> list[do.Command]:
        orders = decide(event, now_ns)
        wanted = next((order for order in orders if when(order)), None)
        if wanted is None or found:
            return orders
        found.append(wanted)
        done = orders.index(wanted) + 1 if after else 0
        for order in orders[:done]:
            host.carry_out(order)
        host.stall(duration)
        return orders[done:]

    host.machine.step = step  # type: ignore[method-assign]
    return found


def part(world: World, one: Host, other: Host) -> set[tuple[str, str, int]]:
    cut = {(a.name, b.name, link) for link in LINKS for a, b in ((one, other), (other, one))}
    world.cut |= cut
    return cut


def asks_for_all(order: do.Command) -> bool:
    return isinstance(order, do.Propose) and order.wanted.mode is Ownership.SOLO


@pytest.mark.parametrize(("nodes", "arbitrated"), [(2, False), (2, True), (3, True)])
def test_a_grant_binds_until_it_is_really_withdrawn(nodes: int, arbitrated: bool) -> None:
    world, _, backup = in_step(nodes, arbitrated)

    def withdraws(order: do.Command) -> bool:
        return isinstance(order, do.Publish) and not order.grant_to

    stalled = stall_once(backup, withdraws, 6 * LEASE, after=False)
    backup.feed(ev.FailoverRequested(9))
    world.run(world.now + SECOND)
    assert stalled
    assert_served(world)


def test_grants_end_with_the_solo_record_that_was_asked_for() -> None:
    world, primary, backup = in_step(3, arbitrated=True)
    (third,) = (host for host in world.others(primary) if host is not backup)
    part(world, primary, third)
    part(world, backup, third)
    world.run(world.now + SECOND)
    stalled = stall_once(primary, asks_for_all, 4 * SOLO_LEASE, after=True)
    cut = part(world, primary, backup)  # for so long that the grants run low, and no node is lost
    world.later(LEASE - 5 * MS, lambda: world.cut.difference_update(cut))
    world.run(world.now + 6 * SECOND)
    assert stalled
    assert_served(world)


def test_a_backup_grants_nothing_beside_a_record_of_its_own() -> None:
    """It wins the group and does not hear so; then it hears a primary again that knows of nothing."""
    world, primary, backup = in_step(3, arbitrated=True)
    (third,) = (host for host in world.others(primary) if host is not backup)
    part(world, primary, third)
    part(world, backup, third)
    world.run(world.now + SECOND)
    primary.stall(2 * SOLO_LEASE)
    unheard = {(primary.name, backup.name, link) for link in LINKS}
    world.cut |= unheard
    asked = stall_once(backup, asks_for_all, 0, after=True)
    while not asked:
        world.run(world.now + MS // 20)
    unheard.add(("arbiter", backup.name, -1))
    world.cut |= unheard
    world.run(world.now + 5 * MS)
    assert world.arbiter is not None and world.arbiter.entry.record is not None
    assert world.arbiter.entry.record.holder == backup.name
    world.cut -= unheard
    world.run(world.now + SECOND)
    assert backup.emits
    world.run(world.now + 4 * SECOND)
    assert_served(world)
