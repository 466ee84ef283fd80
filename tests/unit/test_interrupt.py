"""Programs of the lab that are ended by a signal: what they have made is removed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import lifecycle, state
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab

_WAITS = """
import signal, sys
from lab.interrupt import signals_interrupt
if sys.argv[1:]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
with signals_interrupt():
    try:
        print("made", flush=True)
        sys.stdin.readline()
    finally:
        print("removing", flush=True)
        sys.stdin.readline()  # a second signal comes meanwhile
        print("removed", flush=True)
"""


def waits(*arguments: str) -> subprocess.Popen[str]:
    """A program that has made something, and waits."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", _WAITS, *arguments], **pipes)  # type: ignore[call-overload]
    assert process.stdout.readline() == "made\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_was_made_is_removed_once(number: signal.Signals) -> None:
    with waits() as process:
        process.send_signal(number)
        assert process.stdout is not None and process.stdout.readline() == "removing\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate("\n", timeout=30)
    assert out == "removed\n" and process.returncode == 128 + number


def test_a_signal_that_is_ignored_stays_so() -> None:
    with waits("nohup") as process:
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate("\n\n", timeout=30)
    assert out == "removing\nremoved\n" and process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lab_is_removed_whole_though_its_remover_is_interrupted(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C, or one that comes while the run before has just ended."""
    monkeypatch.setattr(state, "LABS", tmp_path)
    lab = Lab("interrupted")
    for host in ("alpha", "beta"):
        (lab.home / host / "run").mkdir(parents=True)
    forget = lifecycle.forget

    def forget_and_be_struck(home: Path) -> None:
        signal.raise_signal(number)
        forget(home)

    monkeypatch.setattr(lifecycle, "forget", forget_and_be_struck)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit), signals_interrupt():
        lab.down()
    assert not lab.home.exists()
