"""A pair on real kernels for tests: mended after each run, made anew when that fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lab import experiment
from lab.errors import LabError
from lab.experiment import Case, Disturbance, Outcome
from lab.lifecycle import Lab
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

    def group(self, host: str) -> dict[str, object]:
        """What the daemon of `host` says of the lab's group."""
        name = self.lab.host(host).name
        (groups,) = (node["groups"] for node in self.lab.status()["nodes"] if node["node"] == name)
        return dict(groups[0])


def pair_named(
    suffix: str, settings: tuple[str, ...] = (), workloads: tuple[str, ...] = ()
) -> Iterator[Pair]:
    """Yield a pair that is taken down at the end."""
    lab = Lab(f"test-{suffix}-{os.getpid()}")
    try:
        yield Pair(lab, settings, workloads)
    finally:
        lab.down()
