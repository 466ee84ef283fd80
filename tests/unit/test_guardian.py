"""The process that outlives the daemon, and who owns the rules meanwhile."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fttcp.network import guardian
from fttcp.network.guardian import Guardian, end_of
from lab.hosts import Process

NETFILTER = 12


class Left:
    """A guardian of a daemon that is dead: nobody else has the socket."""

    def __init__(self) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as owner:
            owner.bind((0, 0))
            self.port: int = owner.getsockname()[0]
            self.guardian = Guardian(owner.fileno())
            self.guardian.keep()
        process = self.guardian._process
        assert process is not None
        self.process = process


@pytest.fixture
def left() -> Iterator[Left]:
    one = Left()
    yield one
    one.guardian.end()


def test_what_a_dead_daemon_left_is_ended(left: Left) -> None:
    assert end_of(left.port)
    assert left.process.wait(10) == -9
    assert not end_of(left.port), "nobody has it"


def test_signals_to_the_daemons_group_and_terminal_do_not_reach_it(left: Left) -> None:
    assert os.getpgid(left.process.pid) != os.getpgid(0)
    assert os.getsid(left.process.pid) != os.getsid(0)


def test_none_is_started_after_the_end(left: Left) -> None:
    left.guardian.end()
    left.guardian.keep()
    assert left.guardian._process is None


def test_a_process_that_ends_while_holders_are_looked_for_is_none(
    left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    glob = Path.glob

    def ended(path: Path, pattern: str) -> Any:
        if pattern == "fd/*" and path.name != str(left.process.pid):
            raise FileNotFoundError(path)
        return glob(path, pattern)

    monkeypatch.setattr(Path, "glob", ended)
    assert end_of(left.port)


def test_one_that_has_just_begun_is_known(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment reads as empty for a moment after exec."""
    said, environment = [b"", b""], guardian._environment
    monkeypatch.setattr(guardian, "_environment", lambda pid: said.pop() if said else environment(pid))
    assert end_of(left.port)


def test_a_process_that_is_ending_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with Process(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        monkeypatch.setattr(guardian, "_holders", lambda _: [process.pid])
        assert end_of(1)
    assert end_of(1), "it is gone"


@pytest.mark.parametrize("environment", [{}, {"A": "1"}])
def test_other_programs_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, left: Left, environment: dict[str, str]
) -> None:
    monkeypatch.setattr(guardian, "_END_S", 0)
    with Process(["/bin/sleep", "infinity"], env=environment) as process:
        monkeypatch.setattr(guardian, "_holders", lambda _: [left.process.pid, process.pid])
        assert not end_of(1)
        assert process.poll() is None and left.process.poll() is None, "all or none"
        process.kill()
