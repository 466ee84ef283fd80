"""The daemon's own files in its run directory: what a cleaner of temporary files has removed is made again.

Without them no command finds the daemon, and after a kill nobody knows what to undo. The kernel tells
by inotify.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from fttcp.face.frontend import Frontend
from fttcp.group.group import GroupRuntime
from fttcp.network.network import NetworkSetup
from fttcp.network.record import RECORD
from fttcp.node.rundir import PID_FILE, Lock
from fttcp.report.events import History
from fttcp.server.process import RECORD as SERVERS_RECORD

_IN_MOVED_FROM, _IN_DELETE, _IN_DELETE_SELF, _IN_MOVE_SELF = 0x40, 0x200, 0x400, 0x800
_GONE = _IN_MOVED_FROM | _IN_DELETE | _IN_DELETE_SELF | _IN_MOVE_SELF
_IN_ONLYDIR = 0x01000000
_READ_MAX = 1 << 16
_COLLECTED_S = 0.02
_AGAIN_S = 5.0
"""A cleaner removes one after the other."""

Restore = Callable[[], Awaitable[bool]]
"""Makes some file again if it is gone, and says whether it was."""


def own_files(
    lock: Lock, socket: Path, frontend: Frontend, network: NetworkSetup, groups: Mapping[str, GroupRuntime]
) -> list[tuple[str, Restore]]:
    """Return what there must be in the run directory, and what makes it again."""

    async def pid_file() -> bool:
        return lock.restore()

    async def network_record() -> bool:
        return await network.restore_record()

    async def servers() -> bool:
        health = [group.server for group in groups.values() if group.server is not None]
        restored = [one.restore_record() for one in health]
        return any(restored)

    return [
        (PID_FILE, pid_file),
        (socket.name, frontend.restore_socket),
        (RECORD, network_record),
        (SERVERS_RECORD, servers),
    ]


class OwnFiles:
    """Watches one directory in the running loop."""

    def __init__(self, directory: Path, restore: Sequence[tuple[str, Restore]], history: History) -> None:
        """``restore``: what there must be in it, by name, in the order of making. Raises OSError."""
        self._directory, self._restore, self._history = directory, restore, history
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._called(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._news = asyncio.Event()
        self._watch()
        asyncio.get_running_loop().add_reader(self._fd, self._hear)

    def _called(self, result: int) -> int:
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"{os.strerror(error)} (inotify)", str(self._directory))
        return result

    def _watch(self) -> None:
        """Watching a directory that is watched changes nothing."""
        path = os.fsencode(self._directory)
        self._called(self._libc.inotify_add_watch(self._fd, path, _GONE | _IN_ONLYDIR))

    def close(self) -> None:
        """Watch no more."""
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _hear(self) -> None:
        os.read(self._fd, _READ_MAX)
        self._news.set()

    async def keep(self) -> None:
        """Go on until this is cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(_COLLECTED_S)
            self._news.clear()
            try:
                await self._look()
            except Exception as error:  # whatever it is, the node goes on, and tries again
                why = f"{self._directory}: {type(error).__name__}: {error}"
                self._history.add("background-failed", "error", why=why)
                asyncio.get_running_loop().call_later(_AGAIN_S, self._news.set)

    async def _look(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._watch()  # before the look: what goes from now on is told
        gone = [name for name, restore in self._restore if await restore()]
        if gone:
            self._history.add("run-dir-restored", "warning", directory=str(self._directory), files=gone)
