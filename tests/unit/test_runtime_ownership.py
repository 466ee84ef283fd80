"""Epochs on their way to the disk."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from fttcp.arbiter.base import ArbiterClient
from fttcp.core import events as ev
from fttcp.core.ownership import Outcome
from fttcp.runtime import ownership
from fttcp.runtime.epochs import EpochFile
from fttcp.runtime.ownership import Ownership
from tests.health import until


class Told:
    """What an Ownership says."""

    def __init__(self, keep: Any) -> None:
        self.events: asyncio.Queue[ev.Event] = asyncio.Queue()
        self.failed: list[str] = []
        self.troubled: list[str] = []
        arbiter = cast(ArbiterClient, None)  # not asked here
        self.ownership = Ownership(
            arbiter, "web", keep, self.events.put_nowait, self.failed.append, self.troubled.append
        )


def test_a_full_disk_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "DISK_RETRY_S", 0.001)
    full = [OSError(errno.ENOSPC, "No space left on device")] * 3

    def keep(epoch: int) -> None:
        if full:
            raise full.pop()

    async def body() -> None:
        told = Told(keep)
        told.ownership.store(32)
        assert await told.events.get() == ev.EpochStored(32)
        assert not told.failed and len(told.troubled) == 2 and "No space left" in told.troubled[0]
        assert told.troubled[1] == ""

    asyncio.run(body())


def test_a_disk_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "DISK_SLOW_S", 0.001)
    answers = threading.Event()

    async def body() -> None:
        told = Told(lambda epoch: answers.wait(10))
        told.ownership.store(32)
        await until(lambda: bool(told.troubled), 5)
        answers.set()
        assert await told.events.get() == ev.EpochStored(32)
        assert told.troubled == ["the disk does not answer", ""]

    asyncio.run(body())


def test_what_was_no_trouble_is_not_told(tmp_path: Path) -> None:
    async def body() -> None:
        told = Told(EpochFile(tmp_path, "web").save)
        told.ownership.store(32)
        assert await told.events.get() == ev.EpochStored(32)
        assert not told.troubled

    asyncio.run(body())


def test_a_slow_disk_does_not_leave_the_smaller_of_two_numbers(tmp_path: Path) -> None:
    file, slow = EpochFile(tmp_path, "web"), threading.Event()
    saved: list[int] = []

    def keep(epoch: int) -> None:
        if epoch == 32:
            slow.wait(0.2)  # the second one would overtake it, if it was let
        file.save(epoch)
        saved.append(epoch)

    async def body() -> None:
        told = Told(keep)
        told.ownership.store(32)
        told.ownership.store(132)
        assert [await told.events.get(), await told.events.get()] == [ev.EpochStored(32), ev.EpochStored(132)]

    asyncio.run(body())
    assert saved == [32, 132] and file.load() == 132


def test_a_refusal_is_over_when_nothing_is_asked_for() -> None:
    class Refusing:
        def describe(self) -> dict[str, str]:
            return {"last_refusal": "02:00:00:00:00:99 has it"}

    told: list[str] = []
    nothing: Any = None
    made = Ownership(
        cast(ArbiterClient, Refusing()), "web", nothing, nothing, nothing, nothing, refused=told.append
    )
    made._hear_refusal(Outcome.LOST)
    made._hear_refusal(Outcome.LOST)
    made.forget_refusal()
    made.forget_refusal()
    assert told == ["02:00:00:00:00:99 has it", ""]
