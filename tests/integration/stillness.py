"""Did the machine run its processes while a test went on?

Two nodes are judged by what they do in time. Where a process that only wanted to wake up got no processor
for a whole heartbeat, one node may have taken the other for dead, and clients may have given up: what was
seen then says little of fttcp. Such a failure is told, and the test is done again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

SLEEP_S = 0.005
STILL_MS = 20.0
"""A default heartbeat (`timing.heartbeat_ms`)."""


class MachineStoodStillError(Exception):
    """A test failed, and the machine had not run its processes meanwhile."""


class Watcher:
    """A process that sleeps for a moment again and again, and tells when it was woken late."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._told = self._process.stdout
        os.set_blocking(self._told.fileno(), False)
        self._rest = b""

    def worst_ms(self) -> float:
        """How late it was at most since the last call; 0.0 if never by a heartbeat."""
        said = self._rest + (self._told.read() or b"")
        *lines, self._rest = said.split(b"\n")
        return max(map(float, lines), default=0.0)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Watch until nobody listens any more."""
    parent, before = os.getppid(), time.monotonic()
    while os.getppid() == parent:
        time.sleep(SLEEP_S)
        now = time.monotonic()
        late_ms = 1000 * (now - before - SLEEP_S)
        if late_ms >= STILL_MS:
            print(f"{late_ms:.0f}", flush=True)
        before = now


if __name__ == "__main__":
    main()
