"""When a copy is made: its period, its changes, its quiet hours. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

_QUIET = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
QUIET_PATTERN = f"^{_QUIET.pattern}$"
_RETRY_S, _RETRY_MOST_S = 5.0, 300.0


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of the day to another one, local time; over midnight if the second is the earlier."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Read `22:00-06:00`. Raises ValueError."""
        found = _QUIET.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no span of the day, such as 22:00-06:00")
        first, first_min, last, last_min = map(int, found.groups())
        if (first, first_min) == (last, last_min):
            raise ValueError(f"{text!r} begins when it ends: no hour of the day, or all of them")
        return cls(time(first, first_min), time(last, last_min))

    def covers(self, now: datetime) -> bool:
        """True within them; the end is outside."""
        at = now.time()
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end

    def next_begin(self, now: datetime) -> datetime:
        """Return when they begin next, after now."""
        return _next(self.begin, now)

    def next_end(self, now: datetime) -> datetime:
        """Return when they end next, after now."""
        return _next(self.end, now)


def _next(at: time, now: datetime) -> datetime:
    today = datetime.combine(now.date(), at, now.tzinfo)
    return today if today > now else datetime.combine(now.date() + timedelta(days=1), at, now.tzinfo)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Of one directory and peer."""

    every_s: int
    quiet: QuietHours | None

    def wait_s(self, now: datetime, ended: datetime | None, failures: int) -> float:
        """Return in how many seconds the next copy is due, if nobody asks and nothing changes before.
        ``ended``: the last one, None before the first; ``failures``: of the last ones in a row."""
        if ended is None:
            due = now
        else:
            retry_s = min(_RETRY_S * 2 ** min(failures - 1, 10), _RETRY_MOST_S)
            due = ended + timedelta(seconds=min(retry_s, self.every_s) if failures else self.every_s)
        due = min(max(due, now), now + timedelta(seconds=self.every_s))  # a clock that was set back
        if self.quiet is not None and self.quiet.covers(due):
            due = self.quiet.next_end(due)
        return (due - now).total_seconds()

    def lets(self, now: datetime) -> bool:
        """True if a copy may be made now without being asked for by a person."""
        return self.quiet is None or not self.quiet.covers(now)

    def left_s(self, now: datetime) -> float | None:
        """Return for how long a copy that begins now may last; None: as long as it takes."""
        return None if self.quiet is None else (self.quiet.next_begin(now) - now).total_seconds()


Clock = Callable[[], datetime]
"""Local time."""
