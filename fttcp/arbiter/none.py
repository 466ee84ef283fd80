"""No arbiter: the state of the own service link decides.

Defends against a cut service cable (a node without carrier never owns the group, and one whose
carrier came back listens first). Does not defend against a partition of every link at once: then
both nodes own the group until they hear each other again.
"""

from __future__ import annotations

from fttcp.core.arbitration import Claim


class NoArbiter:
    """Grants whatever a node with a settled service link claims."""

    def __init__(self, settle_ns: int) -> None:
        """``settle_ns``: how long the carrier must have been there, in nanoseconds."""
        self._settle_ns = settle_ns

    def grants(self, claim: Claim) -> bool:
        """Return True if the claimant's carrier has been up for the settling time."""
        return claim.carrier_for_ns is not None and claim.carrier_for_ns >= self._settle_ns
