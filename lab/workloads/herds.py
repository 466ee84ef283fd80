"""Runs herd.py in a lab: the server's command, and any number of connections of its client's host."""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lab import network
from lab.errors import LabError
from lab.hosts import at_the_latest
from lab.lifecycle import Lab
from lab.workloads.herd import SPARE_FILES

PORT = 7007
PROGRAM = Path(__file__).with_name("herd.py")
ANSWER_S = 300.0
"""A process that owes an answer for longer is ended."""

Report = dict[str, Any]


def processes_for(count: int) -> int:
    """Return how many processes it takes to hold so many connections."""
    each = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_FILES
    return -(-count // each)


def serve_spec(count: int) -> str:
    """Return the PORT/PROTO=COMMAND of a server for `count` connections. (Which of its processes takes one is
    chance; each has room for half as many again.)"""
    processes = processes_for(count + count // 2)
    return f"{PORT}/tcp=" + shlex.join(
        [sys.executable, "-I", str(PROGRAM), "serve", str(PORT), str(processes)]
    )


class Herds:
    """Connections of some processes, taken as one; their questions are asked at the same time."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes
        self.opened = self.answers()

    def tell(self, *words: object) -> None:
        """Ask all processes the same, without waiting for the answers."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(" ".join(str(word) for word in words) + "\n")
            process.stdin.flush()

    def answers(self) -> Report:
        """Wait for the answers and return them as one: counts summed, times the longest; raises LabError when
        a process has ended."""
        taken: list[Report] = []
        for process in self._processes:
            assert process.stdout is not None
            with at_the_latest(ANSWER_S, process.kill):
                line = process.stdout.readline()
            if not line:
                raise LabError(f"client {process.args!r} has ended with status {process.wait()}")
            taken.append(json.loads(line))
        sums = {key: sum(report.get(key, 0) for report in taken) for key in ("opened", "messages", "failed")}
        longest = {
            key: max(report[key] for report in taken if key in report)
            for key in ("seconds", "p50_us", "p99_us", "max_us")
            if any(key in report for report in taken)
        }
        errors = [report["error"] for report in taken if "error" in report]
        return sums | longest | ({"error": errors[0]} if errors else {})

    def ask(self, messages: int, among: int = 0, per_s: float = 0.0) -> Report:
        """Make round trips, the same number of each process; see herd.py."""
        share = len(self._processes)
        self.tell("ask", messages // share, among // share, per_s / share)
        return self.answers()

    def end(self) -> Report:
        """Close all connections, each to the server's own end."""
        self.tell("end")
        return self.answers()


@contextmanager
def herds(lab: Lab, count: int, bound_s: float = 10.0, address: str = network.SERVICE4) -> Iterator[Herds]:
    """`count` open connections from the lab's client to the service, until the end of the block."""
    number = processes_for(count)
    counts = [count // number + (1 if i < count % number else 0) for i in range(number)]
    with ExitStack() as stack:
        processes = []
        for each in counts:
            argv = [sys.executable, "-I", str(PROGRAM), "hold", address, str(PORT), str(each), str(bound_s)]
            process = lab.popen(
                network.CLIENT, argv, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        yield Herds(processes)
