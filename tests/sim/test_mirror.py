"""Mirrors that cease to carry, among all other faults: still one emitter at most, and in step in the end."""

from __future__ import annotations

import itertools
import random
from functools import partial

import pytest

from fttcp.ownership import events as ev
from fttcp.ownership.mirror import MISSED
from tests.sim.faults import heal, one_fault
from tests.sim.host import Host
from tests.sim.test_pair_sim import SEEDS, settle
from tests.sim.world import MS, SECOND, World

_NUMBERS = itertools.count(1)


def mirror(host: Host, arrives: bool) -> None:
    """Let the host hear of probes, all of which are here, or which do not come."""
    if not host.alive:
        return
    for _ in range(1 if arrives else MISSED):
        number = next(_NUMBERS)
        host.soon(partial(host.feed, ev.ProbesSent(number, 1)))
        if arrives:
            host.soon(partial(host.feed, ev.ProbeSeen(number, 0)))


@pytest.mark.parametrize("arbitrated", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_mirrors_that_come_and_go(seed: int, arbitrated: bool) -> None:
    world, chance = World(seed, 2 + arbitrated * (seed % 2), arbitrated), random.Random(seed)
    for host in world.hosts.values():
        world.at(0, host.boot)
    for _ in range(8):
        when = chance.randrange(2 * SECOND, 20 * SECOND)
        host = chance.choice(list(world.hosts.values()))
        world.at(when, partial(mirror, host, False))
        world.at(when + chance.randrange(1500) * MS, partial(mirror, host, True))
        world.at(chance.randrange(2 * SECOND, 20 * SECOND), partial(one_fault, world))
    world.run(22 * SECOND)
    heal(world)
    for host in world.hosts.values():
        mirror(host, True)
    settle(world)


def test_a_pair_whose_mirror_is_dead_parts_and_serves_on() -> None:
    world = World(1)
    for host in world.hosts.values():
        world.at(0, host.boot)
    settle(world)
    backup = next(host for host in world.hosts.values() if not host.emits)
    owner = next(host for host in world.hosts.values() if host.emits)
    for _ in range(20):
        mirror(backup, False)
        world.run(world.now + 100 * MS)
        assert owner.emits and not backup.emits
    mirror(backup, True)
    settle(world)
