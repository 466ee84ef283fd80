"""What a node knows: itself, its links, its peer. Changed by events only."""

from __future__ import annotations

from dataclasses import dataclass

from fttcp.core.model import PEER_LINK, Body, Mode, Role


@dataclass(slots=True)
class View:
    """Facts about this node and its peer; no decisions."""

    healthy: bool = False
    stopping: bool = False
    carrier_since_ns: int | None = None
    reference: bool = True
    """False while the reference address does not answer; true as well when there is none."""
    links: int = 0
    boot_id: int = 0
    """Of the peer; 0 while it is not heard."""
    peer_since_ns: int = 0
    heard_ns: int = 0
    """Last sign of life of the peer that was lost."""
    lost_ns: int = 0
    """When the peer was found lost."""
    stalled: bool = False
    """The last loss was noticed so late that this node itself must have been halted."""
    peer: Body | None = None
    """What the peer says; None while it is not heard or has said nothing yet."""

    @property
    def peer_alive(self) -> bool:
        """True while heartbeats of the peer come in."""
        return self.boot_id != 0

    @property
    def peer_link(self) -> bool:
        """True if both nodes hear each other on the peer link, as far as is known."""
        bit = 1 << PEER_LINK
        return bool(self.links & bit) and self.peer is not None and bool(self.peer.links & bit)

    def carrier_for_ns(self, now_ns: int) -> int | None:
        """How long the service interface has had a carrier; None without one."""
        return None if self.carrier_since_ns is None else max(0, now_ns - self.carrier_since_ns)

    def follower(self) -> Body | None:
        """Return the peer's body if it waits for a pairing and could serve."""
        peer = self.peer
        if peer is None or peer.role is not Role.BACKUP or peer.mode is not Mode.IDLE:
            return None
        return peer if peer.healthy and peer.session == 0 else None

    def follows(self, session: int) -> bool:
        """True if the peer follows this pairing as backup."""
        peer = self.peer
        return peer is not None and peer.role is Role.BACKUP and session != 0 and peer.session == session
