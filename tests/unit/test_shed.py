"""A group for which its host has no units: the role first, then the server; what a node has of a group."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fttcp.cluster.placement import Group
from fttcp.cluster.room import Claim, Part
from fttcp.config import load
from fttcp.group.serving import Serving
from fttcp.node.room import Room, _part
from fttcp.ownership import events as ev
from fttcp.ownership.model import Cause, Phase, Role
from tests.unit.test_config import GOOD

WHY = "no units: alpha has 1, others come first"


class Server:
    """One that rests and wakes, and says so."""

    def __init__(self, ours: bool = True) -> None:
        self.ours, self.resting, self.held, self.did = ours, False, "", list[str]()

    def hold(self, why: str) -> None:
        self.held = why

    def rest(self) -> None:
        self.resting = True
        self.did.append("rest")

    def wake(self) -> None:
        self.resting = False
        self.did.append("wake")

    def restart(self) -> None:
        self.did.append("restart")


class Served:
    """A group, as far as its server's matters go."""

    recorder = checkpoints = None
    fenced = False

    def __init__(self, role: Role, ours: bool = True, cold: bool = False, in_step: bool = False) -> None:
        partner = SimpleNamespace(said=SimpleNamespace(able=True)) if in_step else None
        self.machine: Any = SimpleNamespace(
            role=role, phase=Phase.PAIRED, partner=partner, in_step=in_step, paused=False,
            settings=SimpleNamespace(cold=cold, handover_wait_ns=0),
        )  # fmt: skip
        self.engine: Any = None
        self.server: Any = Server(ours)
        self.fed: list[ev.Event] = []
        self.noted: list[str] = []
        self.serving = Serving(cast(Any, self))
        self.serving.changed(True, Cause.SERVER_DIED, "serving")
        self.fed.clear()
        self.noted.clear()

    def feed(self, event: ev.Event) -> list[Any]:
        self.fed.append(event)
        return []

    def note(self, kind: str, level: str = "info", **fields: Any) -> None:
        self.noted.append(kind)


def in_loop(test: Any) -> None:
    async def run() -> None:
        test()

    asyncio.run(run())


def test_a_backup_in_step_has_the_role_before_the_server_ends() -> None:
    def test() -> None:
        group = Served(Role.PRIMARY, in_step=True)
        group.serving.have_units(WHY)
        assert group.fed == [ev.ServerFailed(Cause.NO_UNITS, serves=True)] and not group.server.did
        group.machine.role = Role.BACKUP
        group.serving.have_units(WHY)
        assert group.server.did == ["rest"] and group.server.held == WHY and group.noted == ["shed"]
        group.serving.changed(False, Cause.SERVER_DIED, "it ended")
        assert len(group.fed) == 1, "which is known"

    in_loop(test)


@pytest.mark.parametrize("role", [Role.PRIMARY, Role.BACKUP])
def test_without_one_the_server_ends_at_once_and_starts_when_there_are_units(role: Role) -> None:
    def test() -> None:
        group = Served(role)
        group.serving.have_units(WHY)
        assert group.server.did == ["rest"]
        group.serving.restart()  # the machine dropped the pairing for it
        assert group.server.did == ["rest", "rest"] and not any(
            isinstance(event, ev.ServerRecovered) for event in group.fed
        )
        group.serving.have_units("")
        assert group.server.did[2:] == ["wake"] and not group.server.held
        assert group.noted == ["shed", "units-again"]
        group.serving.changed(True, Cause.SERVER_DIED, "serving")
        assert group.fed[-1] == ev.ServerRecovered()

    in_loop(test)


def test_a_server_of_somebody_else_is_left_alone() -> None:
    def test() -> None:
        group = Served(Role.BACKUP, ours=False)
        group.serving.have_units(WHY)
        assert group.fed == [ev.ServerFailed(Cause.NO_UNITS, serves=True)] and not group.server.did
        group.serving.have_units("")
        assert group.fed[-1] == ev.ServerRecovered()

    in_loop(test)


def test_a_cold_server_rests_on_and_is_fit_again() -> None:
    def test() -> None:
        group = Served(Role.BACKUP, cold=True)
        group.server.resting = True
        group.serving.have_units(WHY)
        group.serving.rest()
        assert group.server.held == WHY
        group.serving.have_units("")
        assert group.server.resting and group.server.held == ""

    in_loop(test)


def said(healthy: bool = True, partner: str = "") -> Any:
    return SimpleNamespace(said=SimpleNamespace(healthy=healthy, partner=partner))


@pytest.mark.parametrize(
    ("role", "phase", "owner", "shed", "part"),
    [
        (Role.PRIMARY, Phase.SOLO, None, "", Part.SERVES),
        (Role.PRIMARY, Phase.SOLO, None, WHY, Part.UNSERVED),
        (Role.BACKUP, Phase.FOLLOWING, said(), "", Part.BACKS),
        (Role.STARTING, Phase.LISTENING, None, "", Part.UNSERVED),
        (Role.BACKUP, Phase.JOINING, said(healthy=False), "", Part.UNSERVED),
        (Role.BACKUP, Phase.JOINING, said(), "", Part.UNBACKED),
        (Role.BACKUP, Phase.JOINING, said(partner="alpha"), "", Part.UNBACKED),
        (Role.BACKUP, Phase.JOINING, said(partner="gamma"), "", Part.SPARE),
    ],
)
def test_what_a_node_has_of_a_group(role: Role, phase: Phase, owner: Any, shed: str, part: Part) -> None:
    machine: Any = SimpleNamespace(
        role=role,
        phase=phase,
        view=SimpleNamespace(owner=lambda: owner),
        settings=SimpleNamespace(name="alpha"),
    )
    assert _part(machine, shed) is part


def test_others_that_left_in_vain_are_back(tmp_path: Path) -> None:
    """A group that nobody can serve displaces another one for a while, and never again."""

    async def run() -> None:
        (tmp_path / "node.toml").write_text(GOOD)
        config = load(tmp_path / "node.toml")
        loop = asyncio.get_running_loop()
        section = config.group[0]
        runtime: Any = SimpleNamespace(
            machine=SimpleNamespace(
                settings=SimpleNamespace(startup_wait_ns=10**9, priority=0, name="a"),
                view=SimpleNamespace(peers=()),
            )
        )
        room = Room(lambda: config, {section.name: runtime})
        claim = Claim(Group(section.name, ("a",)), Part.UNSERVED, 1.0)
        room._note_admitted(claim, True, loop.time())
        room._note_admitted(claim, True, loop.time() + section.restart.start_within_s + 1)
        assert not room._vain
        room._note_admitted(claim, True, loop.time() + section.restart.start_within_s + 3)
        assert room._vain == {section.name}

    asyncio.run(run())
