"""Whether the arbiter can be reached: noted with every attempt, told when it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fttcp.wire import clock

OnChange = Callable[[bool, str], None]
"""Called with whether the arbiter answers now, and a sentence about it."""


class Reach:
    """What the last attempts showed. Nothing is known (None) before the first one."""

    def __init__(self, on_change: OnChange | None = None) -> None:
        self.reachable: bool | None = None
        self.last_error = ""
        self._answered_ns: int | None = None
        self._on_change = on_change

    def answered(self, note: str) -> None:
        """There was an answer; ``note`` says from where."""
        self._answered_ns = clock.now_ns()
        self._become(True, note)

    def failed(self, why: str) -> None:
        """There was none, because of ``why``."""
        self.last_error = why
        self._become(False, why)

    def describe(self) -> dict[str, Any]:
        """Return the part of ``ArbiterClient.describe`` that is alike everywhere."""
        answered_ns = self._answered_ns
        ago_s = None if answered_ns is None else round((clock.now_ns() - answered_ns) / 1e9, 3)
        return {"reachable": self.reachable, "answered_s_ago": ago_s, "last_error": self.last_error}

    def _become(self, reachable: bool, note: str) -> None:
        if reachable is not self.reachable:
            self.reachable = reachable
            if self._on_change is not None:
                self._on_change(reachable, note)
