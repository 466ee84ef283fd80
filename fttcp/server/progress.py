"""Does a server make progress? Judged from samples, pure: times are passed in, in seconds.

*Stopped*: a process of the server is in state T for ``hang_s``. *Hung*: input waits in a socket, nothing of
it is read, and every thread of every process that has the socket waits for another thread without a time
limit, for ``hang_s``. That is a deadlock; nothing outside ends it. *Stalled*: input waits for ``stall_s``
although no thread is stuck as such: a part of a server may hang like that, but a server that pauses on
purpose looks the same.

What is no sign of trouble: no input; a client that does not read what we write (unsent output, or a thread
in a write); any thread of the socket's owners that computes, for *hung*; for *stalled*, owners that use
more than a twentieth of a processor, or read from another connection meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fttcp.server.sockets import Connection
from fttcp.server.waits import Doing, Thread

_BUSY = 0.05
_PATIENCE = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment. ``unread``: None if the kernel was not asked. ``owners``: inode of a
    socket -> processes that have it open, and theirs. ``threads``: for those processes. ``stopped``: pids and
    names of processes in state T. ``family``: all processes of the server."""

    unread: Sequence[Connection] | None = ()
    owners: Mapping[int, frozenset[int]] = field(default_factory=dict)
    threads: Mapping[int, Sequence[Thread]] = field(default_factory=dict)
    stopped: Mapping[int, str] = field(default_factory=dict)
    family: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, in words. ``kind``: stopped, hung or stalled."""

    kind: str
    reason: str


@dataclass(slots=True)
class _Pending:
    """A connection whose input waits. ``since_s``: nothing was read since then."""

    since_s: float
    read_bytes: int


@dataclass(slots=True)
class _Rest:
    """A process whose threads are all stuck since ``since_s``, in exactly this way."""

    since_s: float
    trace: tuple[str, ...]


class Progress:
    """Keeps what earlier samples said."""

    def __init__(self, hang_s: float, stall_s: float) -> None:
        self._hang_s, self._stall_s = hang_s, stall_s
        self._pending: dict[bytes, _Pending] = {}
        self._rest: dict[int, _Rest] = {}
        self._stopped: dict[int, float] = {}
        self._deadlock = False
        self._cpu: dict[int, tuple[float, int]] = {}
        self._read: dict[int, float] = {}

    def configure(self, hang_s: float, stall_s: float) -> None:
        """Judge by these from now on; what was seen stays seen."""
        self._hang_s, self._stall_s = hang_s, stall_s

    @property
    def patience_s(self) -> float:
        """So often it is looked for a stall."""
        return self._stall_s / _PATIENCE

    @property
    def doubtful(self) -> bool:
        """True if something seen in the last sample is a hang if it lasts."""
        return bool(self._stopped) or self._deadlock

    def waiting(self, unread: Sequence[Connection]) -> bool:
        """True if a connection was already waiting, with the same input, at the last sample: then it is
        worth while to look at the threads as well."""
        return any(
            (known := self._pending.get(c.cookie)) is not None and known.read_bytes == c.read_bytes
            for c in unread
        )

    def judge(self, sample: Sample, now_s: float) -> Finding | None:
        """Take a sample in; return what is wrong, if anything. What is known of connections stays so when the
        kernel was not asked: one that has read no more since has had the same input all the time."""
        self._note_stopped(sample, now_s)
        for pid, since_s in self._stopped.items():
            if now_s - since_s >= self._hang_s:
                return Finding("stopped", f"process {pid} ({sample.stopped[pid]}) is stopped (state T)")
        if sample.unread is None:
            return None
        self._note_reads(sample.unread, sample, now_s)
        self._note_threads(sample, now_s)
        owners = [sample.owners.get(connection.inode) for connection in sample.unread]
        self._deadlock = any(pids and pids <= self._rest.keys() for pids in owners)
        for connection in sample.unread:
            finding = self._judge_connection(connection, sample, now_s)
            if finding is not None:
                return finding
        return None

    # ------------------------------------------------------------------ taking in

    def _note_stopped(self, sample: Sample, now_s: float) -> None:
        self._stopped = {pid: self._stopped.get(pid, now_s) for pid in sample.stopped}

    def _note_reads(self, unread: Sequence[Connection], sample: Sample, now_s: float) -> None:
        pending: dict[bytes, _Pending] = {}
        for connection in unread:
            known = self._pending.get(connection.cookie)
            if known is None or known.read_bytes != connection.read_bytes:
                self._owners_read(connection, sample, now_s)
                known = _Pending(now_s, connection.read_bytes)
            pending[connection.cookie] = known
        if self._pending.keys() - pending.keys():  # somebody has read all of one, or it was closed
            for pid in sample.threads:
                self._read[pid] = now_s
        self._pending = pending

    def _owners_read(self, connection: Connection, sample: Sample, now_s: float) -> None:
        for pid in sample.owners.get(connection.inode, ()):
            self._read[pid] = now_s

    def _note_threads(self, sample: Sample, now_s: float) -> None:
        rest: dict[int, _Rest] = {}
        cpu: dict[int, tuple[float, int]] = {}
        for pid, threads in sample.threads.items():
            used_ns = sum(thread.cpu_ns for thread in threads)
            cpu[pid] = self._cpu.get(pid, (now_s, used_ns))
            if threads and all(thread.doing is Doing.LOCKED for thread in threads):
                trace = tuple(sorted(f"{thread.tid} {thread.trace}" for thread in threads))
                known = self._rest.get(pid)
                rest[pid] = known if known is not None and known.trace == trace else _Rest(now_s, trace)
        self._rest, self._cpu = rest, cpu
        self._read = {pid: when_s for pid, when_s in self._read.items() if pid in sample.threads}

    # ------------------------------------------------------------------ judging

    def _judge_connection(self, connection: Connection, sample: Sample, now_s: float) -> Finding | None:
        owners = sample.owners.get(connection.inode, frozenset())
        waited_s = now_s - self._pending[connection.cookie].since_s
        if not owners or connection.unsent or waited_s < min(self._hang_s, self._stall_s):
            return None
        what = f"{connection.unread} bytes from {connection.peer} have waited {waited_s:.1f} s to be read"
        rests = [self._rest.get(pid) for pid in owners]
        if waited_s >= self._hang_s and all(
            r is not None and now_s - r.since_s >= self._hang_s for r in rests
        ):
            return Finding("hung", f"{what}, and {_doing(sample, owners)}")
        if waited_s >= self._stall_s and not any(self._works(pid, sample, now_s) for pid in owners):
            return Finding("stalled", f"{what}; {_doing(sample, owners)}")
        return None

    def _works(self, pid: int, sample: Sample, now_s: float) -> bool:
        """True if a process has been doing something in the last ``stall_s``, or is in a write."""
        threads = sample.threads.get(pid, ())
        if any(thread.doing is Doing.WRITING for thread in threads):
            return True
        if now_s - self._read.get(pid, -1e9) < self._stall_s:
            return True
        since_s, before_ns = self._cpu.get(pid, (now_s, 0))
        if now_s - since_s < self._stall_s:
            return True  # not watched for long enough
        used_ns = sum(thread.cpu_ns for thread in threads)
        if now_s - since_s >= 2 * self._stall_s:
            self._cpu[pid] = (now_s - self._stall_s, before_ns + (used_ns - before_ns) // 2)
        return used_ns - before_ns > _BUSY * 1e9 * (now_s - since_s)


def _doing(sample: Sample, owners: frozenset[int]) -> str:
    """`all 3 threads of process 7 are waiting for another thread or process`."""
    pid = min(owners)
    threads = sample.threads.get(pid, ())
    kinds = sorted({thread.doing.value for thread in threads})
    who = (
        f"the thread of process {pid} is"
        if len(threads) == 1
        else f"the {len(threads)} threads of process {pid} are"
    )
    return f"{who} {', '.join(kinds) or 'not to be seen'}"
