"""A process that does nothing but hold a socket open, so that what the socket owns outlives the daemon.

The owner of a table of nf_tables is a socket, not a process. When the daemon is killed, its tables would be
anybody's to flush, while what it leaves in the kernel (connections that end, addresses that answer) is not
silent yet. The next daemon, or `fttcp cleanup`, ends the process.
"""

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from fttcp.network.rules import RulesError

_MARK = "FTTCP_GUARDIAN"
_SOCKETS = Path("/proc/thread-self/net/netlink")
_END_S, _LOOK_S = 5.0, 0.01


class Guardian:
    """The process of this daemon."""

    def __init__(self, fd: int) -> None:
        """``fd``: the socket."""
        self._fd = fd
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def keep(self) -> None:
        """See to it that the process is there, unless it was ended. Raises RulesError."""
        if self._ended or (self._process is not None and self._process.poll() is None):
            return
        sleep = shutil.which("sleep")
        if sleep is None:
            raise RulesError("sleep is not installed: apt-get install coreutils")
        self._process = subprocess.Popen(
            [sleep, "infinity"],
            pass_fds=[self._fd],
            env={_MARK: "1"},
            cwd="/",
            start_new_session=True,  # signals to the daemon's group or terminal do not reach it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self) -> None:
        """End it, if it is there, for good."""
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def end_of(port: int) -> bool:
    """End the process that a killed daemon has left as owner of what the netlink socket of that port owns.
    False if a daemon lives that holds it, or nobody of ours does."""
    holders = list(_holders(port))
    with ExitStack() as open_handles:
        handles: list[int] = []
        for pid in holders:
            with suppress(ProcessLookupError):  # it has ended
                handle = os.pidfd_open(pid)  # before the look: the number may be another process's later
                open_handles.callback(os.close, handle)
                if not _is_guardian(pid, handle):
                    return False
                handles.append(handle)
        for handle in handles:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        return bool(holders) and all(_ends(handle, _END_S) for handle in handles)


def is_left(port: int) -> bool:
    """Whether what the socket of that port owns is a killed daemon's: nobody has it open but a guardian."""
    holders = list(_holders(port))
    return bool(holders) and all(_environment(pid).startswith(f"{_MARK}=".encode()) for pid in holders)


def _holders(port: int) -> Iterator[int]:
    """The processes that have the socket of netfilter's netlink with that port open, in this namespace."""
    inodes = {
        fields[9]
        for fields in (line.split() for line in _SOCKETS.read_text().splitlines()[1:])
        if fields[1] == "12" and int(fields[2]) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        if _has_open(process, wanted):
            yield int(process.name)


def _has_open(process: Path, wanted: set[str]) -> bool:
    with suppress(OSError):  # it has ended meanwhile
        return any(_target(entry) in wanted for entry in process.glob("fd/*"))
    return False


def _target(link: Path) -> str:
    with suppress(OSError):  # it is gone meanwhile
        return str(link.readlink())
    return ""


def _is_guardian(pid: int, handle: int) -> bool:
    """Of a process that begins or ends nothing can be read, or it reads as empty: it is looked at until there
    is something, or it has ended. Raises OSError."""
    until_s = time.monotonic() + _END_S
    while not (environment := _environment(pid)):
        if _ends(handle, _LOOK_S):
            return True
        if time.monotonic() > until_s:
            return False
    return environment.startswith(f"{_MARK}=".encode())


def _environment(pid: int) -> bytes:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def _ends(handle: int, most_s: float) -> bool:
    """Wait for the end of the process. False if it does not."""
    return bool(select.select([handle], [], [], most_s)[0])
