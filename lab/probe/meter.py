"""Runs a command, and tells of what it prints as `fttcp lab client` tells of a connection.

python -m lab.probe.meter EXPECTED GAP_MS BUCKET_MS COMMAND...: the command is to print what the file EXPECTED
has; "": whatever it likes. JSON lines of type start, bucket, gap, lost, end. Exit status 1: a byte was wrong,
or not all came.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHUNK = 65_536


class Meter:
    """What has come, by the clock of the wall; times are in microseconds."""

    def __init__(self, gap_us: int, bucket_us: int) -> None:
        self._gap_us, self._bucket_us = gap_us, bucket_us
        self._ahead_ns = time.time_ns() - time.monotonic_ns()
        self._began_us = self._last_us = self._bucket_began_us = self._now_us()
        self._in_bucket = self._gaps = self._longest_us = self.received = 0
        self._tell("start", self._began_us, mode="recipe", connections=1)

    def _now_us(self) -> int:
        return (time.monotonic_ns() + self._ahead_ns) // 1000

    @staticmethod
    def _tell(what: str, at_us: int, **more: Any) -> None:
        print(json.dumps({"type": what, "time_us": at_us, **more}), flush=True)

    def left_s(self) -> float:
        """So long until a bucket is over."""
        return max(0, self._bucket_began_us + self._bucket_us - self._now_us()) / 1e6

    def take(self, size: int) -> None:
        """So much has come. The silence before the first of it is no gap: the command begins in it."""
        now_us = self._now_us()
        silence_us = now_us - self._last_us if self.received else 0
        self._longest_us = max(self._longest_us, silence_us)
        if silence_us >= self._gap_us:
            self._gaps += 1
            self._tell("gap", now_us, connection=0, from_us=self._last_us, us=silence_us)
        self._last_us = now_us
        self.received += size
        self._in_bucket += size

    def close_bucket(self) -> None:
        """Tell what came in this one."""
        now_us = self._now_us()
        lasted_us = max(1, now_us - self._bucket_began_us)
        self._tell("bucket", now_us, us=lasted_us, received=self._in_bucket, sent=0)
        self._bucket_began_us, self._in_bucket = now_us, 0

    def end(self, why: str) -> None:
        """That was all; `why` not all came, if so."""
        self.close_bucket()
        now_us = self._now_us()
        if why:
            self._tell("lost", now_us, connection=0, kind="recipe", at=self.received, why=why)
        self._tell(
            "end", now_us, ok=not why, us=max(1, now_us - self._began_us), received=self.received, sent=0,
            lost=int(bool(why)), gaps=self._gaps, longest_gap_us=self._longest_us,
        )  # fmt: skip


def main() -> None:
    """The program."""
    file, gap_ms, bucket_ms, *command = sys.argv[1:]
    expected = memoryview(Path(file).read_bytes()) if file else None
    meter, why = Meter(round(float(gap_ms) * 1000), round(float(bucket_ms) * 1000)), ""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        assert running.stdout
        while not why:
            if not select.select([running.stdout], [], [], meter.left_s())[0]:
                meter.close_bucket()
                continue
            piece = os.read(running.stdout.fileno(), CHUNK)
            if not piece:
                break
            if expected is not None and piece != expected[meter.received : meter.received + len(piece)]:
                why = "a wrong byte"
                running.kill()
            meter.take(len(piece))
    if not why and expected is not None and meter.received < len(expected):
        why = f"the end came after {meter.received} of {len(expected)} bytes"
    if not why and running.returncode:
        why = f"its client ended with status {running.returncode}"
    meter.end(why)
    sys.exit(1 if why else 0)


if __name__ == "__main__":
    main()
