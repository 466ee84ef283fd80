"""A pair on real kernels for tests: mended after each run, made anew when that fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab import experiment
from lab.errors import LabError
from lab.experiment import Case, Disturbance, Outcome
from lab.faults import make_fault
from lab.lifecycle import Lab, fttcp_program
from lab.nodeconfig import RUN_DIR
from lab.workloads.registry import serve_specs


class Pair:
    """A lab whose pair is in step when a test begins."""

    def __init__(self, lab: Lab, settings: tuple[str, ...] = (), workloads: tuple[str, ...] = ()) -> None:
        self.lab = lab
        self._serve = serve_specs(workloads or None)
        self._settings = settings
        self._dirty = False

    def ready(self) -> Pair:
        """Bring the pair in step, by mending or, when that does not succeed, by a new lab."""
        if not self.lab.home.exists():
            self.lab.up(self._serve, self._settings)
        elif self._dirty:
            try:
                experiment.mend(self.lab)
            except LabError:
                self.lab.down()
                self.lab.up(self._serve, self._settings)
        self._dirty = True
        return self

    def run(self, case: Case, evidence: Path, disturbance: Disturbance | None = None) -> Outcome:
        """Do one run; see lab.experiment.run."""
        return experiment.run(self.lab, case, evidence / "run", disturbance)

    def group(self, host: str) -> dict[str, Any]:
        """What the daemon of `host` says of the lab's group."""
        answer = self.lab.ask(self.lab.host(host).name, {"op": "status"}, timeout_s=5.0)
        return dict(answer["groups"][0])

    def reasons(self, host: str) -> dict[str, str]:
        """Why a node is not ready: what is told of each reason."""
        return {reason["why"]: reason["what"] for reason in self.group(host)["not_ready"]}

    def command(self, node: str, *words: str) -> list[str]:
        """A command of fttcp, with the node's configuration and an answer for programs."""
        return [fttcp_program(), *words, "--config", str(self.lab.home / node / "node.toml"), "--json"]

    def order(self, node: str, *words: str) -> dict[str, Any]:
        """Run such a command on the node; return what it tells, and its exit status."""
        done = self.lab.exec(node, self.command(node, *words))
        told: dict[str, Any] = json.loads(done.stdout)
        return told | {"status": done.returncode}

    def shown(self, node: str) -> str:
        """The node's status as people see it."""
        return self.lab.exec(node, [fttcp_program(), "status", "--socket", f"{RUN_DIR}/control.sock"]).stdout

    def restart_with(self, node: str, change: Callable[[str], str], file: str = "node.toml") -> str:
        """Start a node's daemon again with another file; return the old one."""
        path = self.lab.home / node / file
        before = path.read_text()
        make_fault(self.lab, "crash-host", node)
        path.write_text(change(before))
        make_fault(self.lab, "restart-host", node)
        return before


def who_serves(lab: Lab) -> list[str]:
    """Who may emit now: a valid lease and an open gate."""
    return [
        str(node["node"])
        for node in lab.status()["nodes"]
        for group in node.get("groups", [])
        if group["role"] == "primary" and group.get("lease_ms_left", 0) > 0
    ]


def pair_named(
    suffix: str, settings: tuple[str, ...] = (), workloads: tuple[str, ...] = ()
) -> Iterator[Pair]:
    """Yield a pair that is taken down at the end."""
    lab = Lab(f"test-{suffix}-{os.getpid()}")
    try:
        yield Pair(lab, settings, workloads)
    finally:
        lab.down()
