"""Memory, open files and listen queues of a server against their limits.

Reading is apart from judging; both are called in a thread, a busy host makes /proc slow.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fttcp.server import procfs
from fttcp.server.settings import HealthSection
from fttcp.server.sockets import Listener

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of something is used of how much. ``what`` is a phrase for people."""

    what: str
    used: float
    most: float

    @property
    def percent(self) -> float:
        """Of the limit."""
        return 100 * self.used / self.most if self.most else 0.0


def tightest(usages: Iterable[Usage]) -> Usage | None:
    """The one nearest to its limit."""
    return max(usages, key=lambda usage: usage.percent, default=None)


def memory(pids: Sequence[int], settings: HealthSection) -> list[Usage]:
    """Resident memory of all processes against our own limit, that of each against its rlimits, and what
    its cgroup uses against the cgroup's limit; in MiB."""
    found: list[Usage] = []
    resident = 0
    for pid in pids:
        used = procfs.status_bytes(pid, ("VmRSS", "VmSize", "VmData"))
        resident += used.get("VmRSS", 0)
        for key, name in (("VmSize", "Max address space"), ("VmData", "Max data size")):
            most = procfs.limit(pid, name)
            if most is not None and key in used:
                found.append(Usage(f"{name[4:]} of process {pid} (rlimit)", used[key] / MIB, most / MIB))
        cgroup = procfs.cgroup_memory(pid)
        if cgroup is not None:
            found.append(Usage(f"memory of the cgroup of process {pid}", cgroup[0] / MIB, cgroup[1] / MIB))
    if settings.memory_limit_mib is not None:
        found.append(Usage("resident memory (memory_limit_mib)", resident / MIB, settings.memory_limit_mib))
    return found


def files(pids: Iterable[int]) -> list[Usage]:
    """Open files of each process against its RLIMIT_NOFILE. One that has more open than that has locked
    itself in on purpose, as OpenSSH's does before a login: it lacks nothing."""
    found: list[Usage] = []
    for pid in pids:
        most = procfs.limit(pid, "Max open files")
        try:
            used = procfs.open_files(pid)
        except PermissionError:
            continue
        if most and used <= most != resource.RLIM_INFINITY:
            found.append(Usage(f"open files of process {pid}", used, most))
    return found


class Backlog:
    """Watches listen queues: full ones, for how long."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._full: dict[int, float] = {}

    def configure(self, after_s: float) -> None:
        """Judge by this from now on; what was seen stays seen."""
        self._after_s = after_s

    def judge(self, listeners: Iterable[Listener], now_s: float) -> str | None:
        """Return what is wrong: a queue that was found full for ``after_s`` without a gap."""
        full = {one.inode: one for one in listeners if one.proto == "tcp" and one.waiting > one.backlog > 0}
        self._full = {inode: self._full.get(inode, now_s) for inode in full}
        for inode, one in full.items():
            since_s = now_s - self._full[inode]
            if since_s >= self._after_s:
                return (
                    f"the listen queue of port {one.port} has been full for {since_s:.1f} s "
                    f"({one.waiting} wait, backlog {one.backlog}): the server does not accept fast enough"
                )
        return None


def listen_overflows(netstat: Path = Path("/proc/self/net/netstat")) -> int:
    """TcpExtListenOverflows of this network namespace: connections refused because a queue was full."""
    rows = [line.split() for line in netstat.read_text(encoding="ascii").splitlines()]
    names, values = (row for row in rows if row[0] == "TcpExt:")
    return int(values[names.index("ListenOverflows")])
