"""The service `fttcp sync run`: copies what is due, what has changed, and what somebody asks for."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import structs, to_builtins

from fttcp.sync.copying import Copy, Pair, PrimaryOf
from fttcp.sync.programs import ProgramError, on_host
from fttcp.sync.record import Records, Report
from fttcp.sync.schedule import Timetable
from fttcp.sync.watch import follow, settle, watcher

_SETTLE_S, _SETTLE_MOST_S = 0.5, 10.0
_LOOK_S = 60.0
"""So often the wall clock is looked at: it may be set."""

Told = Callable[[Report, Report | None], Awaitable[None]]
"""A copy has ended: how it went, and how the one before it had gone."""


@dataclass(slots=True)
class _Kept:
    """A pair that this node keeps the same."""

    pair: Pair
    timetable: Timetable
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    changed: bool = False
    asked: list[asyncio.Future[Report]] = field(default_factory=list)
    ended: datetime | None = None
    failures: int = 0


def _place_there(pair: Pair) -> str:
    return f"{pair.section.name} at {pair.peer.name}"


class Service:
    """Of one node; one copy at a time."""

    def __init__(self, pairs: list[Pair], records: Records, primary_of: PrimaryOf, told: Told) -> None:
        self._kept = [_Kept(pair, pair.section.timetable) for pair in pairs]
        self._records, self._primary_of, self._told = records, primary_of, told
        self._turn = asyncio.Lock()
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._said: set[str] = set()

    async def run(self, socket: Path) -> None:
        """Run until cancelled, and answer at a socket. Raises OSError."""
        socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, socket)
        socket.chmod(0o600)
        try:
            async with asyncio.TaskGroup() as tasks:
                for kept in self._kept:
                    tasks.create_task(self._keep(kept))
                await asyncio.Event().wait()  # also on a node that copies nothing by itself
        finally:
            server.close()
            socket.unlink(missing_ok=True)
            for task in self._watchers.values():
                task.cancel()
            await asyncio.gather(*self._watchers.values(), return_exceptions=True)

    async def _keep(self, kept: _Kept) -> None:
        while True:
            await self._next(kept)
            async with self._turn:
                await self._copy(kept)

    async def _next(self, kept: _Kept) -> None:
        """Wait until a copy is to be made."""
        while not kept.asked:
            now = datetime.now()
            wait_s = kept.timetable.wait_s(now, kept.ended, kept.failures)
            if wait_s <= 0:
                return
            if kept.changed and not kept.failures and kept.timetable.lets(now):
                await settle(kept.wake, _SETTLE_S, _SETTLE_MOST_S)
                return
            kept.wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, _LOOK_S)):
                    await kept.wake.wait()

    async def _copy(self, kept: _Kept) -> None:
        asked, kept.asked, kept.changed = kept.asked, [], False
        pair = kept.pair
        self._watch(pair)
        left_s = None if asked else kept.timetable.left_s(datetime.now())
        before = await asyncio.to_thread(self._records.report, pair.section.name, pair.peer.name)
        try:
            async with asyncio.timeout(left_s):
                report = await Copy(pair, self._records, self._primary_of).run()
        except TimeoutError:  # quiet hours have begun
            kept.ended = datetime.now()
            return
        except OSError as error:
            report = before or Report(pair.section.name, pair.peer.name, pair.own_name)
            report = structs.replace(report, error=f"{error}: the disk of state_dir")
        kept.ended = datetime.now()
        kept.failures = kept.failures + 1 if report.error is not None else 0
        watching = self._watchers.get(_place_there(pair))
        if report.error is not None and watching is not None:
            watching.cancel()  # it may hang as the peer does; the next copy begins anew
        for one in asked:
            if not one.done():
                one.set_result(report)
        await self._told(report, before)

    def _watch(self, pair: Pair) -> None:
        """See to it that changes are heard of, from before the directories are listed."""
        section = pair.section
        if not section.on_change:
            return
        words = ["fttcp", "sync", "watch", "--config", pair.config, section.name]
        there = on_host(section.remote_shell, pair.peer.host, words)
        for name, argv in (
            (section.directory, watcher(section.directory)),
            (_place_there(pair), there),
        ):
            if name not in self._watchers or self._watchers[name].done():
                self._watchers[name] = asyncio.create_task(self._follow(name, argv, section.name))

    async def _follow(self, name: str, argv: list[str], entry: str) -> None:
        """Until it cannot be watched any more: the next copy begins anew."""
        try:
            await follow(argv, lambda: self._changed(entry))
        except ProgramError as error:
            said = f"{name}: {error}"
            if said not in self._said:
                self._said.add(said)
                print(said, file=sys.stderr, flush=True)

    def _changed(self, entry: str) -> None:
        for kept in self._kept:
            if kept.pair.section.name == entry:
                kept.changed = True
                kept.wake.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One line: {"now": NAME or null}; the answer comes when the copies have been made."""
        try:
            request = json.loads(await reader.readline())
            writer.write(json.dumps(await self._asked(request.get("now"))).encode() + b"\n")
            await writer.drain()
        except (ValueError, AttributeError, ConnectionError) as error:
            print(f"control.sock: a broken request: {error}", file=sys.stderr, flush=True)
        finally:
            writer.close()

    async def _asked(self, name: object) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        waiting = []
        for kept in self._kept:
            if name in (None, kept.pair.section.name):
                waiting.append(loop.create_future())
                kept.asked.append(waiting[-1])
                kept.wake.set()
        return {"copies": [to_builtins(report) for report in await asyncio.gather(*waiting)]}
