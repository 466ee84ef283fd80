"""What the groups of a node do when none of them is about to open its gate.

One loop serves all groups of a daemon. When a host dies, all that it served moves at once: the last group's
clients wait for the decisions about all others, and for nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

LONGEST_S = 0.1
"""For so long a group that cannot decide keeps others from their work."""
_TURN_S = 0.001
"""Then the loop looks for what is more urgent."""


class Behind:
    """Of one node, in its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Callable[[], None]] = deque()
        self._hurried: dict[object, float] = {}
        """Who is about to decide, and since when."""
        self._handle: asyncio.Handle | None = None

    def hurry(self, who: object, hurries: bool) -> None:
        """Somebody is about to decide what clients wait for, or not any more."""
        if hurries:
            self._hurried.setdefault(who, self._loop.time())
        elif self._hurried.pop(who, None) is not None and self._waiting:
            self._arm()

    def put(self, work: Callable[[], None]) -> None:
        """Do this in a later turn of the loop, in the order in which it was put here."""
        self._waiting.append(work)
        if self._handle is None:
            self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        wait_s = self._wait_s()
        self._handle = (
            self._loop.call_soon(self._do) if wait_s <= 0 else self._loop.call_later(wait_s, self._do)
        )

    def _wait_s(self) -> float:
        """Until the last of those that hurry has done so for long enough."""
        latest_s = max(self._hurried.values(), default=None)
        return 0.0 if latest_s is None else latest_s + LONGEST_S - self._loop.time()

    def _do(self) -> None:
        self._handle = None
        end_s = self._loop.time() + _TURN_S
        try:
            while self._waiting and self._wait_s() <= 0:
                self._waiting.popleft()()
                if self._loop.time() >= end_s:
                    break
        finally:  # one that failed keeps the others from nothing
            if self._waiting and self._handle is None:
                self._arm()
