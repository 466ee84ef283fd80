"""Failure detection by accrual: how surprising is the silence of a peer, given how it used to speak?

N. Hayashibara, X. Defago, R. Yared, T. Katayama, "The phi accrual failure detector", SRDS 2004. The times
between heartbeats are taken as normally distributed, with mean and deviation of the last ones; phi is the
negative decimal logarithm of the probability that a silence of this length comes from a living peer.

What it may decide is one-sided. A takeover is safe only after D * (1 + drift) of silence, because that was
promised to the primary; so this detector never shortens the patience of a node. It lengthens it when the way
to the peer is known to be uneven (`patience_ns`), within a bound; and it warns before (`suspicion_ns`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

WINDOW = 1000
"""Intervals that are remembered; fewer than a tenth of it say nothing yet."""
PHI_LOST = 16.0
"""A silence that one living peer in 10**16 would keep is a loss."""
PHI_SUSPECT = 4.0
"""A silence that one in 10**4 would keep is worth a warning."""
MOST = 1.75
"""The longest patience, in D * (1 + drift): below two, from where on a node thinks that it slept itself."""
_ENOUGH = WINDOW // 10
_Z_MAX = 37.0
"""Deviations beyond which a double cannot tell the probability from 0 (phi about 300)."""


class PhiDetector:
    """What is known of the times between one peer's heartbeats. Durations in nanoseconds."""

    def __init__(self, interval_ns: int) -> None:
        """``interval_ns``: how far apart heartbeats are meant to be; a twentieth of it is the least deviation
        that is assumed, since a peer that was punctual up to now has not promised to stay so."""
        self._floor_ns = interval_ns / 20
        self._intervals: deque[int] = deque(maxlen=WINDOW)

    def extend(self, intervals_ns: Iterable[int]) -> None:
        """Learn the times between heartbeats that came in."""
        self._intervals.extend(intervals_ns)

    @property
    def ready(self) -> bool:
        """True once enough heartbeats came in to say anything."""
        return len(self._intervals) >= _ENOUGH

    @property
    def mean_ns(self) -> float:
        """Mean interval. Raises ZeroDivisionError while there is none."""
        return sum(self._intervals) / len(self._intervals)

    @property
    def deviation_ns(self) -> float:
        """Standard deviation of the intervals, at least the floor."""
        mean = self.mean_ns
        square = sum((interval - mean) ** 2 for interval in self._intervals) / len(self._intervals)
        return max(math.sqrt(square), self._floor_ns)

    def phi(self, silent_ns: int) -> float:
        """Return how surprising a silence is: 1 means that one in 10 would be as long, 8 one in 10**8.
        0 while nothing is known."""
        if not self.ready:
            return 0.0
        return _phi((silent_ns - self.mean_ns) / self.deviation_ns)

    def silence_ns(self, phi: float) -> int | None:
        """Return the shortest silence that is as surprising as that; None while nothing is known."""
        if not self.ready:
            return None
        low, high = -_Z_MAX, _Z_MAX
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if _phi(middle) < phi else (low, middle)
        return max(0, math.ceil(self.mean_ns + high * self.deviation_ns))


def _phi(z: float) -> float:
    """Return -log10 of the probability that a standard normal variable is above ``z``."""
    return -math.log10(math.erfc(min(z, _Z_MAX) / math.sqrt(2)) / 2)


def patience_ns(detector: PhiDetector, threshold: float, least_ns: int, most_ns: int) -> int:
    """Return for how long to wait before a silent peer counts as lost: never less than ``least_ns``, which is
    what safety asks for, and never more than ``most_ns``."""
    wanted_ns = detector.silence_ns(threshold)
    return least_ns if wanted_ns is None else max(least_ns, min(most_ns, wanted_ns))


def suspicion_ns(detector: PhiDetector, threshold: float, lost_ns: int) -> int:
    """Return after which silence to warn, before the peer counts as lost at ``lost_ns``; 0: not at all."""
    wanted_ns = detector.silence_ns(threshold)
    return 0 if wanted_ns is None or wanted_ns >= lost_ns else wanted_ns
