"""What is on the wires: nothing of the backup before takeover, nothing of the old primary after it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lab.capture import Capture, out_of_turn
from lab.experiment import Case, Disturbance
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.pair import Pair


@pytest.mark.parametrize("family", [4, 6])
def test_the_backup_is_silent_and_then_announces(pair: Pair, family: int, tmp_path: Path) -> None:
    """Before the crash only the primary speaks; the backup's first frames announce the address."""
    old, new = pair.lab.node_in_role("primary"), pair.lab.node_in_role("backup")
    crashed_at: list[float] = []

    def strike(lab: Lab) -> dict[str, object]:
        crashed_at.append(time.time())
        return make_fault(lab, "crash-host", "primary")

    with Capture(pair.lab, tmp_path / "wire") as capture:
        case = Case("both", "crash-host", family, moment_s=0.8, duration_s=2.0)
        outcome = pair.run(case, tmp_path, Disturbance(strike))
    assert outcome.ok, outcome.why
    emissions = list(capture.emissions())
    spans = capture.spans()
    assert [span.host for span in spans] == [old, new]
    assert all(emission.host == old for emission in emissions if emission.time_s < crashed_at[0])
    kinds = [emission.kind for emission in emissions if emission.host == new]
    assert {"arp", "na", "ip" if family == 4 else "ip6"} <= set(kinds)
    assert kinds[0] in ("arp", "na"), "the announcement comes before the first packet of a flow"


def test_a_thawed_primary_stays_silent(pair: Pair, tmp_path: Path) -> None:
    """A primary that is stopped, outlived and continued says nothing more for the service, ever."""
    old, new = pair.lab.node_in_role("primary"), pair.lab.node_in_role("backup")
    with Capture(pair.lab, tmp_path / "wire") as capture:
        case = Case("both", "freeze-node", moment_s=0.5, duration_s=4.0)
        outcome = pair.run(case, tmp_path)
        pair.lab.wait("synced")
    assert outcome.ok, outcome.why
    assert out_of_turn(capture.spans(), [old, new]) == ""
    assert pair.lab.node_in_role("primary") == new


def test_a_dead_daemon_is_silent(pair: Pair, tmp_path: Path) -> None:
    """With both daemons killed nothing of the service leaves either host, whatever clients ask."""
    owner = pair.lab.node_in_role("primary")
    for node in ("alpha", "beta"):
        make_fault(pair.lab, "kill-node", node)
    with Capture(pair.lab, tmp_path / "wire") as capture:
        for url in ("http://10.77.0.100/", "http://[fd77::100]/"):
            asked = pair.lab.exec("client", ["curl", "-sS", "--max-time", "1", url])
            assert asked.returncode != 0
    assert capture.spans() == [], f"{owner} was the owner"


def test_switchover_there_and_back(pair: Pair, tmp_path: Path) -> None:
    """Two planned switchovers under one connection: each host speaks in its turn only."""
    first, second = pair.lab.node_in_role("primary"), pair.lab.node_in_role("backup")

    def strike(lab: Lab) -> list[dict[str, object]]:
        there = make_fault(lab, "switchover")
        lab.wait(f"primary={second}")
        lab.wait("synced")
        return [there]

    with Capture(pair.lab, tmp_path / "wire") as capture:
        outcome = pair.run(
            Case("both", "switchover", moment_s=0.5, duration_s=2.0),
            tmp_path,
            Disturbance(strike, mends=True),
        )
        assert outcome.ok, outcome.why
        back = pair.run(Case("both", "switchover", moment_s=0.5, duration_s=2.0, seed=2), tmp_path)
        assert back.ok, back.why
    assert [span.host for span in capture.spans()] == [first, second, first]


def test_the_capture_sees_the_backup_if_it_speaks(pair: Pair, tmp_path: Path) -> None:
    """The check itself: a forged frame of the backup is found and told."""
    old, new = pair.lab.node_in_role("primary"), pair.lab.node_in_role("backup")
    forge = ["arping", "-A", "-c", "1", "-I", "svc0", "-s", "10.77.0.100", "10.77.0.100"]
    with Capture(pair.lab, tmp_path / "wire") as capture:
        pair.lab.host(new).run(forge)
        await_condition(lambda: any(span.host == new for span in capture.spans()), 30, "the forged frame")
    pair.lab.host("client").run(["ip", "neighbour", "flush", "all"])
    assert new in out_of_turn(capture.spans(), [old])
