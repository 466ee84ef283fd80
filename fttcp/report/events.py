"""What happened on this node: numbered events, kept for questions and passed on to every outlet."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

LEVELS = ("debug", "info", "warning", "error")

Event = dict[str, Any]
"""``number``, ``time`` (ISO 8601, UTC), ``level``, ``node``, ``group`` if it concerns one, ``event`` (its
kind), and what it tells."""

Listener = Callable[[Event], None]


def at_least(event: Event, level: str) -> bool:
    """True if the event's level is this one or a graver one."""
    return LEVELS.index(event["level"]) >= LEVELS.index(level)


class History:
    """The last events of this daemon. ``add`` never waits: a listener must not, either."""

    def __init__(
        self, node: str, listeners: Sequence[Listener] = (), last: int = 0, keep: int = 1000
    ) -> None:
        """``last``: the highest number that an earlier daemon used."""
        self._node = node
        self._listeners = list(listeners)
        self._events: deque[Event] = deque(maxlen=keep)
        self._number = last
        self.counts: Counter[str] = Counter()
        """Events since the start, by kind."""

    def add(self, kind: str, level: str = "info", group: str | None = None, **fields: Any) -> None:
        """Note an event: keep it, and tell every listener."""
        self._number += 1
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        where = {"node": self._node} | ({"group": group} if group is not None else {})
        event = {"number": self._number, "time": now, "level": level, **where, "event": kind, **fields}
        self._events.append(event)
        self.counts[kind] += 1
        for listener in tuple(self._listeners):
            listener(event)

    def since(self, number: int) -> list[Event]:
        """Return the kept events with a number above this one, oldest first."""
        return [event for event in self._events if event["number"] > number]

    def listen(self, listener: Listener) -> None:
        """Tell this listener of every event from now on."""
        self._listeners.append(listener)

    def ignore(self, listener: Listener) -> None:
        """Tell this listener of no more events."""
        self._listeners.remove(listener)
