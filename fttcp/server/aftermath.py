"""Ends what a killed daemon has left of its servers, also what they have forked.

The kernel can end or stop the process that the daemon has started, and no other one (PR_SET_PDEATHSIG). So a
small process of its own outlives the daemon. It is told which servers run, and notices the daemon's end by
the end of a pipe. The servers' leading processes stand still from that moment on, with their children still
theirs, and so all are found. If it was killed, too, the next start of the daemon, or `cleanup`, does the same
from the record in the run directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from fttcp.server.launch import LaunchError, carriers, kill_all
from fttcp.server.procfs import family, process_stat, session_members

MARK = "FTTCP_GUARDIAN"
Row = tuple[int, int, str]
"""Of a launched server: pid and start of its leading process (0 before it runs), and its number."""
_SCRIPT = """
trap '' HUP INT QUIT TERM
while read -r line; do last=$line; done
exec "$0" -m fttcp.server.aftermath "${last:-[]}"
"""
"""A shell takes a tenth of Python's memory while it waits."""


class Executor:
    """The process that outlives us, of one group's servers."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def tell(self, rows: Iterable[Row]) -> None:
        """These are the servers from now on. Raises LaunchError."""
        line = json.dumps(list(rows)).encode() + b"\n"
        for _ in range(2):
            process = self._process or self._begin()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError, BlockingIOError):  # it was killed, or stopped
                if os.write(process.stdin.fileno(), line) == len(line):
                    return
            self.end()
        raise LaunchError("the process that is to end servers after a kill of the daemon ends at once")

    def _begin(self) -> subprocess.Popen[bytes]:
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, sys.executable],
                env={MARK: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                cwd="/",
                start_new_session=True,  # signals to the daemon's group or terminal do not reach it
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
        except OSError as error:
            raise LaunchError(f"/bin/sh: cannot be started: {error.strerror}") from error
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        return self._process

    def end(self) -> None:
        """Nobody is left to be ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None


def end_left(rows: Iterable[Row]) -> int:
    """End all that is left of these launches; return how many of them had left something."""
    return sum(kill_all(partial(_left, *row)) for row in rows)


def kill_leftovers(record: Path) -> int:
    """The same for what the record of a killed daemon tells of, which is removed. Raises OSError for a file
    that is not a record."""
    if not record.exists():
        return 0
    try:
        rows = [(int(pid), int(ticks), str(number)) for pid, ticks, number in json.loads(record.read_bytes())]
    except (ValueError, TypeError) as error:
        why = f"{record}: not a record of servers ({error}): end what is left of them, then remove the file"
        raise OSError(why) from error
    killed = end_left(rows)
    record.unlink()
    return killed


def _left(pid: int, start_ticks: int, number: str) -> list[int]:
    """What lives of a launch. Nobody gets the leader's pid while a member of its session lives."""
    found = set(carriers(number))
    leader = process_stat(pid) if pid else None
    if leader is None or leader.start_ticks == start_ticks:
        found.update(session_members(pid) if pid else ())
    stats = ((one, process_stat(one)) for one in family(found))
    return [one for one, stat in stats if stat is not None and stat.state not in "ZX"]


if __name__ == "__main__":
    end_left((pid, ticks, number) for pid, ticks, number in json.loads(sys.argv[1]))
