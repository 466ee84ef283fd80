"""For which groups a host has room: what it sheds by itself, with what it knows.

Each host decides for itself only. It knows of every group that it may get whether somebody serves it, and
what it has of it. What fits is what ``placement.assign`` has for the same host, in the same order:

1. groups that it serves, by rank, and those that nobody has served for so long that no other host seems to
   have room for them;
2. such that have waited for half of that: for these only a backup has to leave;
3. groups of which it is the backup, in step;
4. other groups that nobody serves;
5. groups that lack a backup;
6. groups for which it would be a spare.

A group that a host should serve, while its server does not stay up (``Health``), is one of 4.

The two waits stand for what ``assign`` knows of other hosts: one on which nobody has to leave needs no wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from fttcp.cluster.placement import Group, could_serve, ranked


class Part(IntEnum):
    """What a host has of a group."""

    SERVES = 0
    BACKS = 1
    """Its backup, in step."""
    UNSERVED = 2
    """Nobody serves the group."""
    UNBACKED = 3
    """Another host serves it, without a backup."""
    SPARE = 4
    """Others serve and back it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A group at this host. ``waited``: for how long nobody has served it, in waits of this host for it (at
    0.5 backups leave for it, at 1 groups of lower rank)."""

    group: Group
    part: Part
    waited: float = 0.0

    @property
    def units(self) -> int:
        """What it takes here: a host that only may serve it has the server of a backup."""
        serves = self.part in (Part.SERVES, Part.UNSERVED)
        return self.group.units if serves else self.group.backup_units

    @property
    def turn(self) -> int:
        """When it is its turn, see above."""
        if self.part is Part.SERVES or (self.part is Part.UNSERVED and self.waited >= 1):
            return 1
        if self.part is Part.UNSERVED:
            return 2 if self.waited >= 0.5 else 4
        return {Part.BACKS: 3, Part.UNBACKED: 5, Part.SPARE: 6}[self.part]


@dataclass(slots=True)
class Health:
    """Whether the server of a group that this host serves stays up. One that begins anew again and again may
    be well for a moment each time. Times are seconds of a monotonic clock."""

    ails_since_s: float | None = None
    well_since_s: float | None = None

    def note(self, healthy: bool, now_s: float, steady_s: float) -> None:
        """Take in how it is now; it is well once it has been healthy for ``steady_s``."""
        if not healthy:
            self.well_since_s = None
            self.ails_since_s = now_s if self.ails_since_s is None else self.ails_since_s
        elif self.ails_since_s is not None:
            self.well_since_s = now_s if self.well_since_s is None else self.well_since_s
            if now_s - self.well_since_s >= steady_s:
                self.ails_since_s = self.well_since_s = None

    def fails(self, now_s: float, patience_s: float) -> bool:
        """Whether it has ailed for so long that nobody counts as served."""
        return self.ails_since_s is not None and now_s - self.ails_since_s >= patience_s


def fits(claims: Iterable[Claim], capacity: int | None) -> frozenset[str]:
    """Return the names of the groups for which a host with so many units (None: no bound) has room."""
    by_name = {claim.group.name: claim for claim in claims}
    if capacity is None:
        return frozenset(by_name)
    by_rank = [by_name[group.name] for group in ranked(claim.group for claim in by_name.values())]
    place = {claim.group.name: i for i, claim in enumerate(by_rank)}
    left, room, serving = capacity, set(), dict[int, int]()
    for claim in sorted(by_rank, key=lambda claim: claim.turn):
        name = claim.group.name
        beside = sum(taken for i, taken in serving.items() if i < place[name])
        if claim.units > left or not could_serve(claim.group, capacity, beside):
            continue
        room.add(name)
        left -= claim.units
        if claim.part in (Part.SERVES, Part.UNSERVED):
            serving[place[name]] = claim.group.units
    return frozenset(room)
