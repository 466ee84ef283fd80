"""Who else says that a service address is theirs: a station that is no node of the group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fttcp.group.readiness import Reason
from fttcp.network.interface import hardware_address
from fttcp.planes.base import EngineEvent
from fttcp.server.verdict import Note

OVER_AFTER_S = 25.0
"""A claim that was not repeated is over: the engine tells of one again after 10 s, and asks as often."""
GRACE_S = 1.0
"""A peer that has another MAC address now says so in a heartbeat, and its announcement may be read before."""


@dataclass(slots=True)
class _Claim:
    """What one station said of one address."""

    address: str
    mac: str
    first_s: float
    last_s: float
    held: bool = False
    certain: bool = False
    told: bool = False


class Claims:
    """Of one group. Peers tell their MAC addresses in heartbeats: what those claim is their right."""

    def __init__(self, interface: str, note: Note) -> None:
        """``interface``: the service interface, or '' if there is none."""
        self.interface, self._note = interface, note
        self.mac = self._own_mac()
        """The service interface's, or b'' while it has none."""
        self._peers: dict[str, set[bytes]] = {}
        self._claims: dict[tuple[str, str], _Claim] = {}

    def _own_mac(self) -> bytes:
        try:
            return bytes.fromhex(hardware_address(self.interface).replace(":", ""))
        except OSError:  # it is gone: the peers are told when it returns
            return b""

    def moved(self, event: EngineEvent) -> None:
        """The service interface has another MAC address; the engine announces it."""
        self.mac = event.value.to_bytes(6, "big")
        self._note("mac-changed", "warning", interface=self.interface, mac=self.mac.hex(":"))

    def know(self, peer: str, mac: bytes, service_mac: bytes = b"") -> None:
        """Take in what a peer says of itself: its interface's address, and that of its service (`mac`), if
        it has one, which not all nodes may have yet."""
        macs = {one for one in (mac, service_mac) if one}
        if mac and self._peers.get(peer) != macs:
            self._peers[peer] = macs
            shown = {one.hex(":") for one in macs}
            for key in [key for key in self._claims if key[1] in shown]:
                del self._claims[key]

    def heard(self, event: EngineEvent, strangers: bool) -> None:
        """A station claims an address. ``strangers``: there are peers whose MAC address is not known; one
        that repeats its claim is told of all the same."""
        assert event.key is not None
        mac, now_s = event.value.to_bytes(6, "big"), time.monotonic()
        if any(mac in macs for macs in self._peers.values()):
            return
        key = (event.key.local, mac.hex(":"))
        claim = self._claims.get(key)
        again = claim is not None and now_s - claim.last_s <= OVER_AFTER_S
        if claim is None or not again:
            claim = self._claims[key] = _Claim(*key, now_s, now_s)
        claim.last_s, claim.held = now_s, bool(event.reason)
        claim.certain = claim.certain or claim.held or again or not strangers
        self._tell_of(claim)

    def _tell_of(self, claim: _Claim) -> None:
        """Once. While this node holds the address at once: no peer claims it then."""
        waited = claim.held or time.monotonic() - claim.first_s >= GRACE_S
        if claim.told or not claim.certain or not waited:
            return
        claim.told = True
        held = "it is announced anew" if claim.held else "this node does not hold it now"
        self._note(
            "address-claimed",
            "warning",
            address=claim.address,
            mac=claim.mac,
            interface=self.interface,
            why=f"{self._sentence(claim)}; {held}",
        )

    def missing(self, peers: int) -> bool:
        """Return True while fewer peers than these have told their MAC addresses."""
        return len(self._peers) < peers

    def _sentence(self, claim: _Claim) -> str:
        who = f"{claim.mac} on {self.interface}"
        return f"{claim.address} is claimed by {who}, which is no node of this cluster"

    def _present(self) -> Iterator[_Claim]:
        now_s = time.monotonic()
        return (
            claim for claim in self._claims.values() if claim.told and now_s - claim.last_s <= OVER_AFTER_S
        )

    def settle(self) -> Iterator[Reason]:
        """Tell of what no peer has explained; forget what is over, and tell so; return why this node is not
        ready for what is not."""
        now_s = time.monotonic()
        for claim in [claim for claim in self._claims.values() if now_s - claim.last_s > OVER_AFTER_S]:
            del self._claims[claim.address, claim.mac]
            if claim.told:
                self._note("address-claim-over", address=claim.address, mac=claim.mac)
        for claim in self._claims.values():
            self._tell_of(claim)
        present = list(self._present())
        if present:
            what = "; ".join(map(self._sentence, present))
            todo = "find that station (the switch knows its port) and take the address from it"
            yield Reason("address-claimed", what, todo)

    def shown(self) -> list[dict[str, Any]]:
        """Return the claims of now, as in ``status --json``."""
        now_s = time.monotonic()
        return [
            {
                "address": claim.address,
                "mac": claim.mac,
                "interface": self.interface,
                "since_s": round(now_s - claim.first_s, 1),
                "last_s": round(now_s - claim.last_s, 1),
            }
            for claim in self._present()
        ]
