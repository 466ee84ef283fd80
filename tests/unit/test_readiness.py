"""Why a group is not ready: what each part tells, since when, and what people and programs see of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fttcp.cli.questions import _group_lines
from fttcp.group.readiness import Hinders, Readiness, Reason
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, Body, Cause, Mode, Role
from fttcp.planes.base import EventKind, Intrusion
from fttcp.planes.fake import FakeEngine
from fttcp.wire import body as codec
from fttcp.wire import clock
from tests.groups import LEASE, make_group, run
from tests.health import until

A = Reason("routes", "the route of the service is gone", "put it back")
B = Reason("sysctls", "rp_filter is strict", "set it to 0", Hinders.SERVICE)


def whys(group: Any) -> list[str]:
    return [reason["why"] for reason in group.status()["not_ready"]]


def test_each_part_tells_its_own_and_what_comes_and_goes_is_told_once() -> None:
    told: list[tuple[str, str]] = []

    def note(kind: str, level: str = "info", **fields: Any) -> None:
        told.append((kind, fields["reason"]))

    readiness = Readiness(note)
    readiness.hold("host", [A])
    since = readiness.shown()[0]["since"]
    readiness.hold("host", [replace(A, what="in other words"), B])
    readiness.hold("role", [Reason("peer-lost", "", "")], told=False)
    readiness.hold("role", [], told=False)
    shown = readiness.shown()
    assert [reason["why"] for reason in shown] == ["routes", "sysctls"]
    assert (shown[0]["since"], shown[0]["what"]) == (since, "in other words")
    assert readiness.has("routes")
    readiness.hold("host", [B])
    assert not readiness.has("routes")
    assert told == [("not-ready", "routes")] * 2 + [("not-ready", "sysctls"), ("ready-again", "routes")]


def test_a_primary_without_a_backup_is_ready_as_long_as_it_serves() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        assert alpha.status()["ready"] and beta.status()["ready"] and whys(alpha) == whys(beta) == []
        for group in (alpha, beta):
            group.readiness.hold("host", [A])
        assert alpha.status()["ready"] and not beta.status()["ready"]
        alpha.readiness.hold("host", [B])
        assert not alpha.status()["ready"] and whys(alpha) == ["sysctls"]

    run(test)


@pytest.mark.parametrize(
    ("event", "why", "back"),
    [
        (ev.CarrierChanged(False), "carrier", ev.CarrierChanged(True)),
        (ev.ReferenceChanged(False), "reference", ev.ReferenceChanged(True)),
        (ev.ServerKnown(1, False), "follow", ev.ServerKnown(1, True)),
    ],
)
def test_a_backup_that_could_not_take_over_is_not_ready(event: ev.Event, why: str, back: ev.Event) -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        beta.feed(event)
        state = beta.status()
        assert state["synced"] and not state["ready"] and whys(beta) == [why]
        assert any(line.startswith("  NOT READY") for line in _group_lines(state)), state
        beta.feed(back)
        assert beta.status()["ready"] and whys(beta) == []
        beta.feed(ev.ServerFailed(Cause.SERVER_DIED))
        assert not beta.status()["ready"] and "server" in whys(beta)

    run(test)


def test_a_node_that_starts_says_what_it_waits_for() -> None:
    async def test() -> None:
        group, engine, _ = make_group("alpha", "beta", 100)
        group.start()
        try:
            assert set(whys(group)) == {"carrier", "server", "peer-lost"}
            group.feed(ev.CarrierChanged(True))
            assert set(whys(group)) == {"server", "peer-lost"}
            engine.post(EventKind.INTRUSION, Intrusion.MAC)
            await until(lambda: "wrong-key" in whys(group))
            assert "peer-lost" not in whys(group)
            (line,) = (one for one in _group_lines(group.status()) if "bear" in one)
            assert "beta is not heard" in line and "fttcp key show" in line
        finally:
            group.close()

    asyncio.run(test())


def test_a_peer_that_does_not_speak_of_the_group_is_told_from_one_that_is_silent() -> None:
    async def test() -> None:
        group, engine, _ = make_group("alpha", "beta", 100)
        group.start()
        try:
            assert "peer-lost" in whys(group)
            engine.node_beat_ns = clock.now_ns() + LEASE  # so that it is fresh however slow this test is
            assert "wrong-group" in whys(group) and "peer-lost" not in whys(group)
            engine.node_beat_ns = clock.now_ns() - LEASE
            assert "peer-lost" in whys(group) and "wrong-group" not in whys(group)
        finally:
            group.close()

    asyncio.run(test())


def test_an_intrusion_is_known_to_all_groups_and_told_by_one() -> None:
    async def test() -> None:
        for reason, told in ((0, 1), (1, 0)):
            group, engine, history = make_group("alpha", "beta", 100)
            group.start()
            try:
                engine.post(EventKind.INTRUSION, Intrusion.MAC, reason=reason)
                await until(lambda group=group: "wrong-key" in whys(group))
                assert [one["event"] for one in history.since(0)].count("intrusion") == told
            finally:
                group.close()

    asyncio.run(test())


def body(**changes: Any) -> Body:
    said = Body("web", "beta", Role.BACKUP, Mode.IDLE, 0, 0, True, True, 50, 0xFFFF, lease_ns=LEASE)
    return said._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"healthy": False}, "peer-server"),
        ({"links": 0}, "peer-link"),
        ({"ready": False}, "peer-not-ready"),
        ({"role": Role.STARTING}, "peer-starting"),
    ],
)
def test_an_owner_says_why_it_has_no_backup(changes: dict[str, Any], why: str) -> None:
    async def test() -> None:
        group, _, _ = make_group("alpha", "beta", 100)
        group.start()
        try:
            for event in (ev.CarrierChanged(True), ev.ServerRecovered()):
                group.feed(event)
            await until(lambda: group.status()["role"] == "primary", 10)
            assert whys(group) == ["peer-lost"] and group.status()["ready"]
            for heard in (ev.PeerHeard(7), ev.LinkFound(0), ev.PeerStated(body(**changes))):
                group.feed(heard)
            assert whys(group) == [why]
            lines = _group_lines(group.status())
            assert any(line.startswith("  UNPROTECTED") for line in lines)
        finally:
            group.close()

    asyncio.run(test())


def test_a_word_that_is_not_understood_is_the_reason_until_it_is() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        right = alpha_engine._body
        assert right is not None
        wrong = codec.decode(right)._replace(lease_ns=LEASE + NS_PER_MS)
        alpha_engine.publish(codec.encode(wrong), 0)
        await until(lambda: "misunderstood" in str(beta._history.since(0)))
        assert beta._hearing.error(0)
        alpha_engine.publish(right, 0)
        await until(lambda: not beta._hearing.error(0))

    run(test)
