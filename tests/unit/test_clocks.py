"""What decides never asks the wall clock: it may be stepped at any time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = sorted([*ROOT.glob("native/engine/**/*.[ch]"), *ROOT.glob("native/core/**/*.h")])
WALL = re.compile(r"CLOCK_REALTIME|CLOCK_TAI|gettimeofday|\btime\(NULL\)|\btime\(&|CLOCK_MONOTONIC")
TOLD = {
    "lockstep.c": ["CLOCK_REALTIME"],
    "stored.c": ["CLOCK_REALTIME"],
    "file.c": ["CLOCK_MONOTONIC"] * 2,
    "segments.c": ["CLOCK_MONOTONIC"] * 2,
}
"""What servers in lock step are told of the time of day; the age of a stored reply, which outlives a boot;
when a file is synced, or tried again, for which its thread waits by a clock that conditions know. Nothing
else is decided by them."""


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: path.name)
def test_the_engine_knows_one_clock(path: Path) -> None:
    found = WALL.findall(path.read_text())
    assert found == TOLD.get(path.name, []), "the engine's only clock is CLOCK_BOOTTIME"


def test_the_search_would_find_one() -> None:
    assert WALL.search("clock_gettime(CLOCK_REALTIME, &ts)") and WALL.search("t = time(NULL);")
