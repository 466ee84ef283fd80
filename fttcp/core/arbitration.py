"""What the role machine asks before it takes a lease of its own. Answers come from fttcp.arbiter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fttcp.core.model import Cause


@dataclass(frozen=True, slots=True)
class Claim:
    """``node`` wants to own ``group`` alone under ``epoch``.

    ``carrier_for_ns``: how long its service interface has had a carrier; None without one.
    """

    group: str
    node: str
    epoch: int
    cause: Cause
    carrier_for_ns: int | None


class Arbiter(Protocol):
    """Grants a group to at most one node at a time, as well as its means allow."""

    def grants(self, claim: Claim) -> bool:
        """Return True if the node may own the group now. Must not block."""
        ...
