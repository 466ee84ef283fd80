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
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fttcp.datapath.rules import RulesError

_MARK = "FTTCP_GUARDIAN"
_SOCKETS = Path("/proc/thread-self/net/netlink")
_END_S = 5.0


class Guardian:
    """The process of this daemon."""

    def __init__(self, fd: int) -> None:
        """``fd``: the socket."""
        self._fd = fd
        self._process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """See to it that the process is there. Raises RulesError."""
        if self._process is not None and self._process.poll() is None:
            return
        sleep = shutil.which("sleep")
        if sleep is None:
            raise RulesError("sleep is not installed: apt-get install coreutils")
        self._process = subprocess.Popen(
            [sleep, "infinity"],
            pass_fds=[self._fd],
            env={_MARK: "1"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self) -> None:
        """End it, if it is there."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def end_of(port: int) -> bool:
    """End the process that a killed daemon has left as owner of what the netlink socket of that port owns.
    False if a daemon lives that holds it, or nobody of ours does."""
    holders = list(_holders(port))
    if not holders or not all(map(_is_guardian, holders)):
        return False
    for pid in holders:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], _END_S)
            finally:
                os.close(handle)
    return True


def _holders(port: int) -> Iterator[int]:
    """The processes that have the socket of netfilter's netlink with that port open, in this namespace."""
    inodes = {
        fields[9]
        for fields in (line.split() for line in _SOCKETS.read_text().splitlines()[1:])
        if fields[1] == "12" and int(fields[2]) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        if any(_target(entry) in wanted for entry in process.glob("fd/*")):
            yield int(process.name)


def _target(link: Path) -> str:
    with suppress(OSError):  # it is gone meanwhile
        return str(link.readlink())
    return ""


def _is_guardian(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().startswith(f"{_MARK}=".encode())
    return True  # it has ended
