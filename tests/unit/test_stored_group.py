"""What a group tells of replies that are stored: to people, and to the other node."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fttcp.config import load
from fttcp.group.group import GroupRuntime
from fttcp.group.secrets import Secrets
from fttcp.group.terms import terms
from fttcp.ownership import events as ev
from fttcp.ownership.model import Cause, EngineMode, Role
from fttcp.ownership.terms import BINDING, Term, differing
from fttcp.planes.base import EventKind, StoredLag, StoredNews, StoredSettings
from fttcp.planes.fake import FakeEngine
from fttcp.wire.keyfile import KeyRing
from tests.groups import make_group, run
from tests.health import until
from tests.unit.test_address_config import STORED
from tests.unit.test_config import GOOD

SETTINGS = StoredSettings("/var/x/stored-web", 1, 1, 1, 0, 0, by_id=False, again=False, go_on=False)


def use(group: GroupRuntime, engine: FakeEngine, **status: Any) -> None:
    """The group stores replies; its engine is so. Read long ago."""
    engine.settings = replace(engine.settings, stored=SETTINGS)
    group.use(engine.settings, learning=False)
    group.stored.read.set()
    be(group, engine, **status)


def be(group: GroupRuntime, engine: FakeEngine, **status: Any) -> None:
    engine.status = lambda: replace(FakeEngine.status(engine), **status)  # type: ignore[method-assign]
    engine.post(EventKind.STORED, reason=StoredNews.GOOD)


def why(group: GroupRuntime) -> dict[str, dict[str, Any]]:
    return {one["why"]: one for one in group.status()["not_ready"] if one["why"].startswith("stored")}


def test_a_backup_that_has_not_all_is_told_by_both_nodes() -> None:
    async def test(one: GroupRuntime, engine: FakeEngine, other: GroupRuntime, its: FakeEngine) -> None:
        assert not why(one) and not why(other)
        use(other, its, mode=EngineMode.BACKUP)
        use(one, engine, stored_lag=StoredLag.ITS_DISK, stored_peer_trouble=errno.ENOSPC)
        await until(lambda: "stored-behind" in why(other))
        assert "No space left" in why(one)["stored-behind"]["what"] and one.status()["ready"]
        assert why(other)["stored-behind"]["what"].startswith(one.machine.settings.name)
        be(one, engine, stored_in_step=1)
        await until(lambda: not why(other) and not why(one))

    run(test)


def test_who_takes_over_tells_what_it_lacks() -> None:
    async def test(one: GroupRuntime, engine: FakeEngine, other: GroupRuntime, its: FakeEngine) -> None:
        notes: list[dict[str, Any]] = []
        other.note = lambda kind, level="info", **more: notes.append({"kind": kind} | more)  # type: ignore
        other.stored._note = other.note
        use(other, its, mode=EngineMode.BACKUP)
        use(one, engine, stored_lag=StoredLag.LATE)
        await until(lambda: "stored-behind" in why(other))
        its.lose_peer()
        await until(lambda: any(note.get("what") == "lacks" for note in notes))

    run(test)


@pytest.mark.parametrize(("go_on", "hinders"), [(False, "service"), (True, "backup")])
def test_a_disk_that_takes_nothing(go_on: bool, hinders: str) -> None:
    async def test(one: GroupRuntime, engine: FakeEngine, other: GroupRuntime, its: FakeEngine) -> None:
        for group, its_engine in ((one, engine), (other, its)):
            use(group, its_engine, stored_trouble=errno.ETIMEDOUT, stored_in_step=1)
            group.stored.use(replace(SETTINGS, go_on=go_on))
        assert why(one)["stored-disk"]["hinders"] == hinders
        assert "does not answer" in why(one)["stored-disk"]["what"] and SETTINGS.dir in str(why(one))
        assert why(other)["stored-disk"]["hinders"] == "backup" and not other.status()["ready"]

    run(test)


@pytest.mark.parametrize(
    ("status", "go_on", "leaves"),
    [
        ({"stored_in_step": 1}, False, True),
        ({"stored_in_step": 1}, True, False),
        ({"stored_in_step": 1, "stored_peer_trouble": errno.ENOSPC}, False, False),
        ({"stored_lag": StoredLag.ITS_DISK}, False, False),
    ],
)
def test_a_primary_that_cannot_store_leaves_if_its_backup_has_all(
    status: dict[str, Any], go_on: bool, leaves: bool
) -> None:
    async def test(one: GroupRuntime, engine: FakeEngine, other: GroupRuntime, its: FakeEngine) -> None:
        use(one, engine, stored_trouble=errno.EIO, **status)
        one.stored.use(replace(SETTINGS, go_on=go_on))
        engine.post(EventKind.STORED, errno.EIO, reason=StoredNews.TROUBLE)
        if leaves:
            await until(lambda: other.machine.role is Role.PRIMARY)
        else:
            await until(lambda: not engine._waiting)
            assert not one.machine.switchover_wanted and one.machine.role is Role.PRIMARY

    run(test)


def test_a_primary_that_cannot_store_asks_again() -> None:
    """The backup may not have been able when this began."""

    async def test(one: GroupRuntime, engine: FakeEngine, other: GroupRuntime, its: FakeEngine) -> None:
        other.feed(ev.ServerFailed(Cause.SERVER_DIED, serves=False))
        await until(lambda: not said_able(one))
        use(one, engine, stored_trouble=errno.EIO, stored_in_step=1)
        engine.post(EventKind.STORED, errno.EIO, reason=StoredNews.TROUBLE)
        await until(lambda: not engine._waiting)
        assert one.machine.role is Role.PRIMARY
        other.feed(ev.ServerRecovered())
        await until(lambda: said_able(one))
        one.learn()
        await until(lambda: other.machine.role is Role.PRIMARY)

    run(test)


def said_able(group: GroupRuntime) -> bool:
    """Whether its backup says that it can take over."""
    partner = group.machine.partner
    return partner is not None and partner.said is not None and partner.said.able and group.machine.in_step


def test_a_group_waits_until_all_is_read() -> None:
    async def test() -> None:
        group, engine, _ = make_group("alpha", "beta", 100)
        group.use(replace(engine.settings, stored=SETTINGS), learning=False)
        assert not group.stored.read.is_set() and "being read" in why(group)["stored-unread"]["what"]
        engine.post(EventKind.STORED, 0x1F, link=errno.EPROTO, reason=StoredNews.UNREAD)
        await until(lambda: "stored-000000000000001f: it is of another" in str(why(group)))
        assert why(group)["stored-unread"]["hinders"] == "service"
        engine.post(EventKind.STORED, 7, reason=StoredNews.READ)
        await asyncio.wait_for(group.stored.read.wait(), 10)
        assert not why(group) and ("start",) not in engine.orders
        group.close()

    asyncio.run(test())


def digests(tmp_path: Path, text: str) -> tuple[int, ...]:
    (tmp_path / "node.toml").write_text(text)
    config = load(tmp_path / "node.toml")
    return terms(config, config.group[0], Secrets(KeyRing((bytes(32),))))


def test_a_release_that_stores_none_differs_from_who_does(tmp_path: Path) -> None:
    """It tells nothing of that."""
    some, none = digests(tmp_path, STORED), digests(tmp_path, GOOD)
    assert differing(some, some[: Term.STORED_REPLIES]) == {Term.STORED_REPLIES} <= BINDING
    assert not differing(none, none[: Term.STORED_REPLIES])
    assert Term.STORED_REPLIES in differing(some, none)
