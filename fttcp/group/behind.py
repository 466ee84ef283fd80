"""What the groups of a node do when none of them is about to open its gate.

One loop serves all groups of a daemon. When a host dies, all that it served moves at once: the last group's
clients wait for the decisions about all others, and for nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

LONGEST_S = 0.1
"""For so long a group that cannot decide keeps others from their work; nor does work wait for longer for
groups that decide one after the other."""
_TURN_S = 0.001
"""Then the loop looks for what is more urgent."""


class Behind:
    """Of one node, in its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        """What is to be done, and when it was put here."""
        self._hurried: dict[object, float] = {}
        """Who is about to decide, and since when."""
        self._handle: asyncio.Handle | None = None

    def hurry(self, who: object, hurries: bool, anew: bool = False) -> None:
        """Somebody is about to decide what clients wait for, or not any more; ``anew``: for another reason
        than before, if it was already."""
        if hurries and (anew or who not in self._hurried):
            self._hurried[who] = self._loop.time()
        if hurries:
            return
        if self._hurried.pop(who, None) is not None and self._waiting:
            self._arm()

    def others_hurry(self, who: object) -> bool:
        """True while somebody else is about to decide."""
        return len(self._hurried) > (who in self._hurried)

    def put(self, work: Callable[[], None]) -> None:
        """Do this in a later turn of the loop, in the order in which it was put here."""
        self._waiting.append((self._loop.time(), work))
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
        """Until the last of those that hurry has done so for long enough, or the first work has waited so."""
        latest_s = max(self._hurried.values(), default=None)
        if latest_s is None or not self._waiting:
            return 0.0
        return min(latest_s, self._waiting[0][0]) + LONGEST_S - self._loop.time()

    def _do(self) -> None:
        self._handle = None
        end_s = self._loop.time() + _TURN_S
        try:
            while self._waiting and self._wait_s() <= 0:
                self._waiting.popleft()[1]()
                if self._loop.time() >= end_s:
                    break
        finally:  # one that failed keeps the others from nothing
            if self._waiting and self._handle is None:
                self._arm()
