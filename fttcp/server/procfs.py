"""What /proc tells about processes: their state, family, threads, files and memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """``state``: one letter as in proc(5); ``start_ticks``: tells a process from a later one with its pid."""

    name: str
    state: str
    parent: int
    pgrp: int
    session: int
    start_ticks: int


def process_stat(pid: int, proc: Path = PROC) -> ProcessStat | None:
    """Return what /proc/PID/stat says, or None if there is no such process."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    numbers = (int(fields[at]) for at in (1, 2, 3, 19))
    return ProcessStat(head.partition("(")[2], fields[0], *numbers)


def processes(proc: Path = PROC) -> Iterator[int]:
    """Every pid."""
    return (int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())


def session_members(session: int) -> list[int]:
    """Return the pids of a session's living members."""
    stats = ((pid, process_stat(pid)) for pid in processes())
    ours = ((pid, stat.state) for pid, stat in stats if stat is not None and stat.session == session)
    return [pid for pid, state in ours if state not in "ZX"]


def family(leaders: Iterable[int], proc: Path = PROC) -> list[int]:
    """The given processes and all that descend from them and still have them as ancestors."""
    return list(tree(leaders, proc))


def tree(leaders: Iterable[int], proc: Path = PROC) -> dict[int, list[int]]:
    """The same, with the children of each."""
    found: dict[int, list[int]] = {}
    waiting = list(leaders)
    while waiting:
        pid = waiting.pop()
        if pid in found:
            continue
        found[pid] = _children(pid, proc)
        waiting += found[pid]
    return found


def _children(pid: int, proc: Path) -> list[int]:
    """The children of all threads: there may be thousands, and most have none."""
    found: list[int] = []
    try:
        tasks = os.open(proc / str(pid) / "task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return found
    try:
        with os.scandir(tasks) as entries:
            for entry in entries:
                found += map(int, _read_at(tasks, f"{entry.name}/children").split())
    except OSError:  # it has ended meanwhile
        pass
    finally:
        os.close(tasks)
    return found


def _read_at(directory: int, name: str) -> bytes:
    """All of a file below an open directory; empty if it is gone. At a third of the cost of ``_read``."""
    text = b""
    try:
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        try:
            while part := os.read(file, 1 << 16):
                text += part
        finally:
            os.close(file)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return text


def threads(pid: int, proc: Path = PROC) -> list[Path]:
    """The directories of a process's threads; empty when it has ended."""
    directory = proc / str(pid) / "task"
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def sockets_of(pid: int, proc: Path = PROC) -> set[int] | None:
    """The inodes of a process's sockets; None if we may not look."""
    directory = proc / str(pid) / "fd"
    inodes: set[int] = set()
    try:
        for entry in directory.iterdir():
            match = _SOCKET.fullmatch(_link(entry))
            if match:
                inodes.add(int(match[1]))
    except PermissionError:
        return None
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return inodes


_SOCKET = re.compile(r"socket:\[(\d+)\]")


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def open_files(pid: int, proc: Path = PROC) -> int:
    """The number of a process's open files. Raises PermissionError."""
    directory = proc / str(pid) / "fd"
    try:
        return directory.stat().st_size or sum(1 for _ in directory.iterdir())  # size: since Linux 6.2
    except (FileNotFoundError, ProcessLookupError):
        return 0


def limit(pid: int, name: str, proc: Path = PROC) -> int | None:
    """The soft limit of this name in /proc/PID/limits (`Max open files`); None when unlimited or gone."""
    for line in _read(proc / str(pid) / "limits").splitlines():
        if line.startswith(name):
            soft = line[len(name) :].split()[0]
            return None if soft == "unlimited" else int(soft)
    return None


def status_bytes(pid: int, keys: Iterable[str], proc: Path = PROC) -> dict[str, int]:
    """Values of /proc/PID/status that are given in kB (`VmRSS`, `VmSize`, `VmData`), in bytes."""
    wanted = set(keys)
    rows = (line.split() for line in _read(proc / str(pid) / "status").splitlines())
    return {row[0][:-1]: int(row[1]) * 1024 for row in rows if row and row[0][:-1] in wanted}


def host_available_bytes(proc: Path = PROC) -> int:
    """MemAvailable of /proc/meminfo."""
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")


def cgroup_memory(pid: int, proc: Path = PROC, root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int] | None:
    """(bytes used, limit in bytes) of the tightest memory cgroup above the process; None without a limit.

    Version 2: memory.current and memory.max; version 1: memory.usage_in_bytes and memory.limit_in_bytes.
    """
    for line in _read(proc / str(pid) / "cgroup").splitlines():
        number, names, path = line.split(":", 2)
        if number == "0":
            base, files = root, ("memory.current", "memory.max")
        elif "memory" in names.split(","):
            base, files = root / "memory", ("memory.usage_in_bytes", "memory.limit_in_bytes")
        else:
            continue
        found = _tightest(base, base / path.lstrip("/"), files)
        if found is not None:
            return found
    return None


def _tightest(base: Path, directory: Path, files: tuple[str, str]) -> tuple[int, int] | None:
    best: tuple[int, int] | None = None
    while True:
        used, most = (_read(directory / name).strip() for name in files)
        if used.isdecimal() and most.isdecimal() and int(most) < 2**60:
            room = int(most) - int(used)
            if best is None or room < best[1] - best[0]:
                best = (int(used), int(most))
        if directory == base or base not in directory.parents:
            return best
        directory = directory.parent
