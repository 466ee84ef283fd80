"""Threads of two copies get each lock in the same order."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from fttcp.server import calls
from tests.calls.copies import Copies, compiled
from tests.unit.test_calls import LOCKS, followed


@pytest.fixture(scope="module")
def locks(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled("locks", tmp_path_factory.mktemp("programs"))


@pytest.mark.parametrize("kind", ["mutex", "rwlock", "condition", "semaphore", "once", "barrier"])
@followed(LOCKS)
def test_order(kind: str, families: int, alike: bool, locks: str, tmp_path: Path) -> None:
    """The follower's threads are slow where the leader's are fast."""
    copies = Copies(tmp_path, families)
    with copies.running([locks, kind, "0"], [locks, kind, "1"]) as both:
        assert both[0].wait(60) == 0
        if not alike:
            calls.end(copies.log)  # it may wait for a call that the leader does not make
        assert both[1].wait(60) == 0
    assert copies.alike is alike, copies.told


def test_each_thread_ends_with_what_it_has(locks: str, tmp_path: Path) -> None:
    """The leader is gone before the follower has begun: all threads go through what they were told."""
    copies = Copies(tmp_path)
    with copies.running([locks, "condition", "0"], [locks, "condition", "1"]) as (leader, follower):
        follower.send_signal(signal.SIGSTOP)
        assert leader.wait(60) == 0
        calls.end(copies.log)
        follower.send_signal(signal.SIGCONT)
        assert follower.wait(60) == 0
    assert copies.said[0] and copies.said[0] == copies.said[1]


def test_handlers_of_forks(tmp_path: Path) -> None:
    """They make calls of their own, in the parent and in the child."""
    copies = Copies(tmp_path)
    assert copies.run([compiled("forks", tmp_path)]) == [0, 0]
    leader, follower = (
        sorted(one.splitlines()) for one in copies.said
    )  # a parent and its child write at once
    assert len(leader) == 51 and leader == follower and copies.told["state"] == "runs", copies.told
