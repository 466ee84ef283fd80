"""Connections of all kinds that are asked, while a test goes on, whether they do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab.hosts import at_the_latest
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4, SERVICE6
from lab.workloads.registry import ROOT, WORKLOADS

ANSWER_S = 120.0
"""Its connections have bounds of their own; so long they take together."""


class Traffic:
    """Connections of all kinds, whose every byte is verified."""

    def __init__(self, client: subprocess.Popen[str]) -> None:
        self._client = client

    def goes_on(self, after: str, silent: bool = False) -> None:
        """Insist on it."""
        said = self.ask("silent" if silent else "more")
        assert said == "ok", f"after {after}: {said}"

    def ask(self, word: str) -> str:
        """What the client says of its connections."""
        assert self._client.stdin is not None and self._client.stdout is not None
        self._client.stdin.write(f"{word}\n")
        self._client.stdin.flush()
        with at_the_latest(ANSWER_S, self._client.kill):
            return self._client.stdout.readline().strip()


@contextmanager
def traffic(lab: Lab) -> Iterator[Traffic]:
    port = str(WORKLOADS["bulk-down"].port(4))
    argv = [sys.executable, "-m", "tests.integration.steady_client", port, SERVICE4, SERVICE6]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    client = lab.popen(
        CLIENT, argv, cwd="/", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with client:
        try:
            yield Traffic(client)
        finally:
            client.kill()
