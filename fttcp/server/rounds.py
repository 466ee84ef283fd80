"""Looks at the servers of all groups of a node: in common rounds, each in one thread, each thing once.

Many groups may have one server. And a thread that is begun for each look of each group costs the loop that
decides more than the look.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

_RETRY_S = 1.0
_STUCK_S = 5.0
"""A look that takes longer is stuck: /proc waits for a process that the kernel holds."""
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
        self._stuck: set[Looked] = set()
        """Looks at these have not ended; nobody else looks at them meanwhile."""

    def join(self, server: Looked) -> None:
        """Look at it from now on."""
        self._due_s[server] = time.monotonic()
        self._joined.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def leave(self, server: Looked) -> bool:
        """Look at it no more; return whether it is being looked at still, by a thread that is stuck."""
        self._due_s.pop(server, None)
        self._joined.set()
        async with self._looking:
            return server in self._stuck

    async def _run(self) -> None:
        while self._due_s:
            self._joined.clear()
            free = (due_s for server, due_s in self._due_s.items() if server not in self._stuck)
            wait_s = max(0.0, min(free, default=math.inf) - time.monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                    await self._joined.wait()
            now_s = time.monotonic()
            due = [one for one, due_s in self._due_s.items() if due_s <= now_s and one not in self._stuck]
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
        found = _Round(looks, self._returned)
        while (seen := await found.next()) is not None:
            self._conclude(*seen)
        for server in found.unseen:
            if server is found.stuck:
                self._stuck.add(server)
                server.look_failed(TimeoutError(f"a look at it has not ended after {_STUCK_S:g} s"))
            elif server in self._due_s:
                self._due_s[server] = time.monotonic()

    def _returned(self, server: Looked) -> None:
        """A look that was stuck has ended."""
        self._stuck.discard(server)
        self._joined.set()

    def _conclude(self, server: Looked, seen: Conclusion | Exception | None, took_s: float) -> None:
        if server not in self._due_s:
            return
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


_Seen = tuple[Looked, Conclusion | Exception | None, float]


class _Round:
    """Looks in a thread of its own. One that waits in the kernel for ever keeps neither the process from
    ending nor the next round from beginning."""

    def __init__(self, looks: Sequence[tuple[Looked, Look]], returned: Callable[[Looked], None]) -> None:
        """``returned``: called in the loop when the look that was stuck has ended after all. Raises
        RuntimeError if no thread can be had."""
        self.unseen = [server for server, _ in looks]
        """Those about whom nothing is concluded yet, in their order."""
        self.stuck: Looked | None = None
        """At whom the thread was looking when it was given up."""
        self._at: Looked | None = None
        self._turn = threading.Lock()
        self._given_up = False
        self._loop, self._returned = asyncio.get_running_loop(), returned
        self._seen: asyncio.Queue[_Seen] = asyncio.Queue()
        threading.Thread(target=self._look_at_all, args=(looks,), name="looks", daemon=True).start()

    async def next(self) -> _Seen | None:
        """Return what was seen next; None: there is no more, or the thread is given up."""
        if not self.unseen:
            return None
        try:
            async with asyncio.timeout(_STUCK_S):
                seen = await self._seen.get()
        except TimeoutError:
            with self._turn:
                self._given_up, self.stuck = True, self._at
            return None
        self.unseen.remove(seen[0])
        return seen

    def _take(self, seen: _Seen) -> None:
        if seen[0] is self.stuck:
            self._returned(seen[0])
        else:
            self._seen.put_nowait(seen)

    def _look_at_all(self, looks: Sequence[tuple[Looked, Look]]) -> None:
        """In the thread."""
        facts = Facts()
        for server, look in looks:
            with self._turn:
                if self._given_up:
                    return
                self._at = server
            begun_s = time.monotonic()
            seen: Conclusion | Exception | None
            try:
                seen = look(facts)
            except Exception as error:
                seen = error
            found = (server, seen, time.monotonic() - begun_s)
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._take, found)
