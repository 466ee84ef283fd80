"""Processes of the lab: what is told when a test that talks to one fails."""

from __future__ import annotations

import signal
import subprocess

import pytest

from lab.hosts import Process


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
