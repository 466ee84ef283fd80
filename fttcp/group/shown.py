"""What ``status`` shows of a group: its nodes, its record, its keys, its engine. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fttcp import __version__
from fttcp.group.engine_events import (
    why_behind,
    why_no_history,
    why_no_spool,
    why_not_stored,
    why_whole,
)
from fttcp.network.owner import Standing
from fttcp.ownership.model import NS_PER_MS, EngineMode, Lease, Mode, Phase, Role
from fttcp.ownership.pair import PairMachine
from fttcp.ownership.view import Peer
from fttcp.planes.base import BeatThread, Engine, HistoryStage, Unrenewable
from fttcp.wire.body import Aside

SPARE = "spare"
"""A node that joined an owner and has no part in its pairing: it becomes backup when there is none."""
ABSENT = "absent"
"""A node that is not heard."""


Status = dict[str, Any]
"""As the operation ``status`` replies, or one group of it."""


def is_primary(group: Status) -> bool:
    """True if this node serves the group now: a primary with a valid lease."""
    return bool(group["role"] == "primary" and group.get("lease_ms_left", 0) > 0)


def is_ready(group: Status) -> bool:
    """True if this node serves the group, and nothing says that it does not really; or if it could take over
    with every protected connection if the primary were lost now: in step, and nothing is in the way."""
    reasons = group.get("not_ready", [])
    if is_primary(group):
        return not any(reason["hinders"] == "service" for reason in reasons)
    return bool(group["role"] == "backup" and group["synced"] and not reasons)


def shown_first(machine: PairMachine) -> Peer:
    """Return the peer that people are told of first: the partner, or the owner."""
    partner, owner = machine.partner, machine.view.owner()
    if partner is not None and (machine.session or owner is None):
        return partner
    return owner or machine.view.named[0]


def as_what(machine: PairMachine, fenced: bool) -> str:
    """Return role and mode, as people read them."""
    role = "fenced" if fenced else machine.role.value
    return f"{role} ({machine.mode.value}{', PAUSED' if machine.paused else ''})"


def machine_shown(
    machine: PairMachine, peer: Peer, fenced: bool, releases: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the role machine knows. ``peer``: of whom people are told first."""
    said = [one.said for one in machine.view.peers if one.said is not None]
    return {
        "name": machine.settings.group,
        "role": "fenced" if fenced else machine.role.value,
        "mode": machine.mode.value,
        "epoch": machine.epoch,
        "peer": peer.name,
        "peer_alive": peer.alive,
        "arbiter_awaited": machine.arbitration.unheard,
        "reference": machine.view.reference,
        "paused": machine.paused,
        "maintenance": machine.maintenance,
        "peer_maintenance": min((body.maintenance for body in said), default=0),
        "nodes": nodes_shown(machine, fenced, releases),
        "switchover_wanted": machine.switchover_wanted,
        "failover_wanted": machine.failover_wanted,
        "unfit": unfit_shown(machine),
        "differs": differs_shown(machine),
    }


def nodes_shown(machine: PairMachine, fenced: bool, releases: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what ``status`` shows of each node, by name. ``healthy``: its server; None if not heard.
    ``releases``: by names of peers, as they told last."""
    role = SPARE if machine.phase is Phase.JOINING else machine.role.value
    name, healthy = machine.settings.name, machine.view.healthy
    own = {"name": name, "role": "fenced" if fenced else role, "healthy": healthy}
    own |= {"release": __version__, "speaks": machine.settings.speaks, "priority": machine.settings.priority}
    peers = [_peer_shown(peer) | {"release": releases.get(peer.name, "")} for peer in machine.view.named]
    return sorted([own, *peers], key=lambda node: str(node["name"]))


def _peer_shown(peer: Peer) -> dict[str, Any]:
    said = peer.said
    if said is None:
        return {"name": peer.name, "role": ABSENT, "healthy": None, "speaks": None, "priority": None}
    waits = said.role is Role.BACKUP and said.mode is Mode.IDLE
    role = SPARE if waits else said.role.value
    shown = {"name": peer.name, "role": role, "healthy": said.healthy}
    return shown | {"speaks": said.speaks, "priority": said.priority}


def unfit_shown(machine: PairMachine) -> dict[str, str]:
    """Return the nodes that wait and that this primary does not make its backup, each with the reason."""
    if machine.phase is not Phase.SOLO:
        return {}
    why = {peer.name: machine.unfit(peer) for peer in machine.view.peers if peer.waits()}
    return {name: reason.value for name, reason in why.items() if reason is not None}


def differs_shown(machine: PairMachine) -> dict[str, list[str]]:
    """Return the nodes that are heard and have other settings: which."""
    found = {peer.name: machine.differs(peer) for peer in machine.view.peers}
    return {name: [term.key for term in sorted(terms)] for name, terms in found.items() if terms}


def ownership_shown(machine: PairMachine, arbiter: dict[str, Any], now_ns: int) -> dict[str, Any]:
    """Return what is known of the record, and of who keeps it."""
    record, until_ns = machine.arbitration.record, machine.arbitration.lease_until_ns
    shown: dict[str, Any] = {"arbiter": arbiter, "record": None}
    if record is not None and machine.settings.arbitrated:
        shown["record"] = {"epoch": record.epoch, "holder": record.holder, "mode": record.mode.value}
        shown["record"]["backup"] = record.backup
    left_ns = 0 if until_ns is None else max(0, until_ns - now_ns)
    return shown | {"certain": machine.arbitration.certain, "lease_ms_left": round(left_ns / NS_PER_MS, 1)}


def firewall_shown(standing: Standing | None) -> dict[str, Any] | None:
    """Return what the rules withstand, and whether they stand; None before they were looked at."""
    if standing is None:
        return None
    return standing._asdict() | {"level": standing.level.value}


def keys_shown(own: Sequence[str], peers: Sequence[Peer], told: Callable[[str], Aside]) -> dict[str, Any]:
    """Return which keys this node and the others believe, and send with; ``told``: by a peer of this name."""
    shown = {peer.name: _keys(told(peer.name).key_ids) if peer.alive else None for peer in peers}
    return _keys(own) | {"peers": shown}


def _keys(ids: Sequence[str]) -> dict[str, Any]:
    return {"believed": list(ids), "sending": ids[0] if ids else None}


def engine_shown(engine: Engine, peer: int) -> dict[str, Any]:
    """Return what the engine counts and measures; ``peer``: whose links are shown."""
    status, counters = engine.status(), engine.counters()
    holding = Lease(status.lease_policy) is not Lease.NONE
    return {
        "engine_mode": EngineMode(status.mode).name.lower(),
        "heartbeat_thread": [str(flag.name).lower() for flag in BeatThread(status.beat_thread)],
        "whole_packets": why_whole(status.whole_packets),
        "peer_intrusions": sum(status.peer_intrusions),
        "links_up": bits(status.links_up[peer]),
        "lease_ms_left": round(status.lease_left_ns / NS_PER_MS, 3) if holding else 0.0,
        "flows": {
            "protected": status.flows_protected,
            "unprotected": status.flows_unprotected,
            "detached": status.flows_detached,
            "opening": status.flows_opening,
            "ending": status.flows_ending,
            "udp": status.udp_sessions,
            "catching": status.flows_catching,
            "renewable": status.flows_renewable,
        },
        "unrenewable": _unrenewable(status.flows_unrenewable),
        "log_memory_bytes": status.log_memory_bytes,
        "spool": {"bytes": status.spool_bytes, "trouble": why_no_spool(status.spool_error)},
        "stored": {
            "requests": status.stored_requests,
            "bytes": status.stored_bytes,
            "file_bytes": status.stored_file_bytes,
            "waiting": status.stored_waiting,
            "in_step": bool(status.stored_in_step),
            "behind": why_behind(status.stored_lag, status.stored_peer_trouble),
            "trouble": why_not_stored(status.stored_trouble),
        },
        "history": {
            "bytes": status.history_bytes,
            "lost": why_no_history(status.history_why),
            "stage": HistoryStage(status.history_stage).name.lower(),
            "sent": status.history_sent,
            "played": status.history_played,
        },
        "flow_bytes": status.flow_bytes,
        "bulk_lane": {"up": status.lanes_up, "wanted": status.lanes},
        "commit": {
            "strict": bool(status.strict_commit),
            "held": status.held_now,
            "lag_us_p50": status.commit_lag_p50_ns / 1000,
            "lag_us_p99": status.commit_lag_p99_ns / 1000,
        },
        "divergences": counters.get("divergences", 0),
        "counters": counters,
    }


def _unrenewable(flows: Sequence[int]) -> dict[str, int]:
    """How many connections and sessions cannot be renewed, by the reason."""
    return {
        Unrenewable(why).name.lower().replace("_", "-"): count
        for why, count in enumerate(flows)
        if count and why
    }


def bits(mask: int) -> list[int]:
    """Return the numbers of the bits that are set, of eight."""
    return [bit for bit in range(8) if mask >> bit & 1]
