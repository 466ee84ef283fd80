"""The moment of a planned act: one at which nothing is reset that could be kept, if such a one comes.

A primary that serves on, and is to leave the service to its backup, first asks how the connections are
(``LookAtFlows``). It waits for two things: that a renewal which is under way has come to its end, as long as
it gets on; then that both servers have said the same, for a short time. A primary that cannot serve on waits
for nothing.
"""

from __future__ import annotations

from enum import Enum, auto

from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, Cause

PLANNED = frozenset({Cause.SWITCHOVER, Cause.STOP})
"""Causes with which a primary serves until it hands over. A server that is short of something serves, too."""
EQUAL_NS = 50 * NS_PER_MS
"""Servers that told another time at the turn of a second tell the same one a few milliseconds later. What
differs for longer does so for long."""
STANDSTILL_NS = 1000 * NS_PER_MS
"""A renewal that has not got on for so long is not waited for."""
_EQUAL_LOOK_NS, _RENEWAL_LOOK_NS = 2 * NS_PER_MS, 20 * NS_PER_MS


class Turn(Enum):
    """What a planned act does now."""

    WAIT = auto()
    GO = auto()
    MISSED = auto()
    """The wait is over, and the renewal is not, or has failed in part: those connections would be reset."""


class Moment:
    """That of one group on one node, from the wish on until it is carried out or forgotten."""

    def __init__(self) -> None:
        self.catching = 0
        """Connections that the backup still catches up with."""
        self._since_ns: int | None = None
        self._seen = self._differ = self._asked = False
        self._progress = self._moved_ns = self._level_ns = self._look_ns = 0
        self._failed_before = self._failed = 0

    @property
    def awaited(self) -> bool:
        """True from the wish on."""
        return self._since_ns is not None

    def forget(self) -> None:
        """Nothing is wished any more."""
        self._since_ns, self.catching = None, 0

    def turn(self, longest_ns: int, paired_ns: int, now_ns: int) -> Turn:
        """Say what to do; the first call begins the wait. ``longest_ns``: for a renewal, ``paired_ns``: when
        the backup came. A renewal begins a little later than the pairing."""
        if self._since_ns is None:
            self._since_ns = self._moved_ns = self._level_ns = self._look_ns = now_ns
            self._seen = self._differ = self._asked = False
        if self.catching:
            gets_on = now_ns < min(self._since_ns + longest_ns, self._moved_ns + STANDSTILL_NS)
            return Turn.WAIT if gets_on else Turn.MISSED
        doubtful = self._differ or not self._seen
        fresh = now_ns < paired_ns + EQUAL_NS
        if fresh or (doubtful and now_ns < self._level_ns + EQUAL_NS):
            return Turn.WAIT
        return Turn.MISSED if self._seen and self._failed != self._failed_before else Turn.GO

    def looks(self, now_ns: int) -> bool:
        """True if it is time to ask how the connections are: once until it is told."""
        if self._since_ns is None or self._asked or now_ns < self._look_ns:
            return False
        self._asked = True
        return True

    def told(self, flows: ev.FlowsSeen, now_ns: int) -> None:
        """Take in how they are."""
        if self._since_ns is None:
            return
        if not self._seen:
            self._failed_before = flows.failed
        if not self._seen or flows.progress != self._progress:
            self._moved_ns = now_ns
        if self.catching and not flows.catching:
            self._level_ns = now_ns
        self._seen, self._asked, self._progress = True, False, flows.progress
        self.catching, self._differ, self._failed = flows.catching, flows.unverified > 0, flows.failed
        self._look_ns = now_ns + (_RENEWAL_LOOK_NS if flows.catching else _EQUAL_LOOK_NS)

    def deadlines_ns(self, longest_ns: int) -> tuple[int, ...]:
        """Return the times at which something changes by time alone; they may be past."""
        if self._since_ns is None:
            return ()
        ends = (self._since_ns + longest_ns, self._moved_ns + STANDSTILL_NS, self._level_ns + EQUAL_NS)
        return ends if self._asked else (*ends, self._look_ns)
