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
from tests.groups import engine_settings


def section(directory: Path, fsync: str = "never", unit: str | None = None) -> GroupSection:
    return GroupSection(
        name="web",
        addresses=["192.0.2.100"],
        ports=["80/tcp"],
        command=None if unit else "sh -c true",
        unit=unit,
        history_dir=str(directory),
        history_fsync=fsync,
        limits=Limits(history_file_bytes=1 << 20),
    )


class Told:
    """A recorder, what it told people, and what it told the engine."""

    def __init__(self, directory: Path, unit: str | None = None) -> None:
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.engine = FakeEngine(engine_settings("alpha"))
        self.recorder = Recorder(
            "alpha",
            section(directory, unit=unit),
            self.engine,
            self.note,
        )

    def note(self, event: str, level: str = "info", **more: Any) -> None:
        self.notes.append((event, more))


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
        await told.recorder.before_start()
        (first,) = files(directory)
        assert told.engine.orders[-1][0] == "record" and told.recorder.shown()["file"] == str(first)
        told.recorder.server_known([100])  # it began before that
        await told.recorder.before_start()
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


def test_a_server_that_somebody_else_starts(tmp_path: Path) -> None:
    told = Told(tmp_path, unit="nginx.service")

    async def lives() -> None:
        for pids, count in (([], 0), ([100, 101], 1), ([101], 1), ([], 1), ([102], 2)):
            told.recorder.server_known(pids)
            async with asyncio.timeout(20):
                while len(told.engine.orders) < count:
                    await asyncio.sleep(0.01)
            assert len(told.engine.orders) == count
        told.recorder.close()

    run(lives())
    assert [Reader(path).head.command for path in files(tmp_path)] == ["nginx.service"] * 2


def test_old_lives_go(tmp_path: Path) -> None:
    told = Told(tmp_path)
    other = tmp_path / "web-notes.txt"
    other.write_text("not ours")

    async def lives() -> None:
        for _ in range(LIVES + 3):
            await told.recorder.before_start()
        told.recorder.close()

    run(lives())
    left = [path for path in files(tmp_path) if path != other]
    assert other.exists() and len(left) == LIVES


def test_another_groups_files_stay_and_so_does_the_new_one(tmp_path: Path) -> None:
    """That group's name begins as ours does; and the clock was set back since the last life."""
    theirs = [tmp_path / f"web-api-20261129T10000{n}Z-0000000{n}.history" for n in range(5)]
    later = [tmp_path / f"web-20991129T10000{n}Z-0000000{n}.history" for n in range(5)]
    for path in (*theirs, *later):
        path.write_text("x")
    told = Told(tmp_path)

    async def life() -> None:
        await told.recorder.before_start()
        told.recorder.close()

    run(life())
    left = set(files(tmp_path))
    assert left >= {*theirs, *later[-LIVES + 1 :]}
    (new,) = left - {*theirs, *later}
    assert len(left) == len(theirs) + LIVES and Reader(new).head.group == "web"


def test_without_room_it_is_told(tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("a file, where a directory should be")
    told = Told(place)

    async def life() -> None:
        await told.recorder.before_start()
        assert told.engine.orders == [("record", None)]
        told.recorder.close()

    run(life())
    assert [event for event, _ in told.notes] == ["history-ended"]
    assert "taken" in told.recorder.shown()["trouble"]


def test_a_history_that_ends_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(tmp_path)

    async def life() -> None:
        await told.recorder.before_start()
        monkeypatch.setattr(HistoryFile, "why", 27)
        told.recorder.look()
        told.recorder.look()
        assert "come to its bound" in told.recorder.shown()["trouble"]
        await told.recorder.before_start()  # with the next life it begins anew
        monkeypatch.setattr(HistoryFile, "why", 0)
        told.recorder.close()

    run(life())
    assert [event for event, _ in told.notes] == ["history-ended"]


def _ending(path: Path) -> Ending | None:
    reader = Reader(path)
    assert not list(reader.events())
    return reader.ending
