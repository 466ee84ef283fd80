"""One copy between two nodes: both directories are listed, a plan is made, and carried out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import structs, to_builtins

from fttcp.sync.programs import ProgramError
from fttcp.sync.record import Records, Report, now_text
from fttcp.sync.remote import AgentLine, Moved, PartialError, Peer, agent, rsync
from fttcp.sync.settings import SyncSection
from fttcp.sync.tree import Directory, TreeError
from fttcp.sync.versions import Plan, Tree, decide, next_base

_REMEMBER_S = 20
"""For listing what a copy has done that failed or was interrupted."""

PrimaryOf = Callable[[str], Awaitable[str | None]]
"""Which node is a group's primary; None: nobody, or it is not known."""


class RefusedError(Exception):
    """Nothing, or not all, may be copied; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One directory of this node, and another node that has it, too."""

    section: SyncSection
    own_name: str
    peer: Peer
    config: str
    """Path of the node's file, the same on both."""

    @property
    def directory(self) -> Directory:
        """Here."""
        return Directory(Path(self.section.directory), self.section.exclude)


@dataclass(frozen=True, slots=True)
class _Done:
    files: int = 0
    bytes: int = 0
    removed: int = 0
    conflicts: int = 0


class Copy:
    """One run for a pair."""

    def __init__(self, pair: Pair, records: Records, primary_of: PrimaryOf) -> None:
        self._pair, self._records, self._primary_of = pair, records, primary_of
        self._done = _Done()

    async def run(self) -> Report:
        """Copy; return how it went. What fails is in the report. Raises OSError if that cannot be kept."""
        section, peer = self._pair.section, self._pair.peer
        before = self._records.report(section.name, peer.name)
        report = before or Report(section.name, peer.name, self._pair.own_name, section.directory)
        began, at = time.monotonic(), now_text()
        report = structs.replace(
            report,
            error=None,
            interrupted_at=None,
            tried_at=at,
            driver=self._pair.own_name,
            directory=section.directory,
        )
        try:
            async with agent(section, peer, self._pair.config) as there:
                error = await self._attempt(there)
                report = self._told(report, error, at, began)
                await self._end(there, report)
        except (ProgramError, TreeError) as failure:
            report = self._told(report, report.error or str(failure), at, began)
        except asyncio.CancelledError:
            error = None if before is None else before.error
            report = structs.replace(self._told(report, error, at, began), good_at=report.good_at)
            report = structs.replace(report, interrupted_at=at)
            await asyncio.shield(asyncio.to_thread(self._records.keep_report, report, peer.name))
            raise
        await asyncio.to_thread(self._records.keep_report, report, peer.name)
        return report

    async def _attempt(self, there: AgentLine) -> str | None:
        """Return what went wrong, after the other node has answered. Raises what `ask` does."""
        try:
            await self._copy(there)
        except (RefusedError, TreeError, ProgramError) as error:
            return str(error)
        except Exception as error:  # of one directory: the others are copied all the same
            return f"{type(error).__name__}: {error}: a fault of fttcp, or the disk of state_dir"
        return None

    async def _end(self, there: AgentLine, report: Report) -> None:
        """Tell the other node how it went, and clean up. Raises ProgramError, TreeError."""
        own = self._pair.own_name
        await there.ask("end", report=to_builtins(structs.replace(report, peer=own)))
        await asyncio.to_thread(self._pair.directory.end, own, report.error is None)

    def _told(self, report: Report, error: str | None, at: str, began: float) -> Report:
        done, self._done = self._done, _Done()
        return structs.replace(
            report,
            error=error,
            good_at=at if error is None else report.good_at,
            took_s=round(time.monotonic() - began, 3),
            files=report.files + done.files,
            bytes=report.bytes + done.bytes,
            removed=report.removed + done.removed,
            conflicts=report.conflicts + done.conflicts,
        )

    async def _copy(self, there: AgentLine) -> None:
        section, own, peer = self._pair.section, self._pair.own_name, self._pair.peer
        directory = self._pair.directory
        await asyncio.to_thread(directory.begin, own)
        their_place, their_exclude, theirs = await there.begin(own, section.exclude)
        directory = directory.and_excluding(their_exclude)
        ours = await asyncio.to_thread(directory.listed)
        places = [section.directory, their_place]
        base = await asyncio.to_thread(self._records.base, section.name, peer.name, places)
        self._refuse_empty(bool(base), ours, theirs)
        primary, master = await self._master()
        plan = decide(base, ours, theirs, master)

        async def remember(ours: Tree, theirs: Tree) -> None:
            known = next_base(base, ours, theirs)
            await asyncio.to_thread(self._records.keep_base, section.name, peer.name, places, known)

        try:
            if not plan.empty:
                await self._carry_out(plan, there, ours, theirs, their_place)
                ours, theirs = await asyncio.to_thread(directory.listed), await there.tree()
        except BaseException:
            with suppress(TreeError, ProgramError, OSError):  # what has ended the copy is told
                async with asyncio.timeout(_REMEMBER_S):
                    await remember(await asyncio.to_thread(directory.listed), await there.tree())
            raise
        await remember(ours, theirs)
        if plan.clashes:
            clash = plan.clashes[0]
            raise RefusedError(
                f"{clash}: a directory on one node only: remove one ({len(plan.clashes)} such)"
            )

        if plan.left and primary is None:
            raise RefusedError(
                f"{plan.left[0]}: on one node only ({len(plan.left)} such), and no daemon says "
                f"who is primary of {section.master_of}: start it; or copy or delete it yourself"
            )

    async def _master(self) -> tuple[str | None, str | None]:
        """Return who is primary, and what `decide` calls it."""
        section, group = self._pair.section, self._pair.section.master_of
        if group is None:
            return None, None
        primary = await self._primary_of(group)
        third = "elsewhere" if primary is None or section.copied_to(primary) else None
        return primary, {self._pair.own_name: "here", self._pair.peer.name: "there"}.get(primary or "", third)

    def _refuse_empty(self, known: bool, ours: Tree, theirs: Tree) -> None:
        """An empty directory is rather a disk that is not mounted. Raises RefusedError."""
        section, own, peer = self._pair.section, self._pair.own_name, self._pair.peer.name
        if known and bool(ours) != bool(theirs):
            raise RefusedError(
                f"{section.name} is empty on {peer if ours else own} only: nothing is copied. Mount it; "
                "or, if that is meant, delete on the other node as well; or, to fill it again, remove "
                f"{self._records.base_file(section.name, peer)} on {own}"
            )

    async def _carry_out(self, plan: Plan, there: AgentLine, ours: Tree, theirs: Tree, place: str) -> None:
        section, own, peer = self._pair.section, self._pair.own_name, self._pair.peer
        directory = self._pair.directory
        kept = await asyncio.to_thread(directory.keep, plan.keep_here, own, ours)
        if plan.keep_there:
            kept += (await there.ask("keep", paths=plan.keep_there)).kept
        self._count(conflicts=len(kept))
        self._count(removed=await asyncio.to_thread(directory.remove, plan.remove_here, ours))
        if plan.remove_there:
            self._count(removed=(await there.ask("remove", paths=plan.remove_there)).removed)
        host = f"[{peer.host}]" if ":" in peer.host else peer.host
        here, away = section.directory, f"{host}:{place}"
        room = directory.temporary(own).name
        failed = []
        for source, target, at, paths in ((away, here, here, plan.pull), (here, away, place, plan.push)):
            try:
                self._moved(await rsync(section, source, target, f"{at}/{room}", paths))
            except PartialError as error:
                failed.append(str(error))
        if failed:
            raise ProgramError("; ".join(failed))

    def _moved(self, moved: Moved) -> None:
        self._count(files=moved.files, bytes=moved.bytes)

    def _count(self, **more: Any) -> None:
        now = self._done
        self._done = replace(now, **{name: getattr(now, name) + number for name, number in more.items()})
