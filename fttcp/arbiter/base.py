"""What every arbiter is: one register for each group, changed by compare-and-set only.

*Atomic*: of several proposals that expect the same record, at most one is won, whoever sends them and
wherever they arrive. A proposal of what stands already is won again. *Durable*: a record that was won
outlives crash and power loss of the arbiter; an answer is sent only after the record is on stable storage.
*In order*: once a node's question about a group is answered, none of its earlier requests that got no
answer takes effect any more; so UNREACHABLE is cleared up by one inquiry. *Guarded*: who may replace
what is written in ``register.py``, and who belongs to the cluster in ``ownership/members.py``: no change of a
group goes past that record. *Leases* of solo holders are counted by the arbiter's own clock and begin anew,
in full, when the arbiter starts again.

The backend ``none`` has no register: see there what it can keep of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fttcp.ownership.members import Members
from fttcp.ownership.ownership import Answer, Record


class ArbiterError(Exception):
    """The arbiter cannot be used as it is configured; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Roll:
    """The nodes of the cluster, as the arbiter has them. ``members`` None: no answer came, or there is no
    record (``none``). ``why``: what was refused, for people."""

    members: Members | None = None
    why: str = ""


class ArbiterClient(Protocol):
    """One node's access to the arbiter. Calls never raise for trouble outside: they answer UNREACHABLE."""

    async def propose(self, group: str, expected: Record | None, wanted: Record) -> Answer:
        """Replace ``expected`` by ``wanted`` if it still stands and this node may do so."""

    async def renew(self, group: str, record: Record) -> Answer:
        """Extend the lease of this node's own solo ``record``; LOST if it does not stand any more."""

    def anticipate(self, group: str) -> None:
        """This node may soon want the group: find out beforehand what can be. Claims nothing."""

    async def inquire(self, group: str) -> Answer:
        """Return what stands; outcome WON unless there was no answer."""

    async def roll(self) -> Roll:
        """Return the record of the nodes."""

    async def tell(self, peers: Sequence[str], apart: bool) -> Roll:
        """Tell whom this node's file names. It is written anew in each life of the node: what an earlier one
        sent then comes too late. ``apart``: see ``Members.tell``."""

    async def forget(self, node: str, by: str) -> Roll:
        """Take out what a dead node told, as somebody wants at node ``by``; see ``Members.forget``."""

    async def check(self) -> bool:
        """Return True if the arbiter answers now; ``describe`` then tells more."""

    async def close(self) -> None:
        """Give all connections up."""

    def describe(self) -> dict[str, Any]:
        """Return what operators are shown: ``kind``, ``endpoints``, ``reachable`` (None: not known yet),
        ``answered_s_ago``, ``last_error``, ``residual_risk``."""
