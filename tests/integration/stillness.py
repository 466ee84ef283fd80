"""Did the machine run its processes while a test went on?

Two nodes are judged by what they do in time. Where a process that only wanted to wake up got no processor
for a whole heartbeat, one node may have taken the other for dead, and clients may have given up: what was
seen then says little of fttcp. Such a failure is told, and the test is done again.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time

SLEEP_S = 0.005
STILL_MS = 20.0
"""A default heartbeat (`timing.heartbeat_ms`)."""


class MachineStoodStillError(Exception):
    """A test failed, and the machine had not run its processes meanwhile."""


class Watcher:
    """A process that sleeps for a moment again and again, and tells when it was woken late. It is nobody's
    child: tests look at those of this process."""

    def __init__(self) -> None:
        apart = ["sh", "-c", 'exec 3<&0; "$0" "$1" <&3 3<&- &', sys.executable, __file__]
        with subprocess.Popen(apart, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            self._ends = os.dup(process.stdin.fileno())
            self._told = os.fdopen(os.dup(process.stdout.fileno()), "rb", buffering=0)
        os.set_blocking(self._told.fileno(), False)
        self._rest = b""

    def worst_ms(self) -> float:
        """How late it was at most since the last call; 0.0 if never by a heartbeat."""
        said = self._rest
        while piece := self._told.read(4096):
            said += piece
        *lines, self._rest = said.split(b"\n")
        return max(map(float, lines), default=0.0)

    def close(self) -> None:
        """End it."""
        os.close(self._ends)
        self._told.close()


def main() -> None:
    """Watch until the standard input ends."""
    before = time.monotonic()
    while not select.select([sys.stdin], [], [], SLEEP_S)[0]:
        now = time.monotonic()
        late_ms = 1000 * (now - before - SLEEP_S)
        if late_ms >= STILL_MS:
            print(f"{late_ms:.0f}", flush=True)
        before = now


if __name__ == "__main__":
    main()
