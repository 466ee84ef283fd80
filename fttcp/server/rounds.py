"""Looks at the servers of all groups of a node: in common rounds, in one thread, each thing once.

Many groups may have one server. And a thread that is begun for each look of each group costs the loop that
decides more than the look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

_RETRY_S = 1.0
_SHARE = 10
"""Between two looks at a server passes at least so many times the duration of one."""

_T = TypeVar("_T")


class Facts:
    """What was seen in one round."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, Any] = {}

    def once(self, what: Hashable, look: Callable[[], _T]) -> _T:
        """Return what this look, known by its name, has seen in this round; look if nobody has. Raises what
        ``look`` does."""
        if what not in self._seen:
            self._seen[what] = look()
        return self._seen[what]  # type: ignore[no-any-return]


Conclusion = Callable[[], None]
"""To be drawn in the loop."""
Look = Callable[[Facts], Conclusion | None]
"""Looks, in a thread; None: there is nothing new."""


class Looked(Protocol):
    """A group's server; its methods are called in the loop."""

    def next_look(self) -> tuple[Look | None, float]:
        """Return what is to be looked at now, and the time in seconds until the next look."""

    def look_failed(self, error: Exception) -> None:
        """It could not be looked at."""


class Rounds:
    """Of one node."""

    def __init__(self) -> None:
        self._due_s: dict[Looked, float] = {}
        """When each is to be looked at, on the monotonic clock."""
        self._joined = asyncio.Event()
        """Or one has left."""
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def join(self, server: Looked) -> None:
        """Look at it from now on."""
        self._due_s[server] = time.monotonic()
        self._joined.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def leave(self, server: Looked) -> None:
        """Look at it no more; nothing of it is being looked at when this returns."""
        self._due_s.pop(server, None)
        self._joined.set()
        async with self._looking:
            pass

    async def _run(self) -> None:
        while self._due_s:
            self._joined.clear()
            wait_s = max(0.0, min(self._due_s.values()) - time.monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._joined.wait()
            now_s = time.monotonic()
            due = [server for server, due_s in self._due_s.items() if due_s <= now_s]
            async with self._looking:
                try:
                    await self._look_at(due, now_s)
                except Exception as error:  # no thread can be had, for example
                    self._put_off(due, error)

    def _put_off(self, due: Sequence[Looked], error: Exception) -> None:
        """These could not be looked at: they are tried again."""
        for server in due:
            if server in self._due_s:
                server.look_failed(error)
                self._due_s[server] = time.monotonic() + _RETRY_S

    async def _look_at(self, due: Sequence[Looked], now_s: float) -> None:
        """Those of one rhythm are looked at together from then on: each has its looks at multiples of it."""
        looks: list[tuple[Looked, Look]] = []
        for server in due:
            look, period_s = server.next_look()
            self._due_s[server] = (now_s // period_s + 1) * period_s
            if look is not None:
                looks.append((server, look))
        if not looks:
            return
        for server, seen, took_s in await asyncio.to_thread(_look_at_all, looks):
            if server not in self._due_s:
                continue
            after_s = time.monotonic() + _SHARE * took_s
            try:
                if isinstance(seen, Exception):
                    raise seen
                if seen is not None:
                    seen()
            except Exception as error:
                server.look_failed(error)
                after_s += _RETRY_S
            self._due_s[server] = max(self._due_s[server], after_s)


def _look_at_all(
    looks: Sequence[tuple[Looked, Look]],
) -> list[tuple[Looked, Conclusion | Exception | None, float]]:
    """In a thread."""
    facts, found = Facts(), []
    for server, look in looks:
        begun_s = time.monotonic()
        seen: Conclusion | Exception | None
        try:
            seen = look(facts)
        except Exception as error:
            seen = error
        found.append((server, seen, time.monotonic() - begun_s))
    return found
