"""What happened on this node: a bounded history for questions, and one JSON line each for the log."""

from __future__ import annotations

import json
import sys
from collections import deque
from datetime import UTC, datetime
from typing import Any, TextIO

_LEVELS = ("debug", "info", "warning", "error")


class History:
    """The last events, numbered from 1."""

    def __init__(self, node: str, level: str = "info", keep: int = 1000, log: TextIO | None = None) -> None:
        """``level``: the least of debug, info, warning, error that is logged; ``log``: stderr if None."""
        self._node = node
        self._least = _LEVELS.index(level)
        self._events: deque[dict[str, Any]] = deque(maxlen=keep)
        self._number = 0
        self._log = log or sys.stderr

    def add(self, kind: str, level: str = "info", group: str | None = None, **fields: Any) -> None:
        """Note an event: keep it, and write it to the log if its level says so."""
        self._number += 1
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        where = {"node": self._node} | ({"group": group} if group is not None else {})
        event = {"number": self._number, "time": now, "level": level, **where, "event": kind, **fields}
        self._events.append(event)
        if _LEVELS.index(level) >= self._least:
            print(json.dumps(event, default=str), file=self._log, flush=True)

    def since(self, number: int) -> list[dict[str, Any]]:
        """Return the kept events with a number above this one, oldest first."""
        return [event for event in self._events if event["number"] > number]
