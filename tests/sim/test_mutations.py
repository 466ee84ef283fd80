"""A rule that is left out is noticed: the simulator is worth something only if it can fail.

Each mutation leaves one rule of the production core, or of what surrounds it, out. Worlds are tried, seed
after seed, until one breaks an invariant; that it does so within the given number is what is tested.

One rule is not among them: that NONE voids grants for heartbeats sent before it also when they come in later
(``floor_ns`` of lease.h). Whoever comes from NONE to GRANTED within D does so beside a peer that has granted
anew since, or still does, and is bound by that for longer than by anything old. So it is a second line: a
search of the model with three nodes to its end finds nothing without it. native/tests/test_beat.c checks it.
"""

from __future__ import annotations

import pytest

from fttcp.arbiter import register
from fttcp.arbiter.register import Entry, Terms, Verdict
from fttcp.ownership.members import Members
from fttcp.ownership.model import Settings
from fttcp.ownership.ownership import Outcome, Ownership, Record
from fttcp.ownership.pair import PairMachine
from tests.sim.faults import heal, troubled
from tests.sim.host import Host, Violation
from tests.sim.world import LINKS, MS, SECOND, World

MOST_WORLDS = 60


def caught(machine: type[PairMachine], nodes: int, arbitrated: bool) -> str:
    """Return what the first world that goes wrong says; '' if none does."""
    for seed in range(1, MOST_WORLDS + 1):
        try:
            world = troubled(seed, nodes, arbitrated, machine)
            heal(world)
            world.run(world.now + 2 * SECOND)
        except Violation as violation:
            return str(violation).split(" (seed")[0]
    return ""


class Forgetful(PairMachine):
    """Knows no epoch of an earlier life."""

    def __init__(self, settings: object, now_ns: int) -> None:
        super().__init__(settings, now_ns)  # type: ignore[arg-type]
        self._used = 0


class Sanguine(PairMachine):
    """Depends on no grants while it does not know whether its pairing stands."""

    def _depend(self, now_ns: int) -> None:
        return

    def _keep_lease(self, now_ns: int) -> None:
        return


def test_without_the_lease_wait_two_emit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "patience_ns", property(lambda settings: settings.lease_ns // 2))
    assert "I1" in caught(PairMachine, 2, arbitrated=True)


def cut_in_the_middle_of_a_pairing(machine: type[PairMachine]) -> World:
    """The primary asks for a pairing; from then on it hears nobody, and nobody hears it but the arbiter."""
    world = World(3, 2, True, machine)
    world.loss = world.halt_chance = 0.0
    for host in world.hosts.values():
        host.boot()
    while not (asking := [h for h in world.hosts.values() if _asks_for_a_pair(h)]):
        world.run(world.now + MS // 20)
    primary, other = asking[0].name, world.others(asking[0])[0].name
    world.cut |= {("arbiter", primary, -1)} | {(primary, other, link) for link in LINKS}
    world.cut |= {(other, primary, link) for link in LINKS}
    world.run(world.now + 3 * SECOND)
    return world


def _asks_for_a_pair(host: Host) -> bool:
    register = host.machine.arbitration
    return register.goal is not None and register.goal.mode is Ownership.PAIRED


def test_without_grants_while_a_pairing_is_in_doubt_two_emit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.sim.world.SOLO_LEASE", 5 * SECOND)
    world = cut_in_the_middle_of_a_pairing(PairMachine)
    assert [host.emits for host in world.hosts.values()].count(True) == 1, world.story()
    with pytest.raises(Violation, match="I1"):
        cut_in_the_middle_of_a_pairing(Sanguine)


def test_without_durable_epochs_an_old_one_comes_back() -> None:
    assert "epochs" in caught(Forgetful, 2, arbitrated=True)


def test_without_compare_and_set_two_emit(monkeypatch: pytest.MonkeyPatch) -> None:
    def grab(
        entry: Entry,
        by: str,
        expected: Record | None,
        wanted: Record,
        now_ns: int,
        terms: Terms,
        members: Members | None = None,
    ) -> tuple[Entry, Verdict]:
        del expected, by, members
        return Entry(wanted, now_ns), Verdict(Outcome.WON, wanted, terms.lease_ns)

    monkeypatch.setattr(register, "propose", grab)
    assert "I1" in caught(PairMachine, 2, arbitrated=True)
