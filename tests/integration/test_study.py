"""The experiments that come with fttcp, each in its short form, and what ends one, on real kernels."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from lab.hosts import Process, await_condition
from lab.lifecycle import fttcp_program
from lab.state import LABS
from lab.study.cli import LABS_NAME, shipped_names
from lab.study.folder import Folder, lines
from tests.integration.netns import needs_root
from tests.integration.stillness import MachineStoodStillError

pytestmark = needs_root

LIMIT_S = 240.0


def started(name: str, out: Path, *words: str) -> Process:
    command = [fttcp_program(), "lab", "run", name, "--json", "--out", str(out), *words]
    return Process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(running: Process) -> tuple[str, str]:
    """What it has said at its end. One that takes too long is ended, and removes its lab."""
    try:
        return running.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        running.terminate()
        raise AssertionError(f"no end: {running.communicate(timeout=60)}") from None


def stood_still(out: Path) -> bool:
    """Had one node not heard the other for as long as it takes to see a crash, before anything was done?
    The machine did not run them: what the client saw of that says nothing of the experiment."""
    for event in lines(out / "runs" / "0" / "events.jsonl"):
        if event["event"] in ("fault", "peer-lost"):
            return bool(event["event"] == "peer-lost")
    return False


@pytest.mark.parametrize("name", shipped_names())
def test_an_experiment_gives_data_plots_and_a_report(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with started(name, folder, "--short") as running:
        out, error = said(running)
    if stood_still(folder):
        raise MachineStoodStillError(out + error)
    assert running.returncode == 0, out + error
    row = json.loads(out.splitlines()[0])
    events = lines(folder / "runs" / "0" / "events.jsonl")
    struck = [event for event in events if event["event"] == "fault"]
    assert row["ok"] and row.get("received", 1) > 0, "of a command its exit status tells"
    assert ("fault" in row) == bool(struck)
    assert lines(folder / "runs" / "0" / "nodes.jsonl"), "the nodes' state was looked at"
    plots = [file.read_text() for file in folder.glob("*.svg")]
    assert plots and not [plot for plot in plots if "no run has this" in plot]
    assert (folder / "report.html").stat().st_size > 10_000


TWO_CLIENTS = """
name = "two"
repetitions = 2
seconds = 30
fault = [{ kind = "heal", at_s = 0.2 }]
client = [{ measure = "echo", interval_ms = 5 }, { measure = "echo", interval_ms = 5, at_s = 3 }]
"""


def test_what_is_ended_removes_its_lab_keeps_what_is_done_and_goes_on(tmp_path: Path) -> None:
    """Of one that was killed, the next one removes the lab. No fault waits for a client that comes later."""
    file, out = tmp_path / "two.toml", tmp_path / "out"
    file.write_text(TWO_CLIENTS)

    def labs() -> list[Path]:
        return list(LABS.glob(f"{LABS_NAME}-{running.pid}"))

    def has_begun(number: int) -> bool:
        assert running.poll() is None, said(running)
        return bool(lines(out / "runs" / "0" / f"client-{number}.jsonl"))

    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with started(str(file), out, "--seconds", "31") as running:
            await_condition(lambda: has_begun(0), 60, "the first client begins")
            running.send_signal(ending)
            told = said(running)
        assert bool(labs()) == (ending == signal.SIGKILL), told
        assert ("0 of 2 runs are in" in told[1]) == (ending != signal.SIGKILL), told
        for left in out.glob("runs/0/client-*.jsonl"):
            left.unlink()
    stale = labs()
    with started(str(file), tmp_path / "short", "--seconds", "4", "--short") as running:
        out_text, error = said(running)
    assert running.returncode == 0, out_text + error
    assert stale and not any(lab.exists() for lab in stale)
    row = json.loads(out_text.splitlines()[0])
    second = lines(tmp_path / "short" / "runs" / "0" / "client-1.jsonl")
    assert row["fault_us"] < second[0]["time_us"], "the fault struck before the second client had begun"
    assert [one["run"] for one in Folder(tmp_path / "short").rows()] == [0]


TOO_SHORT = """
name = "too-short"
seconds = 1
client = [{ measure = "echo", interval_ms = 5 }]
fault = [{ kind = "crash-host", at_s = 0.2 }, { kind = "restart-host" }, { kind = "heal", when = "renewed" }]
"""


def test_a_moment_that_cannot_come_any_more_is_told(tmp_path: Path) -> None:
    file = tmp_path / "too-short.toml"
    file.write_text(TOO_SHORT)
    with started(str(file), tmp_path / "out") as running:
        out, error = said(running)
    assert running.returncode == 1
    told = json.loads(out.splitlines()[0])["error"]
    assert told == "the first client ended before 'renewed': `seconds` is too short", error


TOO_LATE = """
name = "too-late"
client = [{ measure = "down", bytes = 1000000 }]
fault = [{ kind = "crash-host", at_s = 2 }]
"""


def test_a_fault_after_the_end_of_the_client_is_no_success(tmp_path: Path) -> None:
    file = tmp_path / "too-late.toml"
    file.write_text(TOO_LATE)
    with started(str(file), tmp_path / "out") as running:
        out, error = said(running)
    assert running.returncode == 1
    row = json.loads(out.splitlines()[0])
    assert not row["ok"] and row["received"] == 1_000_000 and row["late_ms"] > 0
    assert (
        row["why"] == f"the fault came {row['late_ms']:.0f} ms after the client had ended: nothing was tested"
    )
    assert "1 run, 1 without a test: the fault came after the clients" in error
    assert "every byte was right" not in (tmp_path / "out" / "report.html").read_text()
