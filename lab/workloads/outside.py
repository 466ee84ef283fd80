"""A client that is another program: it is run, and judged by what it prints, or by its exit status.

``python -m lab.workloads.outside [--expect FILE | --measure] --bound S --limit S COMMAND...``

As a workload's client it writes ``started`` on stderr when its traffic flows, and its result on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from lab.workloads.base import CHUNK, Failure, Session, note_started, run

TOLD = 300
"""So much of what it said of its trouble is told."""


class Status:
    """Its exit status is all that counts. Its traffic flows when it runs."""

    failed = "status"
    """What it is to end with another status than 0. It may have found a wrong byte: there is no excuse."""
    bound_s: float | None = None
    """Of a silence, once its traffic flows; None: it may be silent."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self) -> None:
        """It runs."""
        self._session.started()

    def take(self, piece: bytes) -> None:
        """It has printed this."""

    def end(self, status: int, trouble: str) -> None:
        """It has ended. Raises Failure."""
        if status:
            raise Failure(self.failed, f"its client ended with status {status}{self.so_far()}: {trouble}")

    def so_far(self) -> str:
        """What had come, for people."""
        return ""


class Bytes(Status):
    """It is to print these bytes, and each piece is progress. Its traffic flows from the first one on."""

    failed = "closed"  # what it has printed was right

    def __init__(self, session: Session, expected: bytes, bound_s: float) -> None:
        super().__init__(session)
        self._expected, self._got, self.bound_s = memoryview(expected), 0, bound_s

    def begin(self) -> None:
        """It runs; nothing has come yet."""

    def take(self, piece: bytes) -> None:
        """Compare it. Raises Failure."""
        if piece != self._expected[self._got : self._got + len(piece)]:
            raise Failure("wrong", f"a wrong byte is among bytes {self._got} to {self._got + len(piece)}")
        self._got += len(piece)
        self._session.result.bytes_down = self._got
        self._session.gap.progress()
        self._session.started()

    def end(self, status: int, trouble: str) -> None:
        """It has ended; one that is content must have all."""
        super().end(status, trouble)
        if self._got < len(self._expected):
            raise Failure("wrong", f"its client was content{self.so_far()}")

    def so_far(self) -> str:
        """How much of it had come."""
        return f" after {self._got} of {len(self._expected)} bytes"


class Measured(Status):
    """It is ``fttcp lab client``, which verifies and times by itself."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._rest = b""
        self._lost: list[dict[str, Any]] = []

    def begin(self) -> None:
        """It says by itself when it has begun."""

    def take(self, piece: bytes) -> None:
        """Read its lines."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for said in map(json.loads, whole):
            if said["type"] == "bucket" and said["received"] + said["sent"]:
                self._session.started()
            elif said["type"] == "lost":
                self._lost.append(said)
            elif said["type"] == "end":
                self._session.gap.largest_s = said["longest_gap_us"] / 1e6
                self._session.result.bytes_down, self._session.result.bytes_up = (
                    said["received"],
                    said["sent"],
                )

    def end(self, status: int, trouble: str) -> None:
        """It has ended. Raises Failure of the worst kind that it has told."""
        worst = min(self._lost, key=lambda one: one["kind"] != "wrong", default=None)
        if worst is not None:
            kind = worst["kind"] if worst["kind"] in ("wrong", "reset", "closed") else "stall"
            raise Failure(kind, f"{worst['kind']} at byte {worst['at']}: {worst['why']}")
        super().end(status, trouble)


def follow(session: Session, judge: Status, command: list[str], limit_s: float) -> None:
    """Run a command to its end, or to what is wrong. Raises Failure."""
    ends_s = time.monotonic() + limit_s
    with TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
        try:
            judge.begin()
            assert process.stdout
            _take_all(session, judge, process.stdout, ends_s)
            status = process.wait(max(0.1, ends_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failure("stall", f"its client does not end{judge.so_far()}") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        errors.seek(0)
        judge.end(status, errors.read().decode(errors="replace").strip()[-TOLD:])


def _take_all(session: Session, judge: Status, printed: IO[bytes], ends_s: float) -> None:
    """Take what it prints until its end, or a silence that is too long."""
    flows = False
    while True:
        left_s = max(0.0, ends_s - time.monotonic())
        patience_s = min(judge.bound_s, left_s) if flows and judge.bound_s else left_s
        if not select.select([printed], [], [], patience_s)[0]:
            raise Failure("stall", f"nothing for {patience_s:.1f} s{judge.so_far()}")
        piece = os.read(printed.fileno(), CHUNK)
        if not piece:
            return
        judge.take(piece)
        flows = True


def main() -> None:
    """Run it and report."""
    parser = argparse.ArgumentParser(description="another program as the client of a run")
    parser.add_argument("--expect", type=Path, help="what it is to print")
    parser.add_argument("--measure", action="store_true", help="it is fttcp lab client")
    parser.add_argument("--bound", type=float, default=5.0, help="a longer silence, in seconds, is a failure")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that it may take")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    session = Session("", 0, seed=0, on_started=note_started)
    judge = Measured(session) if options.measure else Status(session)
    if options.expect is not None:
        judge = Bytes(session, options.expect.read_bytes(), options.bound)
    result = run(session, lambda one: follow(one, judge, options.command, options.limit))
    print(json.dumps(result.as_dict()), flush=True)
    sys.exit(0 if result.ok else 1)


if __name__ == "__main__":
    main()
