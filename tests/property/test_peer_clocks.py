"""Wall clocks of nodes are compared by heartbeats: whatever the clocks and the ways, the error is bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fttcp.planes import clocks
from fttcp.planes.clocks import Clocks, offset
from fttcp.wire import clock
from fttcp.wire.body import ClockWord

HOUR_NS = 3_600_000_000_000
MS = 1_000_000
ALPHA, BETA = 11, 22

spans = st.integers(-1000 * HOUR_NS, 1000 * HOUR_NS)
ways = st.integers(0, 50 * MS)
untold = st.integers(-clocks._TOLD_AGAIN_NS, clocks._TOLD_AGAIN_NS)


@given(spans, spans, spans, ways, ways, untold, untold)
def test_the_true_difference_is_within_the_error(
    boot: int, wall_here: int, wall_there: int, to_here: int, to_there: int, late: int, later: int
) -> None:
    """``boot``: their clocks since the start of the host are apart by so much. What a peer tells is a little
    older than what is seen here."""
    here, there = ClockWord(wall_here, {}), ClockWord(wall_there + late, {})
    found = offset(here, there, to_here - boot, to_there + boot + later)
    assert found is not None
    truth = boot + wall_there - wall_here
    assert abs(found.ns - truth) <= found.error_ns + 1
    assert found.error_ns <= (to_here + to_there) / 2 + 3 * clocks._TOLD_AGAIN_NS


class Node:
    """Alpha, with what it measures; beta has told something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.delay: int | None = MS
        self.most_ms = 500
        self.wall = 0
        monkeypatch.setattr(clock, "wall_ahead_ns", lambda: self.wall)
        self.clocks = Clocks(ALPHA, {"beta": BETA}, lambda _: self.delay, self.note, lambda: self.most_ms)

    def note(self, kind: str, level: str = "info", /, **fields: Any) -> None:
        self.events.append((kind, level, fields))

    def hear(self, wall_ms: int) -> None:
        self.clocks.heard("beta", ClockWord(wall_ms * MS, {ALPHA: MS}))


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


def test_a_difference_is_told_once_and_its_end(node: Node) -> None:
    for wall_ms in (0, 400, 900, 800, 450, 251, 240, 0):
        node.hear(wall_ms)
    assert [(kind, level) for kind, level, _ in node.events] == [
        ("clocks-apart", "warning"),
        ("clocks-together", "info"),
    ]
    assert node.events[0][2] == {"peer": "beta", "ahead_ms": 900.0, "error_ms": 1.4}
    assert node.events[1][2]["ahead_ms"] == 240.0


def test_our_own_clock_may_be_the_one_that_was_set(node: Node) -> None:
    node.hear(0)
    assert node.clocks.look() and not node.clocks.look()
    node.wall = 700 * MS
    assert node.clocks.look()
    assert node.clocks.word == ClockWord(700 * MS, {BETA: MS})
    assert [fields["ahead_ms"] for _, _, fields in node.events] == [-700.0]
    assert node.clocks.shown() == {
        "beta": {"ahead_ms": -700.0, "error_ms": 1.4, "apart": True, "followed": False}
    }


def test_what_has_hardly_moved_is_not_told_again(node: Node) -> None:
    assert node.clocks.look()
    node.wall, node.delay = 100_000, MS + 100_000
    assert not node.clocks.look()
    node.delay = None
    assert node.clocks.look() and node.clocks.word == ClockWord(100_000, {})


def test_nothing_is_known_of_a_peer_that_is_not_heard(node: Node) -> None:
    assert node.clocks.shown() == {}
    node.hear(900)
    node.delay = None
    assert node.clocks.shown() == {} and node.clocks.offset("beta") is None
    node.delay = MS
    node.clocks.heard("beta", ClockWord(0, {}))  # it hears another one
    assert node.clocks.shown() == {}


def test_zero_tells_nothing_and_ends_what_was_told(node: Node) -> None:
    node.hear(900)
    node.most_ms = 0
    node.hear(901)
    node.hear(2000)
    assert [kind for kind, *_ in node.events] == ["clocks-apart", "clocks-together"]


def test_what_a_peer_said_of_our_earlier_life_counts_for_nothing(node: Node) -> None:
    """This host has been booted again: its clock begins anew, and so does the delay of what comes."""
    node.delay = MS - 30 * 24 * HOUR_NS
    node.hear(0)
    assert node.events == [] and node.clocks.shown() == {}


def test_what_a_peer_said_in_its_earlier_life_is_forgotten(node: Node) -> None:
    node.hear(900)
    node.clocks.heard("beta", None)  # its daemon has begun anew, or knows nothing of this
    assert node.clocks.shown() == {}
    node.hear(901)
    assert [kind for kind, *_ in node.events] == ["clocks-apart"] * 2
