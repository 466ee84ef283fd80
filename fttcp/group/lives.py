"""Which part the next life of a server has that is kept in step by its calls, and when that must begin. Pure.

A life is one start of the server. The *leader* acts by itself, and each of its calls is told to the
*follower*, from the leader's first call on. So a follower begins with its server, is told all, or is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fttcp.ownership.model import Phase

_WAITING = frozenset({Phase.JOINING, Phase.FOLLOWING, Phase.STOPPED, Phase.FENCED})
"""Who owns the group is another node's matter, or nobody's here any more."""


class Part(StrEnum):
    """What a server's life is for."""

    LEADER = "leader"
    FOLLOWER = "follower"


@dataclass(frozen=True, slots=True)
class Life:
    """One start of this node's server."""

    part: Part
    of: int = 0
    """Of a follower: the number of the leader's start; 0: not known yet."""
    given: bool = False
    """A follower was told something: it is not fresh any more."""
    ended: bool = False
    """It does not lead, or follow, any more."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What this node knows."""

    phase: Phase
    owner: bool = False
    """Another node owns the group, is heard, and does not hand it over."""
    run: int = 0
    """The number of the start of the owner's server; 0: it does not run."""
    leads: bool = False
    """The owner says that its server leads, and that all its calls are known."""

    @property
    def beside(self) -> bool:
        """This node stands beside the owner, and may do so for long."""
        return self.owner and self.phase in (Phase.JOINING, Phase.FOLLOWING)


def part_of_next(now: Situation) -> Part:
    """Return what a server is that starts now."""
    return Part.FOLLOWER if now.beside and now.leads else Part.LEADER


def begins_anew(life: Life, now: Situation) -> bool:
    """Return whether this life is to end for another one. What a follower was told is never thrown away
    while this node serves, or may have to soon: it goes on by itself then."""
    if life.part is Part.LEADER:
        return part_of_next(now) is Part.FOLLOWER
    if not now.beside:
        return not life.given and now.phase not in _WAITING
    if life.given:
        return life.ended or now.run not in (0, life.of)
    return life.ended or not now.leads
