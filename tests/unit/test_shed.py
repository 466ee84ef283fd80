"""A group for which its host has no units: the role first, then the server; what a node has of a group."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fttcp.cluster.placement import Group
from fttcp.cluster.room import Claim, Health, Part, fits
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

    def restart(self, failed: bool = False) -> None:
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
        assert group.fed[1:] == [ev.ServerFailed(Cause.NO_UNITS, serves=False)], "it vouches for nothing more"
        group.serving.changed(True, Cause.SERVER_DIED, "it runs")
        assert len(group.fed) == 2

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
        group.serving.restart()
        assert group.server.did == ["restart"]
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


def runtime_of(role: Role = Role.BACKUP, cold: bool = False, paused: bool = False, told: Any = None) -> Any:
    settings = SimpleNamespace(startup_wait_ns=10**9, priority=0, name="alpha", cold=cold, group="web")
    view = SimpleNamespace(peers=(), owner=lambda: None, stopping=False)
    machine = SimpleNamespace(
        role=role, phase=Phase.SOLO if role is Role.PRIMARY else Phase.LISTENING, settings=settings,
        view=view, paused=paused,
    )  # fmt: skip
    serving = SimpleNamespace(shed="", leaves_by_s=0.0, healthy=True, have_units=lambda why: told.append(why))
    return SimpleNamespace(machine=machine, serving=serving, fenced=False)


def looked(tmp_path: Path, runtime: Any, test: Any) -> None:
    (tmp_path / "node.toml").write_text(GOOD.replace("[peer]", "capacity = 0\n[peer]", 1))
    config = load(tmp_path / "node.toml")

    async def run() -> None:
        groups = {"web": runtime}
        test(Room(lambda: config, groups), groups)

    asyncio.run(run())


def test_others_that_left_in_vain_are_back(tmp_path: Path) -> None:
    """A group that nobody can serve displaces another one for a while, and not again."""

    def test(room: Room, groups: dict[str, Any]) -> None:
        room.look()
        claim = Claim(Group("web", ("alpha",)), Part.UNSERVED, 1.0)
        now_s = asyncio.get_running_loop().time()
        for later_s, vain in ((0, set()), (61, set()), (63, {"web"})):
            room._note_admitted(claim, True, now_s + later_s)
            assert room._vain == vain
        groups.clear()  # it is removed: nothing of it is kept
        room.look()
        assert not (room._vain or room._admitted_s or room._unserved_s)
        room.close()

    looked(tmp_path, runtime_of(told=[]), test)


@pytest.mark.parametrize(
    ("role", "cold", "paused", "sheds"),
    [
        (Role.PRIMARY, False, False, True),
        (Role.PRIMARY, True, False, False),
        (Role.PRIMARY, False, True, False),
        (Role.BACKUP, True, False, True),
        (Role.BACKUP, False, True, True),
    ],
)
def test_who_is_told_that_there_are_no_units(
    tmp_path: Path, role: Role, cold: bool, paused: bool, sheds: bool
) -> None:
    told: list[str] = []

    def test(room: Room, groups: dict[str, Any]) -> None:
        room.look()
        assert bool(told[-1]) is sheds
        room.close()
        room.news()
        room.look()
        assert len(told) == 1, "it looks no more"
        assert room._timer is None or room._timer.cancelled()

    looked(tmp_path, runtime_of(role, cold, paused, told), test)


def test_a_server_that_does_not_stay_up_serves_nobody() -> None:
    health = Health()
    health.note(False, 0, 10)
    for second in range(1, 60, 5):  # up for a moment each time
        health.note(True, second, 10)
        health.note(False, second + 4, 10)
    assert not health.fails(59, 60) and health.fails(60, 60)
    health.note(True, 61, 10)
    assert health.fails(70, 60)
    health.note(True, 71, 10)
    assert not health.fails(200, 60)


@pytest.mark.parametrize(
    ("cold", "paused", "fails"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_a_primary_whose_server_crashes_again_and_again_loses_its_units(
    tmp_path: Path, cold: bool, paused: bool, fails: bool
) -> None:
    """To whom there is; it stays with them if nobody wants them. It does not drive others out later."""

    def test(room: Room, groups: dict[str, Any]) -> None:
        room.look()
        runtime, web = groups["web"], Group("web", ("alpha",), importance=9)
        low = Claim(Group("low", ("alpha",)), Part.BACKS)
        now_s = asyncio.get_running_loop().time()
        assert room._claim(web, runtime, now_s).part is Part.SERVES
        runtime.serving.healthy = False
        room._claim(web, runtime, now_s)
        assert room._claim(web, runtime, now_s + 61).part is Part.SERVES, "it may just start"
        claim = room._claim(web, runtime, now_s + 63)
        assert claim == Claim(web, Part.UNSERVED if fails else Part.SERVES)
        assert fits([claim, low], 1) == ({"low"} if fails else {"web"})
        assert "web" in fits([claim], 1)
        runtime.serving.shed = WHY if fails else ""
        assert room._claim(web, runtime, now_s + 900).waited == 0
        runtime.serving.shed, runtime.serving.healthy = "", True
        room._claim(web, runtime, now_s + 1000)
        assert room._claim(web, runtime, now_s + 1011).part is Part.SERVES and not room._vain
        room.close()

    looked(tmp_path, runtime_of(Role.PRIMARY, cold, paused, told=[]), test)
