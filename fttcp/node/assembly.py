"""From the configuration to what the parts of a node need: engines, their settings, the role machine's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from secrets import randbits
from types import ModuleType
from typing import Any

from fttcp.config import QUEUE_OUT_OFFSET, Config, GroupSection, PeerSection
from fttcp.config.address import stored_dir
from fttcp.config.arbiter import NoneSection
from fttcp.group import lockstep
from fttcp.group.secrets import Secrets
from fttcp.group.terms import terms
from fttcp.network.rules import DEFAULT_MARK, GroupNet
from fttcp.ownership.members import Members
from fttcp.ownership.model import NS_PER_MS, Settings
from fttcp.planes.base import (
    Engine,
    EngineSettings,
    LinkAddress,
    LivenessSettings,
    PeerKey,
    PeerSettings,
    StoredSettings,
    Transport,
)
from fttcp.planes.clocks import Clocks
from fttcp.planes.liveness import Liveness
from fttcp.report.events import History
from fttcp.wire import identity
from fttcp.wire.keyfile import KeyRing

EngineFactory = Callable[[EngineSettings, Liveness], Engine]

PROBE_START_MS = 1
"""What it may take until a probe is really sent."""
PROBE_GROUP_NS = NS_PER_MS // 2
"""And longer for each group: those of one peer ask at once."""
MOST_OF_A_LOG = 64 << 20
"""Bytes of one connection's input that can be kept at all."""

_ENGINES = {
    "nfqueue": "fttcp.planes.nfqueue:NfqueueEngine",
    "programmable": "fttcp.planes.programmable:ProgrammableEngine",
}


class NodeError(Exception):
    """The node cannot start; the sentence says what to do."""


def open_engine(kind: str) -> EngineFactory:
    """Return the engine of this name; its libraries are loaded only now. Raises NodeError."""
    module, _, name = _ENGINES[kind].partition(":")
    factory: EngineFactory = getattr(_load(module, f"engine {kind!r}"), name)
    return factory


def _load(module: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NodeError(f"{what} cannot be loaded: {error} (is it built? run: make build)") from error


def core_settings(
    config: Config,
    group: GroupSection,
    secrets: Secrets,
    stored_epoch: int = 0,
    boot_id: int = 0,
    members: Members | None = None,
) -> Settings:
    """Return what the role machine of a group needs to know; ``members``: the arbiter's record of the nodes,
    as far as it is known; None: there is none. Raises NodeError."""
    timing, lib = group.timing, _load("fttcp._native", "the native core").lib
    return Settings(
        group=group.name,
        name=config.node.name,
        peers=tuple(peer.name for peer in config.peer),
        priority=group.priority_of(config.node.name),
        lease_ns=timing.lease_ms * NS_PER_MS,
        drift_ppm=timing.drift_ppm,
        startup_wait_ns=timing.startup_ms * NS_PER_MS,
        solo_lease_ns=config.arbiter.solo_lease_ns,
        stored_epoch=stored_epoch,
        boot_id=boot_id,
        memory=group.state == "memory" and group.renew != "history",  # else it is told what it lacks
        watched=len(group.all_commands) != 1,
        cold=group.standby != "hot" or group.mode == "address",
        exclusive=group.mode == "address",
        checkpoint_every_ns=group.checkpoint_every_s * 1000 * NS_PER_MS * (group.standby == "warm"),
        saves_workers=group.on_worker_death == "takeover",
        handover_wait_ns=timing.handover_wait_ms * NS_PER_MS,
        terms=terms(config, group, secrets),
        mirror_tested=len(config.peer) == 1 and group.mode == "connection",
        members=members,
        speaks=(lib.FTT_CHANNEL_OLDEST, lib.FTT_CHANNEL_VERSION),
    )


def liveness_settings(config: Config, keys: KeyRing) -> LivenessSettings:
    """Return what the heartbeats of a node need to know."""
    node = config.node
    return LivenessSettings(
        keys=keys,
        cluster_id=identity.nodes_id(node.cluster),
        node_id=identity.node_id(node.name),
        boot_id=randbits(64) or 1,
        peers=tuple(peer_settings(peer) for peer in config.peer),
        port=node.heartbeat_port,
        encrypt=node.encrypt,
    )


def make_clocks(config: Callable[[], Config], liveness: Liveness, history: History) -> Clocks:
    """Return what compares the wall clocks of a node and its peers."""
    node, ids = config().node, clock_ids(config())

    def note(kind: str, level: str = "info", /, **fields: Any) -> None:
        history.add(kind, level, None, **fields)

    return Clocks(
        identity.node_id(node.name), ids, liveness.delay_ns, note, lambda: config().node.clocks_apart_ms
    )


def clock_ids(config: Config) -> dict[str, int]:
    """Return what clocks know peers by, in the order of their numbers."""
    return {peer.name: identity.node_id(peer.name) for peer in config.peer}


def service_mac(config: Config, group: GroupSection) -> bytes:
    """Return the MAC address that moves with the group; b'' if it has that of the interface."""
    if group.mac == "virtual":
        return identity.virtual_mac(config.node.cluster, group.name)
    return bytes.fromhex(group.mac.replace(":", "")) if group.mac else b""


def engine_settings(
    config: Config, group: GroupSection, secrets: Secrets, adapter: str = ""
) -> EngineSettings:
    """Return what a group's engine needs to know; ``adapter``: the `service_interface` of this moment."""
    node, timing, limits, whole = config.node, group.timing, group.limits, group.renew == "history"
    adapter = adapter or node.service_interface
    return EngineSettings(
        keys=secrets.keys,
        cluster_id=identity.cluster_id(node.cluster, group.name),
        node_id=identity.node_id(node.name),
        boot_id=randbits(64) or 1,
        peers=tuple(peer_settings(peer) for peer in config.peer),
        service_interface=adapter,
        standby_interfaces=tuple(name for name in node.adapters if name != adapter),
        peer_interface=node.peer_interface,
        service_mac=service_mac(config, group) or bytes(6),
        service_addresses=tuple(group.addresses),
        ports=group.engine_ports,
        opens=group.opened_ports,
        md5=tuple(
            PeerKey(str(entry.network.network_address), entry.network.prefixlen, secrets.password(entry))
            for entry in group.md5
        ),
        channel_port=group.channel_port,
        queue_in=group.queue,
        queue_out=group.queue + QUEUE_OUT_OFFSET,
        workers=group.workers,
        mark=DEFAULT_MARK,
        beat_interval_ns=timing.heartbeat_ms * NS_PER_MS,
        lease_ns=timing.lease_ms * NS_PER_MS,
        quiet_ahead_ns=quiet_ahead_ns(config, timing.lease_ms * NS_PER_MS),
        announce_refresh_ns=timing.announce_refresh_s * 1000 * NS_PER_MS,
        drift_ppm=timing.drift_ppm,
        rt_priority=timing.rt_priority,
        busy_poll_ns=timing.busy_poll_us * 1000,
        detach_after_ns=timing.detach_after_ms * NS_PER_MS,
        output_lag_ns=timing.lag_ms * NS_PER_MS,
        end_grace_ns=end_grace_ms(group) * NS_PER_MS,
        open_timeout_ns=timing.open_timeout_ms * NS_PER_MS,
        opens_wait_ns=timing.opens_wait_ms * NS_PER_MS,
        idle_timeout_ns=timing.idle_timeout_s * 1000 * NS_PER_MS,
        udp_idle_timeout_ns=timing.udp_idle_timeout_s * 1000 * NS_PER_MS,
        max_flows=limits.max_flows,
        max_half_open=limits.max_half_open,
        max_held=limits.max_held,
        max_held_total=limits.max_held_total,
        max_udp_bytes=limits.max_udp_bytes,
        max_retained=limits.max_retained_bytes,
        renew=group.renew != "none",
        renew_flow=min(limits.history_bytes, MOST_OF_A_LOG) if whole else limits.renew_flow_bytes,
        renew_bytes=limits.history_bytes if whole else limits.renew_bytes,
        spool=group.renew_spool_dir or "",
        spool_bytes=limits.renew_spool_bytes // group.workers,
        history_bytes=limits.history_bytes if whole else 0,
        cold=group.standby != "hot" or group.mode == "address",
        warm=group.standby == "warm",
        queue_maxlen=limits.queue_maxlen,
        compare=group.compare,
        detach_divergent=group.divergence == "detach" or group.lockstep != "off",
        continue_unverified=group.unverified == "continue",
        order_service=group.order == "service",
        lockstep=str(lockstep.place(config, group) or ""),
        calls_log=limits.calls_bytes if group.lockstep == "calls" else 0,
        stored=stored_settings(config, group),
        service_iss=group.experiment.service_iss,
        service_ts=group.experiment.service_ts,
        space_seed=group.experiment.space_seed,
        strict_commit=group.experiment.strict_commit,
        callback=group.experiment.callback,
    )


def stored_settings(config: Config, group: GroupSection) -> StoredSettings | None:
    """Return what the engine needs to know of requests whose replies are stored; None if none are."""
    stored = group.stored_replies
    if stored is None:
        return None
    return StoredSettings(
        dir=str(stored_dir(config.node.state_dir, group.name)),
        bytes=stored.bytes,
        answer_ns=stored.answer_within_ms * NS_PER_MS,
        keep_s=stored.keep_s,
        id_at=stored.id_offset or 0,
        id_len=0 if stored.id_offset is None else stored.id_bytes,
        by_id=stored.match == "id",
        again=stored.unanswered == "execute",
        go_on=stored.when_full == "forget",
    )


def end_grace_ms(group: GroupSection) -> int:
    """Return for how long the end of a connection waits for the backup's server. One that is kept in step
    comes to the same end, so that is waited for as long as all else that it has not said yet."""
    timing, own = group.timing, group.timing.end_grace_ms
    return own if group.lockstep == "off" else max(own, timing.detach_after_ms)


def quiet_ahead_ns(config: Config, lease_ns: int) -> int:
    """Return how long before the loss of a peer the service network is to be asked: so that what it says is
    there when the loss is, and as late as that allows, since an owner that lives answers, and the question
    is in its way while it asks the same. 0: there is an arbiter."""
    if config.arbiter.kind != "none":
        return 0
    probe_ms = (config.arbiter.none or NoneSection()).probe_ms
    ahead_ns = (probe_ms + PROBE_START_MS) * NS_PER_MS + len(config.group) * PROBE_GROUP_NS
    return min(ahead_ns, lease_ns // 3) if probe_ms else 0


def peer_settings(peer: PeerSection) -> PeerSettings:
    """Return what the engines need to know of another node."""
    links = (
        LinkAddress(
            interface=link.interface or "",
            local=link.local or "",
            remote=link.remote or "",
            transport=Transport.__members__[link.transport.upper()],
            device=link.device or "",
            baud=link.baud or 0,
        )
        for link in peer.link
    )
    return PeerSettings(identity.node_id(peer.name), tuple(links))


def group_net(config: Config, group: GroupSection, peer: PeerSection | None = None) -> GroupNet:
    """Return what the rules and routes of a group need to know; ``peer``: whom it is mirrored to, if at all;
    None: the first one."""
    link = (peer or config.peer[0]).link[0]
    assert link.remote is not None  # the first link is UDP: config.checks
    remote, mirrored = ip_address(link.remote), group.mode == "connection"
    v6 = link.remote_v6 or (link.remote if isinstance(remote, IPv6Address) else None)
    return GroupNet(
        name=group.name,
        addresses=group.ip_addresses,
        ports=group.engine_ports,
        opens=group.opened_ports,
        service_interface=config.node.service_interface,
        standby_interfaces=tuple(config.node.standby_interfaces),
        peer_interface=config.node.peer_interface,
        mac=service_mac(config, group),
        mirror_gateway4=remote if isinstance(remote, IPv4Address) and mirrored else None,
        mirror_gateway6=IPv6Address(v6) if v6 is not None and mirrored else None,
        queue_in=group.queue,
        queue_out=group.queue + QUEUE_OUT_OFFSET,
        workers=group.workers,
        mark=DEFAULT_MARK,
        channel_port=group.channel_port,
        links_v6=tuple(
            dict.fromkeys(
                link.interface
                for one in config.peer
                for link in one.link
                if link.transport == "udp" and link.interface and ":" in (link.local or "")
            )
        ),
        peers=tuple(
            dict.fromkeys(
                ip_address(text)
                for one in config.peer
                for link in one.link
                if link.transport == "udp"
                for text in (link.remote, link.remote_v6)
                if text is not None
            )
        ),
    )
