"""Keeps the history of a group's server on disk: a file for each life of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fttcp import __version__
from fttcp.config import GroupSection
from fttcp.history.head import Head, build_of
from fttcp.ownership.model import NS_PER_MS
from fttcp.planes.base import Engine
from fttcp.planes.error import EngineError
from fttcp.planes.recording import Fsync, HistoryFile, Keeping
from fttcp.server.verdict import Note

LIVES = 3
"""Files that are kept of a group: that of the present life, and those before."""
SUFFIX = ".history"
_PATIENCE_S = 2.0
"""So long a server waits for its file."""
_WORDS = {
    errno.ENOBUFS: "the disk is slower than the clients",
    errno.EFBIG: "it has come to its bound (limits.history_file_bytes)",
}


def keeping(section: GroupSection) -> Keeping:
    """Return how a group's files are to be kept."""
    fixed = {"batch": Fsync.BATCH, "never": Fsync.NEVER}.get(section.history_fsync)
    every = 0 if fixed is not None else int(section.history_fsync.removesuffix("ms")) * NS_PER_MS
    return Keeping(Fsync.EVERY if fixed is None else fixed, every, section.limits.history_file_bytes)


class Recorder:
    """Begins a file when a server does. Nothing of this waits for the disk in the loop."""

    def __init__(self, node: str, section: GroupSection, engine: Engine, note: Note) -> None:
        """``section`` has a directory for histories."""
        self._directory = Path(section.history_dir or "")
        self._node, self._group = node, section.name
        self._command = "; ".join(section.all_commands) or section.unit or section.pid_file or ""
        self._program = section.all_commands[0].split()[0] if section.all_commands else ""
        self._watched = not section.all_commands
        self._keeping = keeping(section)
        self._engine, self._note = engine, note
        self._pids: frozenset[int] = frozenset()
        self._file: HistoryFile | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self._resting = False
        """The file is that of a server which is still to be started."""
        self._closed = False

    async def before_start(self) -> None:
        """The first of the server's commands is about to start. A disk that hangs does not keep it from
        that: then its history begins late."""
        self._resting = False
        if not self._closed:
            await asyncio.wait([self._begin_life()], timeout=_PATIENCE_S)

    def server_rests(self, there: Callable[[], None]) -> bool:
        """A cold backup: what clients send goes into a file of its own until its server starts, however often
        it is told to rest. True: that is not open yet. ``there`` is called when it is, or does not come."""
        if self._closed:
            return False
        waits = self._resting and self._task is not None and not self._task.done()
        if self._resting and (waits or (self._file is not None and not self._file.why)):
            return waits
        self._resting = True
        self._begin_life().add_done_callback(lambda _: there())
        return True

    def server_known(self, pids: Sequence[int]) -> None:
        """These are the main processes of a server that somebody else starts. One that was not there before
        begins another life; what its clients said up to here is missing."""
        now = frozenset(pids)
        news, self._pids = bool(now - self._pids), now
        if news and self._watched and not self._closed:
            self._begin_life()

    def _begin_life(self) -> asyncio.Task[None]:
        self._task = asyncio.get_running_loop().create_task(self._begin(self._task))
        return self._task

    def look(self) -> None:
        """Tell people if the file has ended since this was asked last."""
        if self._file is not None and self._file.why and not self._trouble:
            self._fail(_WORDS.get(self._file.why) or os.strerror(self._file.why))

    def shown(self) -> dict[str, Any]:
        """As in ``status --json``."""
        self.look()
        file = self._file
        return {
            "file": None if file is None else str(file.path),
            "bytes": 0 if file is None else file.there,
            "trouble": self._trouble,
        }

    def close(self) -> None:
        """The engine is about to close. What waits is written behind this."""
        self._closed = True
        if self._file is not None:
            self._engine.record(None)
            asyncio.get_running_loop().run_in_executor(None, self._file.close, True)
            self._file = None

    async def _begin(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        try:
            file = await asyncio.to_thread(self._open)
        except (OSError, EngineError) as error:
            file = None
            self._fail(str(error))
        else:
            self._trouble = ""
        old, self._file = self._file, file
        if self._closed:
            self._file, old = None, file
        else:
            self._engine.record(file)
        if old is not None:
            await asyncio.to_thread(old.close, True)

    def _open(self) -> HistoryFile:
        """Blocks. Raises OSError, EngineError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        life, began_ns = secrets.token_bytes(16), time.time_ns()
        when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began_ns / 1e9))
        build = build_of(self._program) if self._program else ""
        head = Head(life, began_ns, self._group, self._node, __version__, build, self._command)
        path = self._directory / f"{self._group}-{when}-{life.hex()[:8]}{SUFFIX}"
        file = HistoryFile(path, head.encode(), self._keeping)
        for old in self._others(path)[LIVES - 1 :]:
            with contextlib.suppress(OSError):  # it stays; the next life tries again
                old.unlink()
        return file

    def _others(self, new: Path) -> list[Path]:
        """Files of this group's lives before, the youngest first. The clock may have been set back: ``new``
        is none of them."""
        name = re.compile(rf"{re.escape(self._group)}-\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}{re.escape(SUFFIX)}")
        found = (path for path in self._directory.iterdir() if name.fullmatch(path.name) and path != new)
        return sorted(found, reverse=True)

    def _fail(self, why: str) -> None:
        self._trouble = why
        self._note("history-ended", "warning", why=why)
