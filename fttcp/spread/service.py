"""`fttcp spread --watch`: each target is told of every change, and now and then again."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fttcp.spread.member import Entry, Patience, View, seen, view

WAIT_S = 5.0
"""A group that nobody serves for so long is taken out."""
_AGAIN_S = 60.0
_FIRST_RETRY_S = 1.0
_SETTLE_S = 0.25
"""Events come in groups, and each look costs the daemon something."""
_NONE_KEPT = 2**62
_LINE_BYTES = 1 << 26

Told = Callable[[str, str | None], Awaitable[None]]
"""An entry, and why it failed; None: it did not."""


class Service:
    """Of one node; each entry has a task, so that none waits for another one."""

    def __init__(self, entries: Sequence[Entry], socket: Path, told: Told) -> None:
        """``socket``: the daemon's; ``told``: is called when an entry begins or ceases to fail."""
        self._entries, self._socket, self._told = entries, socket, told
        self._view: View | None = None
        self._unseen = ""
        self._changed = asyncio.Event()
        self._news = {entry.name: asyncio.Event() for entry in entries}

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._look())
            for entry in self._entries:
                tasks.create_task(self._keep(entry))

    async def _follow(self) -> None:
        """Note each event of the daemon; look for one while there is none."""
        while True:
            with suppress(OSError, ValueError):
                reader, writer = await _asking(self._socket, op="events", since=_NONE_KEPT, follow=True)
                try:
                    self._changed.set()
                    while await reader.readline():
                        self._changed.set()
                finally:
                    writer.close()
            self._changed.set()
            await asyncio.sleep(_FIRST_RETRY_S)

    async def _look(self) -> None:
        """Ask the daemon at each change, and every minute: not every change of others is an event here."""
        while True:
            await _wait(self._changed, _AGAIN_S)
            await asyncio.sleep(_SETTLE_S)
            self._changed.clear()
            await self._see()
            for news in self._news.values():
                news.set()

    async def _see(self) -> None:
        """Ask the daemon; say once why it cannot be asked. `_follow` notes when there is one again."""
        self._view, why = None, ""
        try:
            self._view = view(await _reply(self._socket, op="status"))
        except OSError as error:
            why = f"{self._socket}: {error.strerror or error}: does the daemon run, as the same user?"
        except (ValueError, KeyError) as error:
            why = f"{self._socket}: not understood: {error!r:.200}"
        if why and why != self._unseen:
            print(why, file=sys.stderr, flush=True)
        self._unseen = why

    async def _keep(self, entry: Entry) -> None:
        patience, news = Patience(WAIT_S), self._news[entry.name]
        failure: str | None = None
        retry_s, waits_s = _FIRST_RETRY_S, entry.again_s
        while True:
            await _wait(news, waits_s)
            news.clear()
            now, waits_s = self._view, entry.again_s
            if now is None or not now.counts:
                patience = Patience(WAIT_S)
                continue
            clock_s = asyncio.get_running_loop().time()
            members, left_s = patience.judge(seen(entry.members, now.by), clock_s)
            before, failure = failure, await asyncio.to_thread(entry.tell, members)
            if failure != before:
                await self._told(entry.name, failure)
            if failure is None:
                retry_s, waits_s = _FIRST_RETRY_S, min(entry.again_s, left_s or entry.again_s)
            else:
                retry_s, waits_s = min(2 * retry_s, entry.again_s), retry_s


async def _wait(news: asyncio.Event, most_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await news.wait()


async def _reply(socket: Path, **request: Any) -> dict[str, Any]:
    """Return the daemon's reply. Raises OSError, ValueError."""
    reader, writer = await _asking(socket, **request)
    try:
        reply = json.loads(await reader.readline())
    finally:
        writer.close()
    if not isinstance(reply, dict) or "error" in reply:
        raise ValueError(f"refused: {reply!r:.200}")
    return reply


async def _asking(socket: Path, **request: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(socket, limit=_LINE_BYTES)
    writer.write(json.dumps(request).encode() + b"\n")
    return reader, writer
