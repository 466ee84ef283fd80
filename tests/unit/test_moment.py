"""A planned act waits, but not for ever, for a moment at which both servers have said the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fttcp.face.frontend import Frontend
from fttcp.group.group import GroupRuntime
from fttcp.group.moment import good_moment
from fttcp.ownership.model import Refusal, Role
from tests.tool import Tool, scene
from tests.unit.test_frontend import ask


def has_doubts(group: GroupRuntime, doubts: list[int]) -> None:
    """At each look so many flows are not known to be equal; the last number stays."""
    status = group.engine.status()

    def look() -> object:
        return replace(status, flows_unverified=doubts.pop(0) if len(doubts) > 1 else doubts[0])

    group.engine.status = look  # type: ignore[method-assign,assignment]


def test_a_switchover_waits_until_what_differed_is_equal_again(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        doubts, left = [3, 1, 1, 0], []
        asked = alpha.request_switchover

        def noted() -> Refusal | None:
            left.extend(doubts)
            return asked()

        alpha.request_switchover = noted  # type: ignore[method-assign]
        has_doubts(alpha, doubts)
        reply = await ask(tmp_path / "control.sock", b'{"op": "switchover", "group": "web"}')
        assert reply["started"] and left == [0]

    scene(tmp_path, play)


def test_what_differs_for_longer_holds_nothing_up(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        has_doubts(alpha, [1])
        done = json.loads((await tool("switchover", "web", "--force", "--json")).output)
        assert done["role"] == "backup"

    scene(tmp_path, play)


@pytest.mark.parametrize("act", ["backup", "maintenance"])
def test_who_hands_nothing_over_does_not_wait(
    tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fttcp.group.moment.MOST_NS", 1 << 62)

    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        if act == "maintenance":
            alpha.set_paused(True)
        group = alpha if act == "maintenance" else beta
        assert group.machine.role is (Role.PRIMARY if act == "maintenance" else Role.BACKUP)
        has_doubts(group, [1])
        await good_moment(group)

    scene(tmp_path, play)
