"""Two nodes that decide by different arbiters: whatever is cut, they never both emit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fttcp.ownership.model import Settings
from fttcp.ownership.pair import PairMachine
from fttcp.ownership.terms import MOST, Term
from tests.sim.faults import heal
from tests.sim.host import Host, Violation
from tests.sim.world import LINKS, SECOND, STARTUP_WAIT, World

SEEDS = range(1, 25)


def with_terms(settings: Settings, arbiter: int, **changes: object) -> Settings:
    terms = [1] * len(Term)
    terms[Term.ARBITER] = arbiter
    return replace(settings, terms=tuple(terms), **changes)  # type: ignore[arg-type]


def mixed(seed: int, machine: type[PairMachine] = PairMachine) -> World:
    """One node asks an arbiter, the other one has none; which of them starts first is chance."""
    world = World(seed, arbitrated=True, machine=machine)
    names = list(world.hosts)
    world.random.shuffle(names)
    for name, arbiter, changes in ((names[0], 5, {}), (names[1], MOST, {"solo_lease_ns": 0})):
        old = world.hosts[name].settings
        world.hosts[name] = Host(world, with_terms(old, arbiter, **changes))
    for host in world.hosts.values():
        world.at(world.random.randrange(STARTUP_WAIT // 2), host.boot)
    world.run(3 * SECOND)
    return world


def part(world: World) -> None:
    """Let them hear each other nowhere, though both reach clients and the arbiter."""
    one, other = world.hosts
    world.cut |= {(a, b, link) for a, b in ((one, other), (other, one)) for link in LINKS}
    world.run(world.now + 4 * SECOND)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_arbiters_only_one_node_serves_and_none_is_in_step(seed: int) -> None:
    world = mixed(seed)
    for _ in range(2):
        emitting = [host.name for host in world.hosts.values() if host.emits]
        assert len(emitting) == 1, f"not one serves{world.story()}"
        assert not any(host.machine.in_step for host in world.hosts.values())
        part(world)
        assert [host.name for host in world.hosts.values() if host.emits] == emitting
        heal(world)
        world.run(world.now + 4 * SECOND)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_one_that_waits_goes_on_waiting_when_the_other_one_dies(seed: int) -> None:
    world = mixed(seed)
    owner = next(host for host in world.hosts.values() if host.emits)
    owner.crash()
    world.run(world.now + 4 * SECOND)
    assert not any(host.emits for host in world.hosts.values())
    owner.boot()
    world.run(world.now + 4 * SECOND)
    assert [host.emits for host in world.hosts.values()].count(True) == 1, world.story()


def test_without_the_rule_a_partition_makes_two_owners() -> None:
    class Careless(PairMachine):
        contested = False  # type: ignore[assignment]

    with pytest.raises(Violation, match="I1"):
        for seed in SEEDS:
            part(mixed(seed, Careless))
