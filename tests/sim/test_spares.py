"""Nodes that wait in reserve: they cost the others little, and none keeps the backup's place empty."""

from __future__ import annotations

import pytest

from fttcp.ownership.ownership import Ownership
from tests.sim.host import Host
from tests.sim.world import LINKS, MS, SECOND, SOLO_LEASE, World

LONG = 20 * SECOND


def in_step() -> tuple[World, Host, Host, Host]:
    """Return an even world of three nodes: its primary, its backup, its spare."""
    world = World(11, 3, arbitrated=True)
    world.loss = world.halt_chance = 0.0
    for host in world.hosts.values():
        host.boot()
    world.run(4 * SECOND)
    primary = next(host for host in world.hosts.values() if host.emits)
    backup, spare = sorted(world.others(primary), key=lambda host: not host.machine.in_step)
    return world, primary, backup, spare


def ways(world: World, host: Host) -> set[tuple[str, str, int]]:
    """All links between a host and the others, both ways."""
    names = [other.name for other in world.others(host)]
    return {
        way for link in LINKS for name in names for way in ((host.name, name, link), (name, host.name, link))
    }


def test_a_spare_that_hears_nobody_uses_few_epochs_and_asks_seldom() -> None:
    world, primary, _, spare = in_step()
    world.cut |= ways(world, spare)
    world.run(world.now + 2 * SECOND)
    used, asked, stored = spare.machine._seen, spare.machine.arbitration._numbers, spare.disk
    world.run(world.now + LONG)
    leases = LONG // SOLO_LEASE
    assert primary.emits, world.story()
    assert spare.machine._seen - used <= leases * len(world.hosts), "epochs"
    assert spare.machine.arbitration._numbers - asked <= 8 * leases, "requests"
    assert spare.disk - stored <= leases * len(world.hosts) + 32, "writes to the disk"


@pytest.mark.parametrize("both", [False, True])
def test_a_spare_that_hears_nobody_serves_soon_when_the_pair_is_gone(both: bool) -> None:
    world, primary, backup, spare = in_step()
    world.cut |= ways(world, spare)
    world.run(world.now + LONG)
    backup.crash()
    world.run(world.now + SECOND)
    assert primary.emits, world.story()
    primary.crash()
    world.run(world.now + 3 * SOLO_LEASE)
    assert spare.emits, f"the spare does not serve{world.story()}"
    if both:
        world.cut.clear()
        backup.boot()
        primary.boot()
        world.run(world.now + 4 * SECOND)
        assert spare.emits and spare.machine.in_step, world.story()


@pytest.mark.parametrize("solo", [False, True], ids=["paired", "solo"])
@pytest.mark.parametrize("seed", range(1, 5))
def test_spares_that_hear_each_other_only_wear_nothing_out(seed: int, solo: bool) -> None:
    world = World(seed, 4, arbitrated=True)
    world.loss = world.halt_chance = 0.0
    for host in world.hosts.values():
        host.boot()
    world.run(4 * SECOND)
    primary = next(host for host in world.hosts.values() if host.emits)
    backup = next(other for other in world.others(primary) if other.machine.in_step)
    if solo:
        for other in world.others(primary):
            world.cut |= ways(world, other) & ways(world, primary)
    spares = [other for other in world.others(primary) if other is not backup]
    for spare in spares:
        world.cut |= ways(world, spare) & (ways(world, primary) | ways(world, backup))
    world.run(world.now + 2 * SECOND)
    used = max(spare.machine._seen for spare in spares)
    asked = sum(spare.machine.arbitration._numbers for spare in spares)
    world.run(world.now + LONG)
    leases = LONG // SOLO_LEASE
    assert sum(host.emits for host in world.hosts.values()) == 1, world.story()
    assert max(spare.machine._seen for spare in spares) - used <= 3 * leases * len(world.hosts), "epochs"
    assert sum(spare.machine.arbitration._numbers for spare in spares) - asked <= 16 * leases, "requests"


def test_a_spare_that_never_follows_makes_room_for_one_that_would() -> None:
    world, primary, backup, spare = in_step()
    world.cut |= ways(world, spare) | {("arbiter", spare.name, -1)}  # its proposals go out, no answer comes
    world.run(world.now + 2 * SECOND)
    backup.crash()
    world.run(world.now + SECOND)
    world.cut -= ways(world, spare)
    world.cut |= {(spare.name, "arbiter", -1)}
    world.run(world.now + 2 * SECOND)
    assert primary.emits and primary.machine.partner is spare_of(primary, spare), world.story()
    assert not primary.machine.in_step, "the spare must not follow while its proposal may be on its way"
    backup.boot()
    world.run(world.now + 4 * SECOND)
    assert primary.emits and primary.machine.in_step, f"nobody is backup{world.story()}"
    record = primary.machine.arbitration.record
    assert record is not None and (record.mode, record.backup) == (Ownership.PAIRED, backup.name)


def spare_of(primary: Host, spare: Host) -> object:
    return next(peer for peer in primary.machine.view.peers if peer.name == spare.name)


@pytest.mark.parametrize("seed", range(1, 13))
def test_the_first_in_line_of_several_spares_becomes_backup(seed: int) -> None:
    world = World(seed, 5, arbitrated=True)
    world.loss = world.halt_chance = 0.0
    assert world.arbiter is not None
    world.arbiter._delay = lambda: MS  # type: ignore[method-assign]  # whom it hears late comes after the others
    for host in world.hosts.values():
        host.boot()
    world.run(4 * SECOND)
    for _ in range(3):
        primary = next(host for host in world.hosts.values() if host.emits)
        backup = next(other for other in world.others(primary) if other.alive and other.machine.in_step)
        spares = [other for other in world.others(primary) if other.alive and other is not backup]
        primary.crash()
        world.run(world.now + 2 * SECOND)
        assert backup.emits and backup.machine.partner is not None, world.story()
        first = min(spares, key=lambda host: (-host.settings.priority, host.name))
        assert backup.machine.partner.name == first.name and first.machine.in_step, world.story()
