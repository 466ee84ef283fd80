"""The old primary, frozen and thawed at every step of a takeover, with traffic and captures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import experiment
from lab.experiment import Case
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.workloads.registry import serve_specs
from tests.integration.netns import needs_root
from tests.integration.pair import pair_named, who_serves
from tests.integration.test_partitions import Partitions, other_than, through

pytestmark = needs_root

TRAFFIC = Case("both", duration_s=2.0)
TAKEOVER = ("PeerLost", "Propose", "SetLease SELF", "SetMode SOLO", "Announce", "NoteTakeover")
"""Detected; before the arbiter is asked; then the order to own, the gate, the announcement, and after it."""
PAIRING = ("SetLease GRANTED", "SetMode PAIRED")


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
        threads = Path(f"/proc/{self.lab.node_process(node).pid}/task")

        def stopped() -> bool:
            """No thread goes on: those in D stop before they return from the kernel. One stays there if its
            child was stopped between vfork and exec."""
            stats = [(thread / "stat").read_text() for thread in threads.iterdir()]
            return {stat.rpartition(")")[2].split()[0] for stat in stats} <= {"T", "D"}

        self.lab.exec(node, ["kill", "-STOP", "-1"])
        await_condition(stopped, 30, f"{node} is frozen", 0.0005)

    def thaw(self, node: str) -> None:
        """Let all go on; returns when the daemon answers."""
        self.lab.exec(node, ["kill", "-CONT", "-1"])
        await_condition(lambda: bool(self.group(node)), 15, f"{node} answers again")

    def await_in_step(self) -> None:
        self.lab.wait("synced", 30)
        await_condition(lambda: len(who_serves(self.lab)) == 1, 15, "one node serves")


@pytest.fixture(scope="module", params=["none", "witness"])
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
        (serving,) = who_serves(steps.lab)
        return [primary] if serving == primary else [primary, serving]

    through(steps, tmp_path, blink)


@pytest.mark.parametrize("step", TAKEOVER)
def test_thaw_at_a_step_of_the_takeover(steps: Steps, step: str, tmp_path: Path) -> None:
    if step == "Propose" and steps.arbiter == "none":
        pytest.skip("nothing is proposed to nobody")

    def take_over(primary: str) -> list[str]:
        backup = other_than(primary)
        with steps.held(backup, step):
            steps.freeze(primary)
            steps.await_held(backup)
            steps.thaw(primary)
        steps.await_in_step()
        (serving,) = who_serves(steps.lab)
        return [primary, backup] if serving == backup else [primary, backup, primary]

    through(steps, tmp_path, take_over, TRAFFIC, keeps=False)


@pytest.mark.parametrize("step", PAIRING)
def test_freeze_and_thaw_in_the_new_pairing(steps: Steps, step: str, tmp_path: Path) -> None:
    def pair_again(primary: str) -> list[str]:
        backup = other_than(primary)
        steps.freeze(primary)
        steps.await_serving(backup)
        with steps.held(backup, step):
            steps.thaw(primary)
            steps.await_held(backup)
            steps.freeze(primary)
        steps.await_serving(backup)
        steps.thaw(primary)
        steps.await_in_step()
        return [primary, backup]

    # Without an arbiter a node that itself stood still drops its connections when its peer is gone.
    through(steps, tmp_path, pair_again, TRAFFIC, keeps=steps.arbiter != "none")


@pytest.mark.parametrize(
    ("role", "step"), [("primary", "SetLease NONE"), ("backup", "SetLease SELF"), ("backup", "Announce")]
)
def test_freeze_and_thaw_in_a_handover(steps: Steps, role: str, step: str, tmp_path: Path) -> None:
    def hand_over(primary: str) -> list[str]:
        backup = other_than(primary)
        held, asked = (primary, backup) if role == "primary" else (backup, primary)
        with steps.held(held, step):
            make_fault(steps.lab, "switchover", asked)
            steps.await_held(held)
            steps.freeze(primary)
        steps.await_serving(backup)
        steps.thaw(primary)
        steps.await_in_step()
        assert who_serves(steps.lab) == [backup]
        return [primary, backup]

    through(steps, tmp_path, hand_over, TRAFFIC)
