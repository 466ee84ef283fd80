"""The old primary, frozen and thawed at every step of a takeover, with traffic and captures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import experiment
from lab.experiment import Case
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.workloads.registry import serve_specs
from tests.integration.netns import needs_root
from tests.integration.pair import pair_named
from tests.integration.test_partitions import Partitions, other_than, through

pytestmark = needs_root

TRAFFIC = Case("both", duration_s=2.0)
TAKEOVER = ("PeerLost", "SetLease SELF", "SetMode SOLO", "Announce", "RecordTakeover")
"""Detected; then the order to own, the gate, the announcement, and after it."""


class Steps(Partitions):
    """The lab, with daemons that can be held at a step, and hosts that can be frozen."""

    def __init__(self, lab: Lab, arbiter: str) -> None:
        super().__init__(lab)
        self.arbiter = arbiter

    def _file(self, node: str, name: str) -> Path:
        return self.lab.home / node / "root" / name

    @contextmanager
    def held(self, node: str, step: str) -> Iterator[None]:
        """Have `node` stand still at this step when it comes there; it goes on at the end of the block."""
        self._file(node, "held").unlink(missing_ok=True)
        draft = self._file(node, "hold.new")
        draft.write_text(step)
        draft.rename(self._file(node, "hold"))
        try:
            yield
        finally:
            self._file(node, "hold").unlink()

    def await_held(self, node: str) -> None:
        await_condition(self._file(node, "held").exists, 15, f"{node} stands still", 0.0005)

    def freeze(self, node: str) -> None:
        """Stop every process of the host in one stroke."""
        daemon = self.lab.node_process(node)
        self.lab.exec(node, ["kill", "-STOP", "-1"])
        await_condition(lambda: daemon.state() == "T", 5, f"{node} is frozen", 0.0005)

    def thaw(self, node: str) -> None:
        """Let all go on; returns when the daemon answers."""
        self.lab.exec(node, ["kill", "-CONT", "-1"])
        await_condition(lambda: bool(self.group(node)), 15, f"{node} answers again")

    def await_in_step(self) -> None:
        self.lab.wait("synced", 30)
        await_condition(lambda: len(self.serving()) == 1, 15, "one node serves")


@pytest.fixture(scope="module", params=["none"])
def steps(request: pytest.FixtureRequest) -> Iterator[Steps]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).with_name("holds")))
        for pair in pair_named(f"frozen-{request.param}"):
            pair.lab.up(serve_specs(("both", "http")), arbiter=request.param)
            yield Steps(pair.lab, request.param)


@pytest.fixture(autouse=True)
def in_step(steps: Steps) -> Iterator[None]:
    experiment.mend(steps.lab)
    yield


def test_thaw_before_the_silence_is_noticed(steps: Steps, tmp_path: Path) -> None:
    def blink(primary: str) -> list[str]:
        steps.freeze(primary)
        steps.thaw(primary)
        steps.await_in_step()
        (serving,) = steps.serving()
        return [primary] if serving == primary else [primary, serving]

    through(steps, tmp_path, blink)


@pytest.mark.parametrize("step", TAKEOVER)
def test_thaw_at_a_step_of_the_takeover(steps: Steps, step: str, tmp_path: Path) -> None:
    def take_over(primary: str) -> list[str]:
        backup = other_than(primary)
        with steps.held(backup, step):
            steps.freeze(primary)
            steps.await_held(backup)
            steps.thaw(primary)
        steps.await_in_step()
        (serving,) = steps.serving()
        return [primary, backup] if serving == backup else [primary, backup, primary]

    through(steps, tmp_path, take_over, TRAFFIC, keeps=False)
