"""All nodes of a group, with the roles in which this one sees them."""

from __future__ import annotations

from typing import Any

from fttcp.core.model import Mode, Phase, Role
from fttcp.core.pair import PairMachine
from fttcp.core.view import Peer

SPARE = "spare"
"""A node that joined an owner and has no part in its pairing: it becomes backup when there is none."""
ABSENT = "absent"
"""A node that is not heard."""


def nodes_shown(machine: PairMachine, fenced: bool) -> list[dict[str, Any]]:
    """Return what ``status`` shows of each node, by name. ``healthy``: its server; None if not heard."""
    role = SPARE if machine.phase is Phase.JOINING else machine.role.value
    name, healthy = machine.settings.name, machine.view.healthy
    own = {"name": name, "role": "fenced" if fenced else role, "healthy": healthy}
    return sorted([own, *map(_shown, machine.view.peers)], key=lambda node: str(node["name"]))


def _shown(peer: Peer) -> dict[str, Any]:
    said = peer.said
    if said is None:
        return {"name": peer.name, "role": ABSENT, "healthy": None}
    waits = said.role is Role.BACKUP and said.mode is Mode.IDLE
    return {"name": peer.name, "role": SPARE if waits else said.role.value, "healthy": said.healthy}
