"""Does what an owner mirrors arrive here? The verdict follows from probes that it tells of, and that came.

The owner tells in its heartbeats the number of the probes that it has sent, one to each target. The verdict
is no only about what is known to have been sent, so being slow is no fault.
"""

from __future__ import annotations

from collections import deque

from fttcp.ownership.model import NS_PER_MS

PATIENCE_NS = 1000 * NS_PER_MS
"""For a probe that is known to have been sent: behind other packets, on a loaded host."""
MISSED = 3
"""Rounds one after the other in which the same probe was missed."""
KEPT = 32
_TAKEN = -1
"""In the place of all bits: it has counted, and does so once."""
_FRESH = 8
"""So far from the last number that the owner has told may a probe be. Others are of a former owner, or said
again by somebody who has heard them."""


class MirrorWatch:
    """What one node knows of probes that are sent to it."""

    def __init__(self) -> None:
        self.broken = 0
        """A bit for each target whose probes do not arrive, by the last verdict; 0: all do, so far."""
        self._targets = self._heard = self._missed = self._missing = 0
        self._whole_ns = 0
        self._came: dict[int, int] = {}
        """Number -> a bit for each target whose probe has come."""
        self._due: deque[tuple[int, int]] = deque()
        """Numbers that are to be judged, and when the owner told of them."""

    def told(self, number: int, targets: int, awaited: bool, now_ns: int) -> None:
        """The owner has sent the probes of this number (0: it sends none) to these targets. ``awaited``: they
        should come here."""
        if number in (0, self._heard):
            return
        self._heard, self._targets = number, targets
        if awaited:
            self._due.append((number, now_ns))

    def seen(self, number: int, target: int) -> None:
        """A probe came in."""
        came = self._came.get(number, 0)
        if came == _TAKEN or came >> target & 1:
            return  # a copy
        self._came[number] = came | 1 << target
        while len(self._came) > KEPT:
            old = (known for known in self._came if not self._fresh(known))
            del self._came[next(old, next(iter(self._came)))]

    def arrives(self, now_ns: int) -> bool:
        """True, once for each number, when all of its probes are here; it may be told of later."""
        whole = [
            number for number, came in self._came.items() if came == self._targets and self._fresh(number)
        ]
        if not self._targets or not whole:
            return False
        for number in whole:
            self._came[number] = _TAKEN
        self._whole_ns, self._missing, self._missed, self.broken = now_ns, self._targets, 0, 0
        return True

    def fails(self, awaited: bool, now_ns: int) -> bool:
        """Judge what is due; true if that says that what is mirrored does not arrive. What was told before
        all came says nothing any more."""
        verdict = False
        while self._due and now_ns >= self._due[0][1] + PATIENCE_NS:
            number, heard_ns = self._due.popleft()
            missing = self._targets & ~self._came.get(number, 0)
            if not awaited or not missing or heard_ns <= self._whole_ns:
                continue
            self._missing = self._missing & missing if self._missed else missing
            self._missed += 1
            if self._missed >= MISSED and self._missing:
                self.broken, verdict = self._missing, True
        return verdict

    def deadline_ns(self) -> int:
        """Return when something is to be judged; it may be past."""
        return self._due[0][1] + PATIENCE_NS if self._due else 0

    def _fresh(self, number: int) -> bool:
        return bool(self._heard) and abs(number - self._heard) <= _FRESH
