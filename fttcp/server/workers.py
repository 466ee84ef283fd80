"""Sees a server's workers die: the processes that the main ones have forked.

Somebody else's children tell nobody but their parent how they ended, and that one waits for them at once. A
zombie shows it in /proc; the kernel remembers it for who holds a pidfd (Linux 6.15). Where neither can be
had nothing is concluded.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from fttcp.server.procfs import process_stat

MOST = 256
"""Pidfds; a server with more processes forks for each connection, and the newest are not looked after."""

_INFO_SIZE, _MASK, _EXIT_CODE_AT = 64, struct.Struct("=Q"), 60
"""Of struct pidfd_info: its mask comes first, exit_code last."""
_EXIT = 1 << 3
_GET_INFO = 3 << 30 | _INFO_SIZE << 16 | 0xFF << 8 | 11
_CRASHES = frozenset(
    {
        *(signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL),
        *(signal.SIGSYS, signal.SIGTRAP, signal.SIGXCPU, signal.SIGXFSZ),
    }
)
"""Other signals are how masters end their workers, and how clients do that leave (SIGPIPE)."""


class Workers:
    """The workers of one server, in the loop that it was made in."""

    def __init__(self, on_crash: Callable[[str], None]) -> None:
        """``on_crash`` is called in the loop, with what happened, for people."""
        self._on_crash = on_crash
        self._known: dict[int, tuple[int, str]] = {}
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """How many are looked after."""
        return len(self._known)

    def watch(self, pids: Iterable[int]) -> None:
        """Look after these, and those that were named before, until they end."""
        for pid in pids:
            if pid not in self._known and len(self._known) < MOST:
                self._add(pid)

    def _add(self, pid: int) -> None:
        try:
            handle = os.pidfd_open(pid)
        except OSError:  # it has ended, is a thread, or there is none to spare: the next look tries again
            return
        stat = process_stat(pid)
        self._known[pid] = handle, stat.name if stat else "?"
        self._loop.add_reader(handle, self._ended, pid)

    def _ended(self, pid: int) -> None:
        handle, name = self._known.pop(pid)
        self._loop.remove_reader(handle)
        status = exit_status(pid, handle)
        os.close(handle)
        if status is not None and os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number in _CRASHES:
                self._on_crash(f"process {pid} ({name}) was ended by {signal.Signals(number).name}")

    def forget(self) -> None:
        """Look after nobody."""
        for handle, _ in self._known.values():
            self._loop.remove_reader(handle)
            os.close(handle)
        self._known.clear()


def exit_status(pid: int, handle: int, proc: Path = Path("/proc")) -> int | None:
    """How a process that is nobody's we wait for has ended, as wait() tells it; None if nobody knows."""
    with contextlib.suppress(OSError):
        fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        if fields[0] in "ZX" and not _reaped(handle):
            return int(fields[49])
    info = bytearray(_INFO_SIZE)
    _MASK.pack_into(info, 0, _EXIT)
    with contextlib.suppress(OSError):
        fcntl.ioctl(handle, _GET_INFO, info)
        if _MASK.unpack_from(info)[0] & _EXIT:
            return int(struct.unpack_from("=i", info, _EXIT_CODE_AT)[0])
    return None


def _reaped(handle: int) -> bool:
    """Then its number may be somebody else's by now."""
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return True
    return False
