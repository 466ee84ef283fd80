"""Epochs on their way to the disk."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from fttcp.group import kept
from fttcp.group.epochs import EpochFile
from fttcp.group.ownership import Ownership
from fttcp.group.readiness import Readiness
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.ownership import Answer, Outcome, Record
from fttcp.ownership.ownership import Ownership as Kind
from tests.health import until


class Told:
    """What an Ownership says."""

    def __init__(self, keep: Any, arbiter: Any = None, group: str = "web") -> None:
        self.events: asyncio.Queue[ev.Event] = asyncio.Queue()
        self.failed: list[str] = []
        self.notes: list[tuple[str, str]] = []
        """What people were told, and why."""
        self.readiness = Readiness(self.note)
        self.ownership = Ownership(
            arbiter, group, keep, self.events.put_nowait, self.failed.append, self.readiness, self.note
        )

    def note(self, kind: str, level: str = "info", **fields: Any) -> None:
        self.notes.append((kind, fields.get("why", "")))


def test_a_full_disk_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "DISK_RETRY_S", 0.001)
    full = [OSError(errno.ENOSPC, "No space left on device")] * 3

    def keep(epoch: int) -> None:
        if full:
            raise full.pop()

    async def body() -> None:
        told = Told(keep)
        told.ownership.store(32)
        assert await told.events.get() == ev.EpochStored(32)
        (kind, why), kept_at_last = told.notes
        assert not told.failed and kind == "epochs-not-kept" and "No space left" in why
        assert kept_at_last == ("epochs-kept", "") and not told.readiness.has("epochs-not-kept")

    asyncio.run(body())


def test_a_disk_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "DISK_SLOW_S", 0.001)
    answers = threading.Event()

    async def body() -> None:
        told = Told(lambda epoch: answers.wait(10))
        told.ownership.store(32)
        await until(lambda: told.readiness.has("epochs-not-kept"), 5)
        answers.set()
        assert await told.events.get() == ev.EpochStored(32)
        assert told.notes == [("epochs-not-kept", "the disk does not answer"), ("epochs-kept", "")]

    asyncio.run(body())


def test_what_was_no_trouble_is_not_told(tmp_path: Path) -> None:
    async def body() -> None:
        told = Told(EpochFile(tmp_path, "web").save)
        told.ownership.store(32)
        assert await told.events.get() == ev.EpochStored(32)
        assert not told.notes

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


def test_a_refusal_is_the_groups_and_over_when_nothing_is_asked_for() -> None:
    why = "02:00:00:00:00:99 has it"

    class Refusing:
        """Another node owns `mail`; a station answers for an address of `web`."""

        def describe(self) -> dict[str, str]:
            return {"kind": "none"}

        async def propose(self, group: str, expected: Record | None, wanted: Record) -> Answer:
            return Answer(Outcome.LOST, expected, why=why if group == "web" else "")

    async def body() -> None:
        web, mail = (Told(None, Refusing(), group) for group in ("web", "mail"))
        for group in (web, web, mail):
            group.ownership.ask(do.Propose(1, None, Record(1, "alpha", Kind.SOLO)))
            await group.events.get()
        assert [group.ownership.describe()["last_refusal"] for group in (web, mail)] == [why, ""]
        assert web.readiness.has("takeover-refused")
        web.ownership.forget_refusal()
        web.ownership.forget_refusal()
        assert web.notes == [("takeover-refused", why)] and not web.readiness.has("takeover-refused")
        assert not mail.notes

    asyncio.run(body())


@pytest.mark.parametrize("text", ["", "x", "-1", "9" * 5000, "9" * 20])
def test_a_file_without_an_epoch_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "web.epoch").write_text(text)
    with pytest.raises(OSError, match="no number in it"):
        EpochFile(tmp_path, "web").load()
