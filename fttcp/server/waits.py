"""What a thread waits for, told from /proc/PID/task/TID/{stat,syscall,schedstat}.

A thread that waits for another one, without a time limit, is woken by nobody but its own process: when all
are like that, nothing will ever happen again. Whoever waits for input, for time, or for room to write is
not stuck.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fttcp.server.procfs import PROC, process_stat, threads


class Doing(StrEnum):
    """What a thread does."""

    RUNNING = "running"
    STOPPED = "stopped"
    DISK = "in uninterruptible sleep"
    LOCKED = "waiting for another thread or process"
    SLEEPING = "sleeping for a time"
    WRITING = "writing"
    WAITING = "waiting for input or events"
    UNKNOWN = "unknown"


# System calls by what they wait for; numbers of arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h (arm64).
_NUMBERS: dict[str, dict[Doing, frozenset[int]]] = {
    "x86_64": {
        Doing.LOCKED: frozenset({61, 247}),
        Doing.SLEEPING: frozenset({35, 219, 230}),
        Doing.WRITING: frozenset({1, 18, 20, 40, 44, 46, 275, 276, 278, 307, 328}),
    },
    "aarch64": {
        Doing.LOCKED: frozenset({95, 260}),
        Doing.SLEEPING: frozenset({101, 115, 128}),
        Doing.WRITING: frozenset({64, 66, 68, 71, 75, 76, 77, 206, 211, 269, 287}),
    },
}
_FUTEX = {"x86_64": 202, "aarch64": 98}
_FUTEX_WAITS = (0, 6, 9, 11, 13)  # WAIT, LOCK_PI, WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2
_FUTEX_COMMAND, _FUTEX_PRIVATE = 0x7F, 0x80
_MACHINE = platform.machine()


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread at one moment. While ``trace`` stays the same, it has not run."""

    tid: int
    doing: Doing
    trace: str
    cpu_ns: int


def classify(
    state: str, call: str, machine: str = _MACHINE, is_shared: Callable[[int], bool] = lambda address: False
) -> Doing:
    """Say what a thread does: ``state`` as in proc(5), ``call`` the text of its syscall file. ``is_shared``:
    does an address belong to memory that other processes may have? Their locks are none of ours."""
    if state in "Tt":
        return Doing.STOPPED
    if state == "D":
        return Doing.DISK
    words = call.split()
    if state == "R" or words[:1] == ["running"]:
        return Doing.RUNNING
    if len(words) < 7 or not words[0].isdecimal() or machine not in _NUMBERS:
        return Doing.UNKNOWN
    number, arguments = int(words[0]), [int(word, 16) for word in words[1:7]]
    if number == _FUTEX[machine]:
        if arguments[1] & _FUTEX_COMMAND not in _FUTEX_WAITS:
            return Doing.RUNNING
        if arguments[3]:
            return Doing.SLEEPING
        foreign = not arguments[1] & _FUTEX_PRIVATE and is_shared(arguments[0])
        return Doing.WAITING if foreign else Doing.LOCKED
    for doing, numbers in _NUMBERS[machine].items():
        if number in numbers:
            return doing
    return Doing.WAITING


def awake(pid: int, first: int, proc: Path = PROC) -> int | None:
    """A thread of a process that does not wait for another one, to be looked at ``first`` the next time; None
    if all do: then it may be deadlocked. One that has ended, or may not be looked at, is not."""
    locked = False
    for tid in _from(first, pid, proc):
        try:
            call = (proc / str(pid) / "task" / str(tid) / "syscall").read_text(encoding="ascii")
        except PermissionError:
            raise
        except OSError:  # it has ended; or a kernel without CONFIG_HAVE_ARCH_TRACEHOOK
            continue
        if classify("S", call) is not Doing.LOCKED:
            return tid
        locked = True
    return None if locked else first


def _from(first: int, pid: int, proc: Path) -> Iterator[int]:
    """One thread, then all; these are asked for when they are needed."""
    yield first
    yield from (int(directory.name) for directory in threads(pid, proc))


def look(pid: int, proc: Path = PROC) -> list[Thread] | None:
    """All threads of a process; None if we may not look (that needs CAP_SYS_PTRACE)."""
    found: list[Thread] = []

    def shared(address: int) -> bool:
        return _in_shared_memory(proc / str(pid) / "maps", address)

    for directory in threads(pid, proc):
        tid = int(directory.name)
        stat = process_stat(tid, directory.parent)
        if stat is None or stat.state in "ZX":
            continue
        try:
            call = (directory / "syscall").read_text(encoding="ascii").strip()
        except PermissionError:
            return None
        except OSError:  # it has ended; or a kernel without CONFIG_HAVE_ARCH_TRACEHOOK
            call = ""
        ran = _schedstat(directory)
        found.append(
            Thread(tid, classify(stat.state, call, is_shared=shared), f"{stat.state} {call} {ran}", ran[0])
        )
    return found


def _in_shared_memory(maps: Path, address: int) -> bool:
    """pthread_join waits on a futex that is not marked as private, but lies in memory that is."""
    try:
        lines = maps.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # it has ended, or is not ours to look at: then nothing is concluded
        return True
    for line in lines:
        span, permissions = line.split(maxsplit=2)[:2]
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= address < last:
            return permissions[3] == "s"
    return True


def _schedstat(directory: Path) -> tuple[int, int]:
    """Nanoseconds on a processor, and how often it got one (Documentation/scheduler/sched-stats.rst)."""
    try:
        words = (directory / "schedstat").read_text(encoding="ascii").split()
        return int(words[0]), int(words[2])
    except FileNotFoundError:  # it has ended, or CONFIG_SCHED_INFO is off: count in ticks
        return _ticks(directory) * (1_000_000_000 // os.sysconf("SC_CLK_TCK")), 0
    except ProcessLookupError:
        return 0, 0


def _ticks(directory: Path) -> int:
    try:
        fields = (directory / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])
