"""The experiments that come with fttcp, each in its short form, on real kernels."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lab.lifecycle import fttcp_program
from lab.study.cli import shipped_names
from lab.study.folder import lines
from tests.integration.netns import needs_root

pytestmark = needs_root


@pytest.mark.parametrize("name", shipped_names())
def test_an_experiment_gives_data_plots_and_a_report(name: str, tmp_path: Path) -> None:
    command = [fttcp_program(), "lab", "run", name, "--short", "--json", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads(done.stdout.splitlines()[0])
    events = lines(tmp_path / "out" / "runs" / "0" / "events.jsonl")
    struck = [event for event in events if event["event"] == "fault"]
    assert row["ok"] and row["received"] > 0
    assert ("fault" in row) == bool(struck)
    assert lines(tmp_path / "out" / "runs" / "0" / "nodes.jsonl"), "the nodes' state was looked at"
    assert (
        list((tmp_path / "out").glob("*.svg")) and (tmp_path / "out" / "report.html").stat().st_size > 10_000
    )
