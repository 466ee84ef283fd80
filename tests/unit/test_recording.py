"""A history is kept on disk for each life of a group's server: begun with it, ended with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from fttcp.config.schema import GroupSection, Limits
from fttcp.group.recording import LIVES, Recorder, keeping
from fttcp.history.head import build_of
from fttcp.history.reader import Ending, Reader
from fttcp.planes.fake import FakeEngine
from fttcp.planes.recording import Fsync, HistoryFile
from tests.unit.test_group_runtime import engine_settings


def section(directory: Path, fsync: str = "never") -> GroupSection:
    return GroupSection(
        name="web",
        addresses=["192.0.2.100"],
        ports=["80/tcp"],
        command="sh -c true",
        history_dir=str(directory),
        history_fsync=fsync,
        limits=Limits(history_file_bytes=1 << 20),
    )


class Told:
    """A recorder, what it told people, and what it told the engine."""

    def __init__(self, directory: Path) -> None:
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.engine = FakeEngine(engine_settings("alpha"))
        self.recorder = Recorder(
            "alpha",
            section(directory),
            self.engine,
            lambda event, level="info", **more: self.note(event, more),
        )

    def note(self, event: str, more: dict[str, Any]) -> None:
        self.notes.append((event, more))

    async def begun(self, *pids: int) -> None:
        """The server has these processes, and what follows from it has happened."""
        self.recorder.server_known(pids)
        if self.recorder._task is not None:
            await self.recorder._task


def run(body: Coroutine[Any, Any, None]) -> None:
    """Run it, with what it left to threads."""
    asyncio.run(body)


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def test_how_it_is_kept(tmp_path: Path) -> None:
    assert keeping(section(tmp_path, "batch")).fsync is Fsync.BATCH
    assert keeping(section(tmp_path, "never")).fsync is Fsync.NEVER
    every = keeping(section(tmp_path, "50ms"))
    assert (every.fsync, every.every_ns, every.most) == (Fsync.EVERY, 50_000_000, 1 << 20)


def test_each_life_has_a_file(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "for it"
    told = Told(directory)

    async def lives() -> None:
        await told.begun(100)
        (first,) = files(directory)
        assert told.engine.orders[-1][0] == "record" and told.recorder.shown()["file"] == str(first)
        await told.begun(100)  # it is still the same one
        assert files(directory) == [first]
        await told.begun()
        await told.begun(101)
        assert len(files(directory)) == 2
        assert _ending(first) is Ending.DONE
        told.recorder.close()
        assert told.engine.orders[-1] == ("record", None)

    run(lives())
    assert [_ending(path) for path in files(directory)] == [Ending.DONE] * 2
    head = Reader(files(directory)[0]).head
    assert (head.group, head.node, head.command, head.build) == ("web", "alpha", "sh -c true", build_of("sh"))
    assert head.life != Reader(files(directory)[1]).head.life
    assert not told.notes


def test_old_lives_go(tmp_path: Path) -> None:
    told = Told(tmp_path)
    other = tmp_path / "web-notes.txt"
    other.write_text("not ours")

    async def lives() -> None:
        for pid in range(LIVES + 3):
            await told.begun(pid)
        told.recorder.close()

    run(lives())
    left = [path for path in files(tmp_path) if path != other]
    assert other.exists() and len(left) == LIVES


def test_without_room_it_is_told(tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("a file, where a directory should be")
    told = Told(place)

    async def life() -> None:
        await told.begun(100)
        assert told.engine.orders == [("record", None)]
        told.recorder.close()

    run(life())
    assert [event for event, _ in told.notes] == ["history-ended"]
    assert "taken" in told.recorder.shown()["trouble"]


def test_a_history_that_ends_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(tmp_path)

    async def life() -> None:
        await told.begun(100)
        monkeypatch.setattr(HistoryFile, "why", 27)
        told.recorder.look()
        told.recorder.look()
        assert "come to its bound" in told.recorder.shown()["trouble"]
        await told.begun(101)  # with the next life it begins anew
        monkeypatch.setattr(HistoryFile, "why", 0)
        told.recorder.close()

    run(life())
    assert [event for event, _ in told.notes] == ["history-ended"]


def _ending(path: Path) -> Ending | None:
    reader = Reader(path)
    assert not list(reader.events())
    return reader.ending
