"""What the nodes of a group should have alike: each of them tells a digest of each, and compares.

The order is that of the heartbeat: new ones come last, and what the other node does not tell is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

MOST = 0xFFFFFF
"""The largest digest. As that of the arbiter: there is none."""
UNTOLD = 0
"""In place of a digest: there is nothing to compare now."""


class Term(IntEnum):
    """One thing in which nodes should agree, by its place among the digests."""

    ADDRESSES = 0
    PORTS = 1
    ARBITER = 2
    TIMING = 3
    STATE = 4
    WORKERS = 5
    ARBITER_PLACES = 6
    ENGINE = 7
    ORDER = 8
    COMPARE = 9
    DIVERGENCE = 10
    UNVERIFIED = 11
    ENCRYPT = 12
    EXPERIMENT = 13
    WINDOW_SCALING = 14
    TIMESTAMPS = 15
    SACK = 16
    ECN = 17
    LOCKSTEP = 18
    STANDBY = 19
    RENEW = 20
    OPENS = 21
    MD5 = 22
    MAC = 23
    PLACEMENT = 24
    STORED_REPLIES = 25

    @property
    def key(self) -> str:
        """As people know it."""
        if Term.WINDOW_SCALING <= self <= Term.ECN:
            return f"net.ipv4.tcp_{self.name.lower()}"
        return "arbiter.addresses" if self is Term.ARBITER_PLACES else self.name.lower()


BINDING = frozenset(
    {
        Term.ADDRESSES,
        Term.PORTS,
        Term.ARBITER,
        Term.TIMING,
        Term.STATE,
        Term.WORKERS,
        Term.LOCKSTEP,
        Term.STANDBY,
        Term.RENEW,
        Term.STORED_REPLIES,
    },
)
"""A pair that differs in these would break a promise: it does not form. What else differs is told."""


_EARLIER = {Term.STORED_REPLIES: 0xE9169A}
"""What a node has that does not tell it: one of a release that knew no such thing has none."""


def differing(ours: Sequence[int], theirs: Sequence[int]) -> frozenset[Term]:
    """Return what both tell and is not the same."""
    other = _EARLIER | dict(zip(Term, theirs, strict=False))
    both = ((term, mine, other.get(term, UNTOLD)) for term, mine in zip(Term, ours, strict=False))
    return frozenset(term for term, mine, its in both if mine != its and UNTOLD not in (mine, its))
