"""The clients of a run: programs in hosts of the lab.

Such a program writes ``started`` on stderr when its traffic flows, and its result as JSON on stdout.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.lifecycle import Lab
from lab.workloads.registry import ROOT

START_S = 60.0
ENDS_S = 1.0
ENDED = ("reset", "closed")
"""Kinds of failure of a client whose connection came to an end: for these there may be an excuse."""


@dataclass(frozen=True)
class Speaker:
    """A program: what it is called, its host, its words, and how many seconds it may take."""

    name: str
    host: str
    words: Sequence[str]
    limit_s: float


class Client:
    """One of them, running; its result is kept in `output`."""

    def __init__(self, lab: Lab, speaker: Speaker, output: Path) -> None:
        self._speaker, self._output = speaker, output
        self._said = b""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with self._output.open("wb") as file:
            self._process = lab.popen(
                speaker.host, speaker.words, cwd="/", env=environment, stdout=file, stderr=subprocess.PIPE,
                bufsize=0,
            )  # fmt: skip
        assert self._process.stderr is not None
        self._stderr = self._process.stderr

    def wait_started(self) -> bool:
        """Return True when the traffic flows, False when the client has ended before; raises LabError."""
        if not self._listen(START_S, b"started\n"):
            raise LabError(f"client of {self._speaker.name}: no traffic after {START_S:g} s")
        return b"started\n" in self._said

    def _listen(self, seconds: float, wanted: bytes | None = None) -> bool:
        """Take what the client says on stderr, up to `wanted` or its end; False: neither came in time."""
        deadline = time.monotonic() + seconds
        while wanted is None or wanted not in self._said:
            if not select.select([self._stderr], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return False
            piece = self._stderr.read(4096)
            if not piece:
                break
            self._said += piece
        return True

    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self._process.poll() is not None

    def enough(self) -> None:
        """Let it come to its end now, if its workload may end at any time."""
        self._process.send_signal(signal.SIGUSR1)

    def finish(self) -> dict[str, Any]:
        """Wait for the client's end and return its report; raises LabError when it ended without one."""
        try:
            self._process.wait(self._speaker.limit_s)
        except subprocess.TimeoutExpired:
            text = f"the client did not end within {self._speaker.limit_s:g} s"
            return {"ok": False, "kind": "stall", "why": text, "errors": [text]}
        self._listen(ENDS_S)  # a program that it has started may hold its stderr for longer
        text = self._output.read_text()
        if not text:
            raise LabError(
                f"client of {self._speaker.name}: no report: {self._said.decode(errors='replace')}"
            )
        report: dict[str, Any] = json.loads(text)
        return report

    def kill(self) -> None:
        """End the client if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._stderr.close()


class Clients:
    """All of a run, as one."""

    def __init__(self, lab: Lab, speakers: Sequence[Speaker], directory: Path) -> None:
        self._clients: list[Client] = []
        for number, speaker in enumerate(speakers):
            output = directory / ("client.json" if number == 0 else f"client-{number}.json")
            self._clients.append(Client(lab, speaker, output))

    def wait_started(self) -> bool:
        """Return True when the traffic of all flows, False when one has ended before; raises LabError."""
        started = [client.wait_started() for client in self._clients]
        return all(started)

    def ended(self) -> bool:
        """Whether all have come to their end."""
        return all(client.ended() for client in self._clients)

    def enough(self) -> None:
        """Let them come to their ends now, those that may at any time."""
        for client in self._clients:
            client.enough()

    def finish(self) -> dict[str, Any]:
        """Wait for the end of all; return their report. Raises LabError."""
        return together([client.finish() for client in self._clients])

    def kill(self) -> None:
        """End those that still run."""
        for client in self._clients:
            client.kill()


def together(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The reports of several clients as one: what is wrong with any; what has no excuse comes first."""
    first, *others = sorted(
        reports, key=lambda one: (one["ok"], one["kind"] != "wrong", one["kind"] in ENDED)
    )
    if not others:
        return first
    return first | {
        "why": "; ".join(one["why"] for one in (first, *others) if one["why"]),
        "errors": [error for one in (first, *others) for error in one["errors"]],
        "gap_ms": max(one.get("gap_ms", 0.0) for one in reports),
        "resets": sum(one.get("resets", 0) for one in reports),
        "clients": list(reports),
    }
