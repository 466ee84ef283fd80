"""What people are told of an engine's event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fttcp.core.model import NS_PER_MS
from fttcp.datapath.base import EngineEvent, EventKind, Intrusion, Reason

_INTRUSIONS = {
    Intrusion.MAC: "bad MAC",
    Intrusion.REPLAY: "replay",
    Intrusion.AT_PEER: "the peer met a bad MAC, a replay or another cluster",
    Intrusion.VERSION: "another version of heartbeats: run one release on all nodes",
    Intrusion.CLUSTER: "right key, another cluster, or another list of nodes",
}


def described(event: EngineEvent, peers: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return level and fields of an event; ``peers``: the names, in the order in which events number them."""
    level = "info"
    fields: dict[str, Any] = {}
    match event.kind:
        case EventKind.PEER_BODY | EventKind.GATE_OPEN | EventKind.ANNOUNCED | EventKind.TAKEOVER_DONE:
            level = "debug"
        case EventKind.PEER_QUIET:
            level, fields = "debug", {"peer": peers[event.peer], "silent_ms": event.value / NS_PER_MS}
        case EventKind.PEER_UP:
            fields = {"peer": peers[event.peer], "boot": f"{event.value:016x}"}
        case EventKind.PEER_LOST | EventKind.PEER_SUSPECTED:
            level = "warning"
            fields = {"peer": peers[event.peer], "silent_ms": event.value / NS_PER_MS}
        case EventKind.LINK_UP:
            fields = {"peer": peers[event.peer], "link": event.link}
        case EventKind.LINK_LOST:
            level, fields = "warning", {"peer": peers[event.peer], "link": event.link}
            fields["silent_ms"] = event.value / NS_PER_MS
        case EventKind.INTRUSION:
            level, fields = (
                "warning",
                {"link": event.link, "what": _INTRUSIONS[Intrusion(event.value)]},
            )
        case EventKind.FLOW_DETACHED | EventKind.DIVERGENCE | EventKind.UNSUPPORTED:
            why = Reason(event.reason).name.lower().replace("_", "-")
            level, fields = "warning", {"flow": str(event.key), "reason": why, "value": event.value}
    return level, fields
