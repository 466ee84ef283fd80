"""A planned act waits, but not for ever, for a moment at which nothing is reset that could be kept."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fttcp.face.frontend import Frontend
from fttcp.group.group import GroupRuntime
from fttcp.group.moment import flows_seen
from fttcp.ownership import events as ev
from fttcp.ownership.model import EngineMode, Phase
from fttcp.planes.base import HistoryStage
from fttcp.planes.fake import FakeEngine
from tests.groups import engine_settings
from tests.health import until
from tests.tool import Tool, scene
from tests.unit.test_frontend import ask


class Flows:
    """What a group's engine tells of its connections."""

    def __init__(self, group: GroupRuntime, unverified: int = 0, catching: int = 0) -> None:
        self.unverified, self.catching, self.steps, self.looks = unverified, catching, 0, 0
        status, counters = group.engine.status, group.engine.counters

        def told() -> object:
            self.looks += 1
            return replace(status(), flows_unverified=self.unverified, flows_catching=self.catching)

        group.engine.status = told  # type: ignore[method-assign,assignment]
        group.engine.counters = lambda: counters() | {"renewal_steps": self.steps}  # type: ignore[method-assign]


async def switchover(tmp_path: Path, **words: bool) -> None:
    order = json.dumps({"op": "switchover", "group": "web"} | words).encode()
    assert (await ask(tmp_path / "control.sock", order))["started"]


def test_a_switchover_waits_until_what_differed_is_equal_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fttcp.ownership.moment.EQUAL_NS", 3_000_000_000)

    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        flows = Flows(alpha, unverified=3)
        await switchover(tmp_path)
        assert alpha.machine.switchover_wanted and alpha.machine.phase is Phase.PAIRED
        flows.unverified = 0
        await until(lambda: beta.machine.phase is Phase.SOLO)

    scene(tmp_path, play)


@pytest.mark.parametrize("asked_of", ["primary", "backup"])
def test_what_differs_for_longer_holds_nothing_up(tmp_path: Path, asked_of: str) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        flows = Flows(alpha, unverified=1)
        if asked_of == "primary":
            done = json.loads((await tool("switchover", "web", "--force", "--json")).output)
            assert done["role"] == "backup"
        else:
            assert beta.request_switchover() is None
            await until(lambda: beta.machine.phase is Phase.SOLO)
        assert flows.looks

    scene(tmp_path, play)


def test_a_renewal_is_waited_for_as_long_as_it_gets_on(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        flows = Flows(alpha, catching=2)
        waiting = asyncio.create_task(tool("switchover", "web", "--json"))
        await until(lambda: alpha.machine.switchover_wanted)
        assert alpha.status()["switchover_wanted"]
        looks = flows.looks
        flows.steps += 1
        await until(lambda: flows.looks > looks + 2)
        assert alpha.machine.phase is Phase.PAIRED
        flows.catching = 0
        told = json.loads((await waiting).stdout)
        assert (told["done"], told["role"]) == (True, "backup")

    scene(tmp_path, play)


def test_one_that_stands_still_is_told_to_who_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fttcp.ownership.moment.STANDSTILL_NS", 50_000_000)

    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        Flows(alpha, catching=2)
        failed = await tool("switchover", "web", "--json")
        assert failed.exit_code == 1 and json.loads(failed.stdout)["reason"] == "given-up"
        (refused,) = [one for one in alpha._history.since(0) if one["event"] == "refused"]
        assert "has not caught up" in refused["why"] and "--force" in refused["why"]
        assert alpha.machine.phase is Phase.PAIRED and not alpha.machine.switchover_wanted
        told = json.loads((await tool("switchover", "web", "--force", "--json")).stdout)
        assert (told["done"], told["role"]) == (True, "backup")

    scene(tmp_path, play)


def test_now_waits_for_nothing(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        flows = Flows(alpha, catching=2, unverified=2)
        await switchover(tmp_path, now=True)
        await until(lambda: beta.machine.phase is Phase.SOLO)
        assert not flows.looks

    scene(tmp_path, play)


def test_a_history_that_is_played_is_a_renewal() -> None:
    engine = FakeEngine(engine_settings("alpha"))
    status = engine.status()
    for stage, catching in ((HistoryStage.IDLE, 0), (HistoryStage.SENDS, 1), (HistoryStage.MARKS, 1),
                            (HistoryStage.MARKED, 0), (HistoryStage.FAILED, 0)):  # fmt: skip
        engine.status = lambda stage=stage: replace(status, history_stage=stage, history_played=7)  # type: ignore
        assert flows_seen(engine) == ev.FlowsSeen(catching, progress=7)
    engine.close()


def test_stored_replies_that_the_backup_lacks_are_waited_for() -> None:
    engine = FakeEngine(engine_settings("alpha"))
    some = replace(engine.status(), stored_requests=3)
    for status, catching in (
        (replace(some, mode=EngineMode.PAIRED), 1),
        (replace(some, mode=EngineMode.PAIRED, stored_in_step=1), 0),
        (replace(some, mode=EngineMode.SOLO), 0),
        (replace(some, mode=EngineMode.PAIRED, stored_requests=0), 0),
    ):
        engine.status = lambda status=status: status  # type: ignore
        assert flows_seen(engine).catching == catching
    engine.close()
