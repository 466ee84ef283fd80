"""The experiment of the lab in which connections outlive one failure after the other, in short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.endure import WORKLOADS, endure
from lab.errors import LabError
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.state import LabState
from tests.integration.netns import needs_root

pytestmark = needs_root


def test_both_connections_outlive_failures_of_either_node() -> None:
    words = ["--failures", "3", "--fault", "crash-host,kill-server", "--size", "300000000", "--json"]
    done = CliRunner().invoke(endure, [*words, "--name", f"test-endure-{os.getpid()}"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["ok"] and set(report["clients"]) == set(WORKLOADS), report
    assert [one["fault"] for one in report["renewals"]] == ["crash-host", "kill-server", "crash-host"]
    assert len({one["of"] for one in report["renewals"]}) == 2, "both nodes failed"


def has_daemon(name: str, node: str) -> bool:
    """Whether the lab of that name has come so far."""
    try:
        return LabState.load(name).hosts[node].node is not None
    except (LabError, KeyError):
        return False


@pytest.mark.parametrize("command", ["endure", "campaign"])
def test_a_signal_leaves_no_lab_behind(command: str, tmp_path: Path) -> None:
    name = f"test-ended-{command}-{os.getpid()}"
    process = subprocess.Popen([fttcp_program(), "lab", command, "--name", name], cwd=tmp_path)
    try:
        await_condition(lambda: has_daemon(name, "beta"), 60, f"lab {name} to have daemons")
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
        left = Lab(name).down()
    assert not left
