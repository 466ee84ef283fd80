"""The one clock by which leases, silence and promises are counted."""

from __future__ import annotations

import time


def now_ns() -> int:
    """Return nanoseconds of CLOCK_BOOTTIME, the clock of the native engine (ftt_now_ns()).

    It runs evenly, no step of the wall clock touches it, and it counts the time in which the host was
    suspended: a lease that ran out meanwhile is over at the first instruction after. CLOCK_MONOTONIC
    stands still then.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wall_ahead_ns() -> int:
    """Return by how many nanoseconds CLOCK_REALTIME is ahead of CLOCK_BOOTTIME. For people to be told of;
    nothing is decided by it."""
    before_ns = now_ns()
    wall_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    return wall_ns - (before_ns + now_ns()) // 2
