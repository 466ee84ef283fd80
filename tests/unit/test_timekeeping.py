"""A node follows the primary's wall clock; nothing here touches the clock of this machine."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fttcp.cli import host_facts
from fttcp.config import load
from fttcp.config.schema import Timing
from fttcp.node.timekeeping import Timekeeper, leader
from fttcp.planes import wallclock
from fttcp.planes.clocks import Clocks, Offset
from fttcp.planes.following import ROUND_S
from tests.unit.test_config import GOOD, errors_of

MS = 1_000_000


class Hand:
    """Of a clock that nobody has."""

    def __init__(self) -> None:
        self.service, self.slewed_us = "", list[int]()
        self.error: OSError | None = None
        self.blocked: OSError | None = None

    def keeper(self) -> str:
        if self.blocked:
            raise self.blocked
        return self.service

    def slew(self, offset_us: int) -> None:
        if self.error:
            raise self.error
        if offset_us:
            self.slewed_us.append(offset_us)


class Node:
    """What it follows, and what it has told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.hand, self.wanted, self.leader = Hand(), True, "beta"
        self.away: Offset | None = Offset(7 * MS, MS)
        self.clocks = Clocks(1, {"beta": 2, "gamma": 3}, lambda _: None, self._note, lambda: 500)
        self.clocks.offset = lambda _: self.away  # type: ignore[method-assign]
        self._keeper = Timekeeper(
            self.clocks, lambda: self.leader, lambda: self.wanted, self._note, self.hand
        )

    def _note(self, kind: str, level: str = "info", /, **fields: Any) -> None:
        self.events.append((kind, fields))

    def seconds(self, count: int) -> None:
        for _ in range(count):
            asyncio.run(self._keeper.second())

    def round(self) -> None:
        self.seconds(ROUND_S)


@pytest.fixture
def node() -> Node:
    return Node()


def test_it_is_followed_and_told_once(node: Node) -> None:
    for away_ms, parts in ((700, [250] * 40), (7.1, [250] * 28 + [100]), (-3, [-250] * 12), (0, [])):
        node.away, node.hand.slewed_us = Offset(away_ms * MS, MS), []
        node.round()
        assert node.hand.slewed_us == parts
    assert node.events == [("clock-followed", {"peer": "beta"})]
    assert node.clocks.shown()["beta"]["followed"] and not node.clocks.shown()["gamma"]["followed"]
    node.leader = "gamma"
    node.round()
    assert node.events[1:] == [("clock-followed", {"peer": "gamma"})]


@pytest.mark.parametrize("off", [lambda n: setattr(n, "wanted", False), lambda n: setattr(n, "leader", None)])
def test_who_does_not_want_to_or_leads_follows_nobody(node: Node, off: Callable[[Node], None]) -> None:
    off(node)
    node.round()
    assert not node.hand.slewed_us and not node.events and not node.clocks.followed


@pytest.mark.parametrize(
    "off",
    [
        lambda n: setattr(n, "wanted", False),
        lambda n: setattr(n, "leader", None),
        lambda n: setattr(n, "leader", "gamma"),
    ],
)
def test_who_ceases_to_follow_stops_at_once(node: Node, off: Callable[[Node], None]) -> None:
    node.seconds(3)
    off(node)
    node.seconds(3)
    assert node.hand.slewed_us == [250] * 3


def test_two_that_follow_are_within_the_least_drift(node: Node) -> None:
    other = Node()
    node.away, other.away = Offset(9_000 * MS, MS), Offset(-9_000 * MS, MS)
    for one in (node, other):
        one.seconds(1)
    (forward,), (back,) = node.hand.slewed_us, other.hand.slewed_us
    assert forward - back + wallclock.QUARTZ_PPM <= wallclock.LEAST_DRIFT_PPM <= Timing().drift_ppm


def test_nothing_is_told_twice_while_the_other_clock_is_not_known(node: Node) -> None:
    node.hand.error = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    for away in (Offset(0, MS), None, Offset(7 * MS, MS), Offset(0, MS)):
        node.away = away
        node.round()
    assert [kind for kind, _ in node.events] == ["clock-not-followed"]
    node.hand.error = None
    for away in (Offset(0, MS), None, Offset(7 * MS, MS)):
        node.away = away
        node.round()
    assert [kind for kind, _ in node.events] == ["clock-not-followed", "clock-followed"]


def test_who_may_not_ask_the_kernel_is_told(node: Node) -> None:
    node.hand.blocked = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    node.round()
    ((kind, told),) = node.events
    assert kind == "clock-not-followed" and "adjtimex(2)" in told["why"]


def test_what_keeps_it_from_following_is_told_once(node: Node) -> None:
    node.hand.error = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    node.round()
    node.round()
    ((kind, told),) = node.events
    assert kind == "clock-not-followed" and "the daemon needs CAP_SYS_TIME" in told["why"]
    node.hand.error = None
    node.round()
    node.hand.service = "chronyd"
    node.round()
    assert node.events[1:] == [("clock-followed", {"peer": "beta"})], "a time service is no trouble"
    assert node.hand.slewed_us == [250] * 28 and not node.clocks.followed


def test_all_nodes_follow_the_primary_of_one_group() -> None:
    def owned(by: str | None) -> Any:
        return SimpleNamespace(owner=lambda: by)

    groups = {"web": owned("alpha"), "mail": owned("beta")}
    assert leader(groups, "alpha") == "beta" and leader(groups, "gamma") == "beta"
    assert leader(groups, "beta") is None
    assert leader({"mail": owned(None)}, "alpha") is None and leader({}, "alpha") is None


def test_the_kernel_is_asked_and_told_nothing() -> None:
    state = wallclock._adjtimex()
    assert 0 <= state <= 5 and wallclock.is_kept() is (state != 5)


def test_a_time_service_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wallclock, "is_kept", lambda: False)
    monkeypatch.setattr(wallclock, "_SERVICES", set())
    before = wallclock.keeper()
    monkeypatch.setattr(wallclock, "_SERVICES", {Path("/proc/self/comm").read_text().strip()})
    assert before == "" and wallclock.keeper() in wallclock._SERVICES


def test_a_clock_that_is_led_needs_room_in_the_drift(tmp_path: Path) -> None:
    text = GOOD.replace("[peer]", "follow_clock = true\n[peer]", 1)
    (tmp_path / "node.toml").write_text(text)
    assert load(tmp_path / "node.toml").node.follow_clock
    (error,) = errors_of(tmp_path, text + "[group.timing]\ndrift_ppm = 600\n")
    assert error.startswith("group[0].timing.drift_ppm: 600 is below 700")


@pytest.mark.parametrize(
    ("main", "more", "ppm"),
    [
        (None, None, None),
        ("pool x\n# maxslewrate 1\n", None, 83333.333),
        ("maxslewrate 500\n", None, 500.0),
        ("pool x\n", " MaxSlewRate 250.5 \n", 250.5),
    ],
)
def test_how_fast_chrony_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: str | None, more: str | None, ppm: float | None
) -> None:
    monkeypatch.setattr(host_facts, "_CHRONY_FILES", (tmp_path / "chrony.conf",))
    monkeypatch.setattr(host_facts, "_CHRONY_FOLDER", tmp_path / "conf.d")
    (tmp_path / "conf.d").mkdir()
    for file, text in (("chrony.conf", main), ("conf.d/a.conf", more)):
        if text is not None:
            (tmp_path / file).write_text(text)
    assert host_facts._slews_ppm() == ppm
