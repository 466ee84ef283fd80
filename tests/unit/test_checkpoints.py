"""Checkpoints of a warm group: the hooks that make them, and what a server may begin with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fttcp.group.checkpoints import Checkpoints
from fttcp.group.readiness import Readiness
from fttcp.ownership import checkpoints as pure
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import Phase
from fttcp.server.hooks import Hooks
from fttcp.server.settings import HooksSection
from fttcp.wire import clock
from tests.health import until


class Group:
    """As much of one as its checkpoints look at."""

    def __init__(self, every_s: float) -> None:
        self.checkpoints = pure.Checkpoints(int(every_s * 1e9))
        self.machine: Any = SimpleNamespace(phase=Phase.LISTENING, checkpoints=self.checkpoints)
        self.told: list[bool] = []
        self.engine: Any = SimpleNamespace(checkpoint=self.told.append)
        self.readiness = Readiness(self.note)
        self.notes: list[str] = []
        self.hooks: Checkpoints

    def note(self, kind: str, level: str = "info", **fields: Any) -> None:
        self.notes.append(kind)

    def feed(self, event: ev.Event) -> None:
        assert isinstance(event, ev.CheckpointEnded)
        self.checkpoints.ended(event.checkpoint, event.made, clock.now_ns())
        self.hooks.look()

    def enters(self, phase: Phase) -> None:
        self.machine.phase = phase
        for command in self.checkpoints.look(phase, 32, clock.now_ns()):
            if isinstance(command, do.MakeCheckpoint):
                self.hooks.make(command.checkpoint)
            else:
                assert isinstance(command, do.EndCheckpoint)
                self.hooks.close()


def run(
    body: Callable[[Group], Coroutine[Any, Any, None]],
    checkpoint: str = "true",
    restore: str = "true",
    every_s: float = 3600,
) -> Group:
    async def inner() -> None:
        group.hooks = Checkpoints(group, Hooks(section, {}, group.note), 0.01)
        try:
            await body(group)
        finally:
            group.hooks.close()

    group = Group(every_s)
    section = HooksSection(checkpoint=checkpoint, restore=restore, timeout_ms=20_000)
    asyncio.run(inner())
    return group


def test_one_is_made_when_service_begins_and_with_each_backup() -> None:
    async def body(group: Group) -> None:
        known = group.checkpoints
        group.enters(Phase.SOLO)
        assert known.told == "0", "it serves, and none is complete"
        await until(lambda: known.told == "32.1")
        group.enters(Phase.PAIRING)
        group.enters(Phase.PAIRED)
        assert known.told == "32.1"
        await until(lambda: known.told == "32.2")
        assert group.hooks.shown()["told"] == "32.2"
        group.enters(Phase.HANDOVER)
        assert known.told == ""

    group = run(body)
    assert group.told == [False, True] * 2, "connections that begin before it is told are older, too"
    assert group.notes.count("checkpoint") == 2


def test_one_that_is_not_wanted_any_more_is_ended() -> None:
    async def body(group: Group) -> None:
        group.enters(Phase.SOLO)
        task = group.hooks._task
        assert task is not None
        group.enters(Phase.HANDOVER)
        await asyncio.wait([task])
        assert task.cancelled() and not group.checkpoints.told

    assert not run(body, checkpoint="sleep 60").told


def test_one_that_fails_is_told_and_made_again(tmp_path: Path) -> None:
    async def body(group: Group) -> None:
        group.enters(Phase.PAIRED)
        await until(lambda: "checkpoint-failed" in group.notes)
        assert group.checkpoints.told == "0" and not group.told
        assert "nothing is protected" in group.readiness.shown()[0]["what"]
        mark.touch()
        await until(lambda: clock.now_ns() >= group.checkpoints.deadline_ns())
        group.enters(Phase.PAIRED)
        await until(lambda: group.checkpoints.told not in ("", "0"))
        assert not group.readiness.shown()

    mark = tmp_path / "mark"
    run(body, checkpoint=f"test -e {mark}", every_s=0.01)


def restored(group: Group, wanted: do.Promote) -> Coroutine[Any, Any, str]:
    return group.hooks.restore(wanted)


def test_without_one_it_begins_as_it_is_or_not_at_all() -> None:
    async def body(group: Group) -> None:
        assert await restored(group, do.Promote()) == ""
        why = await restored(group, do.Promote(lost=True))
        assert "none of its checkpoints is known here" in why

    run(body, restore="false")


def test_the_one_that_counts_is_restored() -> None:
    async def body(group: Group) -> None:
        assert await restored(group, do.Promote("32.2")) == ""
        assert "restored" in group.notes

    run(body, restore="sh -c 'test $FTTCP_CHECKPOINT = 32.2 && echo $FTTCP_CHECKPOINT'")


def test_one_that_is_not_restored_or_is_another_one_is_refused() -> None:
    async def body(group: Group) -> None:
        why.append(await restored(group, do.Promote("32.7")))

    why: list[str] = []
    run(body, restore="sh -c 'echo no such dump; exit 3'")
    run(body, restore="echo 32.6")
    run(body, restore="true")
    assert "ended with status 3: no such dump" in why[0]
    assert "did not say last that it has restored '32.7'" in why[1]
    assert "did not say last" in why[2]
