"""What /proc tells about processes and listening sockets of this network namespace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """``state``: one letter as in proc(5); ``start_ticks``: tells a process from a later one with its pid."""

    state: str
    pgrp: int
    start_ticks: int


def process_stat(pid: int) -> ProcessStat | None:
    """Return what /proc/PID/stat says, or None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return ProcessStat(fields[0], int(fields[2]), int(fields[19]))


def group_members(pgrp: int) -> list[int]:
    """Return the pids of a process group's living members."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    stats = ((pid, process_stat(pid)) for pid in pids)
    return [pid for pid, stat in stats if stat is not None and stat.pgrp == pgrp and stat.state not in "ZX"]


def not_listening(ports: Iterable[tuple[int, str]]) -> list[str]:
    """Return those of the ports (number, "tcp" or "udp"), as ``80/tcp``, on which nobody listens."""
    wanted = set(ports)
    open_ports = {
        (port, proto)
        for proto in {proto for _, proto in wanted}
        for family in ("", "6")
        for port in _open_ports(Path(f"/proc/net/{proto}{family}"), proto)
    }
    return [f"{port}/{proto}" for port, proto in sorted(wanted - open_ports)]


def _open_ports(table: Path, proto: str) -> set[int]:
    state = _TCP_LISTEN if proto == "tcp" else _UDP_UNCONNECTED
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except FileNotFoundError:  # a kernel without IPv6
        return set()
    rows = (line.split() for line in lines)
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == state}
