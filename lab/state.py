"""What a lab is made of, on disk: the directory, the record of its processes, and the lock.

Everything is recorded here before it can outlive its maker, so that ``down`` can remove a lab whose
``up`` was killed at any moment.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from lab.errors import LabError


def _place() -> Path:
    """Where labs are: root's in /run, others' in a directory of their own. Servers of any user reach it in
    the hosts, where /run is another one."""
    uid = os.geteuid()
    if uid == 0:
        return Path("/run/fttcp-lab")
    own = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if own.is_relative_to("/run") and own.is_dir() and own.stat().st_uid == uid:
        return own / "fttcp-lab"
    return Path(f"/tmp/fttcp-lab-{uid}")


PLACE = "FTTCP_LABS"
"""In the environment of those who have become root: where their labs are all the same."""
LABS = Path(os.environ.get(PLACE) or _place())
NAME_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True)
class ProcessId:
    """One process, once and for all: its pid in the machine's pid namespace, and its start time in clock
    ticks.

    The start time makes sure that a recycled pid is never taken for the process that is meant.
    """

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Identify the process `pid`; raises LabError when there is none."""
        process = cls.find(pid)
        if process is None:
            raise LabError(f"process {pid}: it ended before it could be recorded")
        return process

    @classmethod
    def find(cls, pid: int) -> ProcessId | None:
        """Identify the process `pid`, None when there is none."""
        stat = _stat(pid)
        return None if stat is None else cls(pid, int(stat[19]))

    def parent(self) -> int | None:
        """The parent's pid; None when the process is no more."""
        stat = self._own_stat()
        return int(stat[1]) if stat else None

    def group(self) -> int | None:
        """The process group, as a pid of the machine's namespace; None when the process is no more."""
        stat = self._own_stat()
        return int(stat[2]) if stat else None

    def state(self) -> str | None:
        """One letter as in /proc/PID/stat (R, S, T, Z, ...), None when the process is no more."""
        stat = self._own_stat()
        return stat[0] if stat else None

    def alive(self) -> bool:
        """Whether the process exists and has not ended (a zombie has)."""
        return self.state() not in (None, "Z", "X")

    def signal(self, number: int) -> bool:
        """Send signal `number`; False when the process is no more."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if self.state() is None:
                return False
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True

    def _own_stat(self) -> list[str] | None:
        stat = _stat(self.pid)
        return stat if stat is not None and int(stat[19]) == self.start else None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on, None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


@dataclass
class HostRecord:
    """The processes of one host that the lab started: its init, and its daemon (`node`) if it runs one."""

    init: ProcessId
    node: ProcessId | None = None


@dataclass
class LabState:
    """The record of one lab: what it was asked for, and what exists of it."""

    name: str
    serve: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    bare: bool = False
    arbiter: str = "none"
    nodes: list[str] = field(default_factory=list)
    hosts: dict[str, HostRecord] = field(default_factory=dict)
    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What links are like, by link and sender: see lab.links."""
    segments: list[dict[str, Any]] = field(default_factory=list)
    """See lab.segments."""

    def save(self) -> None:
        """Write the record; the file is whole at any instant (written aside, then renamed)."""
        aside = directory(self.name) / "lab.json.new"
        aside.write_text(json.dumps(asdict(self), indent=2) + "\n")
        aside.rename(directory(self.name) / "lab.json")

    @classmethod
    def load(cls, name: str) -> LabState:
        """Read the record of lab `name`; raises LabError when there is no such lab."""
        try:
            raw = json.loads((directory(name) / "lab.json").read_text())
        except FileNotFoundError:
            raise LabError(
                f"lab {name!r}: it is not up ({directory(name)} has no lab.json); "
                f"start it with: fttcp lab up --name {name}"
            ) from None
        hosts = {
            host: HostRecord(
                init=ProcessId(**record["init"]),
                node=ProcessId(**record["node"]) if record["node"] else None,
            )
            for host, record in raw["hosts"].items()
        }
        return cls(**{**raw, "hosts": hosts})


def directory(name: str) -> Path:
    """The directory of lab `name`; raises LabError for a name that cannot be one."""
    if not NAME_RULE.fullmatch(name):
        raise LabError(
            f"lab name {name!r}: not usable; allowed are 1 to 32 of A-Z a-z 0-9 _ -, not starting with _ or -"
        )
    return LABS / name


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of lab `name` while something of it is made or removed; waits for its turn.

    The lock is the kernel's (flock), so it ends with its holder, however that ends. Its file goes with the
    lab.
    """
    home = directory(name)
    path = LABS / f"{name}.lock"
    with _acquire(path):
        try:
            yield
        finally:
            if not home.exists():
                path.unlink()


def _acquire(path: Path) -> TextIO:
    """Open and lock the file `path`; one that was removed while we waited is no lock: try again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = path.open("w")
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle.fileno()).st_nlink:
            return handle
        handle.close()
