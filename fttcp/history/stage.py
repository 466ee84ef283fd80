"""A network of its own for a server that a history is played to: it has the addresses of service and
clients, and leads nowhere. So the server sees what it saw then, and nothing of this host is touched."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from fttcp.history.player import PlayError

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_TAIL = 2048


def enter_own_network(addresses: Iterable[str]) -> None:
    """Leave the host's network, for good; the addresses are on the loopback. Raises PlayError."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_NET if uid == 0 else _NEW_NET | _NEW_USER) != 0:
        why = os.strerror(ctypes.get_errno())
        raise PlayError(f"no network of its own for the server ({why}): be root, or allow user namespaces")
    if uid != 0:  # root in there, which may have low ports
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    lines = ["link set lo up", *(f"address add {one} dev lo" for one in sorted(set(addresses)))]
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode(), capture_output=True)
    if done.returncode:
        raise PlayError(f"addresses: {done.stderr.decode(errors='replace').strip()}")


class Server:
    """A running command, with all that it starts."""

    def __init__(self, process: subprocess.Popen[bytes], said: BinaryIO) -> None:
        self._process, self._said = process, said

    def why_not(self) -> str:
        """Say why it does not live; empty: it does."""
        status = self._process.poll()
        if status is None:
            return ""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - _TAIL))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"the server ended with {how}" + (f": {lines[-1].strip()[:200]}" if lines else "")


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """Run a command in the foreground until this is left; it ends with us. Raises PlayError."""
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            raise PlayError(f"setpriv: {error.strerror}") from error
        try:
            yield Server(process, said)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
