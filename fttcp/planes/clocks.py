"""By how much the wall clocks of a node and its peers differ, as their heartbeats tell.

A heartbeat that comes d later than it was sent, by two clocks, took the way w: d = w + what they differ by.
In the other direction the difference counts the other way. So half of what the two d differ by is the
difference of the clocks, and half of their sum bounds its error (RFC 5905 section 8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fttcp.wire import clock
from fttcp.wire.body import ClockWord

_TOLD_AGAIN_NS = 200_000
"""What has moved by less is not told anew."""
_NS_PER_MS = 1e6


class Note(Protocol):
    """Tells an event of the node; see ``History.add``."""

    def __call__(self, kind: str, level: str = "info", /, **fields: Any) -> None:
        """Tell it."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Of a peer's wall clock from ours."""

    ns: float
    """It is ahead by so much."""
    error_ns: float
    """Right to this, up or down."""


def offset(here: ClockWord, there: ClockWord, to_here_ns: int, to_there_ns: int) -> Offset | None:
    """Return how far the wall clock there is ahead of ours. ``to_here_ns``: by how much its words come later
    than sent; ``to_there_ns``: ours there. None: one of the two is of an earlier life."""
    boots_apart_ns = (to_there_ns - to_here_ns) / 2
    way_ns = (to_there_ns + to_here_ns) / 2
    if way_ns < -_TOLD_AGAIN_NS:
        return None
    way_ns = max(0.0, way_ns)
    return Offset(boots_apart_ns + there.wall_ahead_ns - here.wall_ahead_ns, way_ns + 2 * _TOLD_AGAIN_NS)


class Clocks:
    """Of one node: what it tells the others of its clocks, and what theirs differ by."""

    def __init__(
        self,
        own_id: int,
        peers: Mapping[str, int],
        delay_ns: Callable[[int], int | None],
        note: Note,
        most_ms: Callable[[], int],
    ) -> None:
        """``peers``: ids by names, in the order of their numbers; ``delay_ns(number)``: see
        ``Liveness.delay_ns``; ``most_ms()``: by how much they may differ before it is told."""
        self._own_id, self._delay_ns = own_id, delay_ns
        self.peers = peers
        self._note, self._most_ms = note, most_ms
        self._heard: dict[str, ClockWord] = {}
        self._apart: set[str] = set()
        self.followed = ""
        """The peer whose wall clock ours is led to; '' for none."""
        self.word: ClockWord | None = None
        """To be told with each heartbeat's body."""

    def look(self) -> bool:
        """Measure; return True if there is something new to be told."""
        for name in self.peers:
            self._judge(name)
        now = self._now()
        if self.word is not None and _near(self.word, now):
            return False
        self.word = now
        return True

    def heard(self, peer: str, word: ClockWord | None) -> None:
        """A peer tells of its clocks. None: nothing, and what it said before counts no more."""
        if word is None:
            self._heard.pop(peer, None)
            self._apart.discard(peer)
        elif word != self._heard.get(peer):
            self._heard[peer] = word
            self._judge(peer)

    def offset(self, peer: str) -> Offset | None:
        """Return by how much a peer's wall clock differs; None if that is not known, or no more."""
        there, here = self._heard.get(peer), self._now()
        to_here_ns = here.delays_ns.get(self.peers[peer])
        to_there_ns = None if there is None else there.delays_ns.get(self._own_id)
        if there is None or to_here_ns is None or to_there_ns is None:
            return None
        return offset(here, there, to_here_ns, to_there_ns)

    def shown(self) -> dict[str, dict[str, Any]]:
        """Return what ``status`` shows, by names of peers; in ms."""
        found = {name: self.offset(name) for name in self.peers}
        return {
            name: {
                "ahead_ms": round(one.ns / _NS_PER_MS, 3),
                "error_ms": round(one.error_ns / _NS_PER_MS, 3),
                "apart": name in self._apart,
                "followed": name == self.followed,
            }
            for name, one in found.items()
            if one is not None
        }

    def _now(self) -> ClockWord:
        told = {key: self._delay_ns(number) for number, key in enumerate(self.peers.values())}
        delays = {key: delay for key, delay in told.items() if delay is not None}
        return ClockWord(clock.wall_ahead_ns(), delays)

    def _judge(self, peer: str) -> None:
        """Tell when they begin to differ too much, for certain; and when they do no more."""
        found = self.offset(peer)
        if found is None:
            return
        most_ns = self._most_ms() * _NS_PER_MS
        told = {
            "peer": peer,
            "ahead_ms": round(found.ns / _NS_PER_MS, 1),
            "error_ms": round(found.error_ns / _NS_PER_MS, 1),
        }
        if peer not in self._apart and most_ns and abs(found.ns) - found.error_ns > most_ns:
            self._apart.add(peer)
            self._note("clocks-apart", "warning", **told)
        elif peer in self._apart and (not most_ns or abs(found.ns) < most_ns / 2):
            self._apart.remove(peer)
            self._note("clocks-together", **told)


def _near(one: ClockWord, other: ClockWord) -> bool:
    """True if nobody needs to be told that it has become the other one."""
    moved = [abs(one.wall_ahead_ns - other.wall_ahead_ns)]
    moved += [abs(one.delays_ns[key] - other.delays_ns.get(key, 1 << 62)) for key in one.delays_ns]
    return one.delays_ns.keys() == other.delays_ns.keys() and max(moved) < _TOLD_AGAIN_NS
