"""Threads of two copies get each lock in the same order."""

from __future__ import annotations

from pathlib import Path

import pytest

from fttcp.server import calls
from tests.calls.copies import Copies, compiled
from tests.unit.test_calls import followed

LOCKS = 1 << 10


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
