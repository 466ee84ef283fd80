"""A client in the lab that asks as often as it is told, and checks each answer itself."""

from __future__ import annotations

import subprocess
import sys

from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import SERVICE


class Asker:
    """Runs `script` ADDRESS PORT. That reads how many questions to ask, a number in each line, then prints
    `answered` and how many answers it has had in all; a wrong one ends it."""

    def __init__(self, lab: Lab, script: str, family: int, port: int) -> None:
        self._process = lab.popen(
            CLIENT, [sys.executable, "-c", script, SERVICE[family], str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._asked = 0

    def ask(self, count: int) -> None:
        """Have so many answers, each before the next question."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._asked += count
        print(count, file=self._process.stdin, flush=True)
        said = self._process.stdout.readline()
        assert said == f"answered {self._asked}\n", said or self._process.stderr.read()

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.communicate()
