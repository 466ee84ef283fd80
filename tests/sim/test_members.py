"""Nodes are added and removed while the others serve: through whatever happens, and as a handbook says."""

from __future__ import annotations

import os

import pytest

from fttcp.ownership.members import Members
from tests.sim.faults import heal, one_fault
from tests.sim.host import Host, Violation
from tests.sim.members import Member
from tests.sim.world import LINKS, MS, SECOND, SOLO_LEASE, World

RUNS = int(os.environ.get("FTTCP_SIM_RUNS", "36")) // 3
FIRST_SEED = int(os.environ.get("FTTCP_SIM_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + RUNS)


def members_of(seed: int, nodes: int, first: int, host: type[Host] = Member) -> World:
    """Return a world of so many hosts; the files of the first ones name each other, and theirs the others."""
    world = World(seed, nodes, arbitrated=True, host=host)
    names = list(world.hosts)
    for name, one in world.hosts.items():
        assert isinstance(one, Member)
        one.file = tuple(
            other for other in (names[:first] if name in names[:first] else names) if other != name
        )
    return world


def edited(world: World) -> None:
    """Somebody writes another list into the file of one host."""
    host = world.random.choice(list(world.hosts.values()))
    assert isinstance(host, Member)
    others = [other.name for other in world.others(host)]
    names = tuple(sorted(world.random.sample(others, world.random.randrange(1, len(others) + 1))))
    world.note(f"the file of {host.name} names {', '.join(names)}")
    host.rename(names)


def restless(seed: int, host: type[Host] = Member) -> World:
    """Return a world of four nodes that has gone through faults and other files; raises Violation."""
    world = members_of(seed, 4, 2, host)
    for one in world.hosts.values():
        world.at(world.random.randrange(2 * SECOND), one.boot)
    when = 2 * SECOND
    for _ in range(world.random.randrange(6, 18)):
        when += world.random.choice((world.random.randrange(1, 150), world.random.randrange(100, 3000))) * MS
        world.at(when, lambda: (edited if world.random.random() < 0.5 else one_fault)(world))
    world.run(when + 3 * SECOND)
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_files_that_change_at_any_time_never_let_two_serve(seed: int) -> None:
    world = restless(seed)
    heal(world)
    names = set(world.hosts)
    for _ in range(2):  # what one file must name first, before another one is let in
        for host in world.hosts.values():
            assert isinstance(host, Member)
            host.rename(tuple(sorted(names - {host.name})))
            world.run(world.now + SECOND)
    world.run(world.now + 8 * SECOND)
    assert sum(host.emits for host in world.hosts.values()) == 1, f"nobody serves{world.story()}"
    assert sum(host.machine.in_step for host in world.hosts.values()) == 2, f"not in step{world.story()}"


def quiet(seed: int, nodes: int, first: int) -> World:
    world = members_of(seed, nodes, first)
    world.loss = world.halt_chance = 0.0
    for host in list(world.hosts.values())[:first]:
        host.boot()
    world.run(4 * SECOND)
    return world


def serving(world: World) -> Host:
    (host,) = (host for host in world.hosts.values() if host.emits)
    return host


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_third_node_is_added_to_two_and_the_first_two_leave(seed: int) -> None:
    world = quiet(seed, 3, 2)
    alpha, beta, gamma = world.hosts.values()
    assert isinstance(alpha, Member) and isinstance(beta, Member) and isinstance(gamma, Member)
    first, epoch = serving(world), serving(world).machine.epoch
    gamma.boot()
    world.run(world.now + SECOND)
    assert not gamma.machine.settings.member, "nobody has named it"
    for host in (alpha, beta):
        host.rename(tuple(sorted(set(world.hosts) - {host.name})))
        world.run(world.now + SECOND)
    assert serving(world) is first and first.machine.epoch == epoch and first.machine.in_step, world.story()
    assert gamma.machine.settings.member and gamma.machine.spare, world.story()
    second = next(host for host in (alpha, beta) if host is not first)
    first.crash()
    world.run(world.now + 2 * SECOND)
    assert serving(world) is second and second.machine.in_step, world.story()
    second.crash()
    world.run(world.now + 2 * SECOND)
    assert serving(world) is gamma, f"the new node does not serve{world.story()}"


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_node_that_nobody_names_any_more_takes_nothing(seed: int) -> None:
    world = quiet(seed, 3, 3)
    first = serving(world)
    backup, spare = sorted(world.others(first), key=lambda host: not host.machine.in_step)
    assert isinstance(first, Member) and isinstance(backup, Member)
    first.rename((backup.name,))
    backup.rename((first.name,))
    world.run(world.now + 2 * SECOND)
    assert serving(world) is first and first.machine.in_step, world.story()
    first.crash()
    backup.crash()
    world.run(world.now + 4 * SOLO_LEASE)
    assert not spare.emits and not spare.machine.settings.member, world.story()


@pytest.mark.parametrize("seed", range(1, 7))
def test_two_of_three_are_a_pair_once_the_third_has_left(seed: int) -> None:
    """As if they had begun like that: each may leave the group to the other one, arbiter or not."""
    world = quiet(seed, 3, 3)
    first = serving(world)
    backup, spare = sorted(world.others(first), key=lambda host: not host.machine.in_step)
    assert isinstance(first, Member) and isinstance(backup, Member)
    assert not first.machine.settings.pair
    spare.crash()
    first.rename((backup.name,))
    backup.rename((first.name,))
    world.run(world.now + 4 * SECOND)
    assert serving(world) is first and first.machine.in_step, world.story()
    assert first.machine.settings.pair and backup.machine.settings.pair, world.story()


class Hasty(Member):
    """What was granted may still let the other one serve when a third node gets in, and more is granted."""

    waits_before_telling = False

    def name_peers(self, slots: tuple[str, ...]) -> None:
        """It names the third node to the arbiter, not to its machine."""
        self.prepare_to_tell()

    def learn(self, members: Members) -> None:
        """Nor does a machine that leaves a group to another one ever cease to."""
        self.known = members
        if not self.machine.settings.pair:
            super().learn(members)


def third_let_in(host: type[Host]) -> World:
    """Return a world of two that cannot pair and have ceased to hear the arbiter, which hears a third one."""
    world = members_of(5, 3, 2, host)
    world.loss = world.halt_chance = 0.0
    gamma = world.hosts["gamma"]
    world.cut |= {("alpha", "beta", 0), ("beta", "alpha", 0)}
    for one in world.hosts.values():
        one.boot()
    world.run(4 * SECOND)
    first = serving(world)
    assert isinstance(first, Member) and first is not gamma and not first.machine.in_step, world.story()
    first.rename(tuple(sorted(set(world.hosts) - {first.name})))
    world.run(world.now + SECOND)
    for name in ("alpha", "beta"):
        world.cut |= {(name, "arbiter", -1), ("arbiter", name, -1)}
        world.cut |= {way for link in LINKS for way in ((name, "gamma", link), ("gamma", name, link))}
    world.run(world.now + 5 * SOLO_LEASE)
    return world


def test_two_that_leave_a_group_to_each_other_cease_to_before_a_third_is_let_in() -> None:
    world = third_let_in(Member)
    assert serving(world).name == "gamma", world.story()
    with pytest.raises(Violation, match=r"I1: (alpha|beta) and gamma may emit"):
        third_let_in(Hasty)
