"""Processes of the lab: what is told when a test that talks to one fails."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from lab import state
from lab.errors import LabError
from lab.hosts import Process
from lab.lifecycle import Lab
from lab.state import HostRecord, LabState, ProcessId


def test_the_first_exception_is_told_though_the_process_hears_nothing_more() -> None:
    """It has ended, and something was still to be sent to it."""
    with (
        pytest.raises(ValueError, match="the first"),
        Process(["true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin and process.stdout
        assert not process.stdout.read()  # it has ended
        process.stdin.write("late\n")
        raise ValueError("the first")
    assert process.returncode == 0


def test_a_process_that_waits_for_what_does_not_come_is_killed() -> None:
    with pytest.raises(ValueError, match="the first"), Process(["cat"], stdin=subprocess.PIPE) as process:
        raise ValueError("the first")
    assert process.returncode == -signal.SIGKILL


def test_who_waits_for_a_daemon_that_has_ended_is_told_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LABS", tmp_path)
    lab, here = Lab("words"), ProcessId.of(os.getpid())
    ended = ProcessId(here.pid, here.start - 1)
    nodes = ["alpha", "beta"]
    for node in nodes:
        (lab.home / node / "log").mkdir(parents=True)
        (lab.home / node / "log" / "node.log").write_text("first\nError: there is no such server\n")
    LabState(lab.name, nodes=nodes, hosts={node: HostRecord(here, ended) for node in nodes}).save()
    with pytest.raises(LabError) as error:
        lab.wait("synced", 5)
    assert str(error.value).splitlines()[0] in [
        f"host {node}: its daemon has ended; its last words: Error: there is no such server" for node in nodes
    ]
