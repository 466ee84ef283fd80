"""Checkpoints of a warm group: when they are made and told, and what a server may begin with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fttcp.group.checkpoints import Checkpoints
from fttcp.group.readiness import Readiness
from fttcp.ownership.model import Phase, Role
from fttcp.server.hooks import Hooks
from fttcp.server.settings import HooksSection
from tests.health import until


class Group:
    """As much of one as its checkpoints look at."""

    def __init__(self) -> None:
        self.machine: Any = SimpleNamespace(phase=Phase.LISTENING, role=Role.STARTING, epoch=32)
        self.told: list[bool] = []
        self.engine: Any = SimpleNamespace(checkpoint=self.told.append)
        self.readiness = Readiness(self.note)
        self.notes: list[str] = []
        self.published = 0

    def note(self, kind: str, level: str = "info", **fields: Any) -> None:
        self.notes.append(kind)

    def publish(self) -> None:
        self.published += 1

    def enters(self, checkpoints: Checkpoints, phase: Phase) -> None:
        self.machine.phase = phase
        self.machine.role = Role.BACKUP if phase is Phase.FOLLOWING else Role.PRIMARY
        checkpoints.look()


def hearing(checkpoints: Checkpoints, name: str, role: Role = Role.PRIMARY) -> None:
    body: Any = SimpleNamespace(role=role)
    checkpoints.hear(body, name)


def run(
    body: Callable[[Group, Checkpoints], Coroutine[Any, Any, None]],
    checkpoint: str = "true",
    restore: str = "true",
    every_s: float = 3600,
) -> Group:
    async def inner() -> None:
        checkpoints = Checkpoints(group, Hooks(section, {}, group.note), every_s, 0.01)
        try:
            await body(group, checkpoints)
        finally:
            checkpoints.close()

    group = Group()
    section = HooksSection(checkpoint=checkpoint, restore=restore, timeout_ms=20_000)
    asyncio.run(inner())
    return group


def test_one_is_made_when_service_begins_and_with_each_backup() -> None:
    async def body(group: Group, checkpoints: Checkpoints) -> None:
        checkpoints.look()
        assert checkpoints.told == "" and not group.told
        group.enters(checkpoints, Phase.SOLO)
        assert checkpoints.told == "0", "it serves, and none is complete"
        await until(lambda: checkpoints.told == "32.1")
        group.enters(checkpoints, Phase.PAIRING)
        group.enters(checkpoints, Phase.PAIRED)
        assert checkpoints.told == "32.1"
        await until(lambda: checkpoints.told == "32.2")
        group.enters(checkpoints, Phase.HANDOVER)
        assert checkpoints.told == ""

    group = run(body)
    assert group.told == [False, True] * 2, "connections that begin before it is told are older, too"
    assert group.notes.count("checkpoint") == 2 and group.published == 4


def test_one_that_fails_is_told_and_made_again(tmp_path: Path) -> None:
    async def body(group: Group, checkpoints: Checkpoints) -> None:
        group.enters(checkpoints, Phase.PAIRED)
        await until(lambda: "checkpoint-failed" in group.notes)
        assert checkpoints.told == "0" and not group.told
        assert "nothing is protected" in group.readiness.shown()[0]["what"]
        mark.touch()
        await until(lambda: checkpoints.told not in ("", "0"))
        assert not group.readiness.shown()

    mark = tmp_path / "mark"
    run(body, checkpoint=f"test -e {mark}", every_s=0.01)


def test_what_this_node_has_is_begun_with_unless_another_one_has_served() -> None:
    async def body(group: Group, checkpoints: Checkpoints) -> None:
        assert await checkpoints.restore() == ""
        hearing(checkpoints, "")  # it is about to serve, and has not
        assert await checkpoints.restore() == ""
        hearing(checkpoints, "0")
        assert "none of its checkpoints is known here" in await checkpoints.restore()
        group.enters(checkpoints, Phase.SOLO)
        assert await checkpoints.restore() == ""

    run(body, restore="false")


def test_the_last_one_that_was_told_is_restored(tmp_path: Path) -> None:
    async def body(group: Group, checkpoints: Checkpoints) -> None:
        group.enters(checkpoints, Phase.FOLLOWING)
        for name in ("32.1", "32.2", "32.2"):
            hearing(checkpoints, name)
        assert group.told == [True, True], "what was followed up to then is let go, once"
        assert await checkpoints.restore() == ""
        assert "restored" in group.notes

    run(body, restore="sh -c 'test $FTTCP_CHECKPOINT = 32.2 && echo $FTTCP_CHECKPOINT'")


def test_one_that_is_not_restored_or_is_another_one_is_refused() -> None:
    async def body(group: Group, checkpoints: Checkpoints) -> None:
        hearing(checkpoints, "32.7")
        why.append(await checkpoints.restore())

    why: list[str] = []
    run(body, restore="sh -c 'echo no such dump; exit 3'")
    run(body, restore="echo 32.6")
    run(body, restore="true")
    assert "ended with status 3: no such dump" in why[0]
    assert "did not say last that it has restored '32.7'" in why[1]
    assert "did not say last" in why[2]
