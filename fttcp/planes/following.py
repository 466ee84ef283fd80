"""Whether a wall clock is led to that of another node, and by how much. Pure.

The clock is made faster or slower for a while, by some microseconds every second. The rest of a round is left
for measuring: the delays of heartbeats, of which the offset is made, are the least of up to 20 s.
"""

from __future__ import annotations

from dataclasses import dataclass

from fttcp.planes.clocks import Offset

ROUND_S = 60
MOST_NS = 10_000_000
"""Of one round: 40 s at 250 ppm."""
FARTHEST_NS = 60_000_000_000
"""Four days of rounds: more is set by hand."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done in a round. ``peer``: it is followed, '' for none; ``why`` not, '' if there is
    nothing to say about it; ``slew_ns``: by how much the clock is put forward."""

    peer: str = ""
    why: str = ""
    slew_ns: int = 0


def follow(leader: str | None, found: Offset | None, keeper: str) -> Step:
    """Return what is to be done. ``leader``: the peer that serves, None if it is no peer; ``found``: how far
    its clock is ahead of ours, None if that is not known; ``keeper``: the time service here, '' for none."""
    if leader is None or keeper or found is None:
        return Step()
    if abs(found.ns) > FARTHEST_NS:
        return Step(why=f"that of {leader} is {found.ns / 1e9:+.0f} s: set this one by hand, or run chrony")
    if abs(found.ns) <= found.error_ns:
        return Step(leader)
    return Step(leader, slew_ns=int(max(-MOST_NS, min(MOST_NS, found.ns))))
