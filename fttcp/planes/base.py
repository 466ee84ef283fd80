"""What the runtime asks of an engine, whatever moves the packets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fttcp import _numbers
from fttcp.network.rules import Address
from fttcp.ownership.model import EngineMode, Lease
from fttcp.wire.keyfile import KeyRing

if TYPE_CHECKING:
    from fttcp.planes.recording import HistoryFile

EventKind = _numbers.EventKind

LaneRefusal = _numbers.LaneRefusal
"""Why a connection of the bulk lane was refused or cut."""

BeatThread = _numbers.BeatThread
"""What the heartbeat thread was allowed to have."""

Intrusion = _numbers.Intrusion
"""What an event of kind INTRUSION means."""

Reason = _numbers.Reason
"""Why a flow is not protected."""

Opener = _numbers.Opener
"""Which end of a connection has opened it."""

Unrenewable = _numbers.Unrenewable
"""Why a new backup cannot catch up with a connection."""

HistoryStage = _numbers.HistoryStage
"""How far a new backup's server is with the history of ours."""

HistoryFailure = _numbers.HistoryFailure
"""Why a backup's server was not brought to where the primary's is."""

CallsPart = _numbers.CallsPart
"""What a server is that starts with a log of calls."""

CallsState = _numbers.CallsStage
"""How it is with that log."""

CallsNews = _numbers.CallsNews
"""What an event of kind CALLS tells."""

StoredNews = _numbers.StoredNews
"""What an event of kind STORED tells."""

StoredLag = _numbers.StoredLag
"""Why a backup is not in step with what a primary stores."""

Protection = _numbers.Protection


@dataclass(frozen=True, slots=True)
class FlowKey:
    """One flow: addresses as text, ports, protocol ``tcp`` or ``udp``. The local port of a UDP session
    is 0: a server may answer from a port of its own, so a session is all that a client's port says."""

    remote: str
    remote_port: int
    local: str
    local_port: int
    proto: str

    def text(self, opener: int) -> str:
        """Return ``address:port > address:port/proto``, who opened it first; IPv6 in brackets, ``*`` for a
        UDP session's port."""
        remote, local = (f"[{a}]" if ":" in a else a for a in (self.remote, self.local))
        ends = [f"{remote}:{self.remote_port}", f"{local}:{self.local_port or '*'}"]
        first, second = ends if opener == Opener.REMOTE else reversed(ends)
        return f"{first} > {second}/{self.proto}"

    def __str__(self) -> str:
        """Return it as one that its remote end has opened."""
        return self.text(Opener.REMOTE)


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One event of the engine. ``when_ns``: monotonic; ``value`` and the rest depend on the kind (abi.h).
    ``peer`` is an index into the settings' peers, ``link`` one into that peer's links."""

    kind: EventKind
    when_ns: int
    value: int = 0
    link: int = 0
    reason: int = 0
    key: FlowKey | None = None
    peer: int = 0


STAMPED_MAX = _numbers.STAMPED_MAX
"""Pairs of address and port up to which the kernel edits a group's long mirrored packets."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A snapshot of an engine, fields as in struct ftt_status. ``peer_alive`` has a bit for each peer; the
    tuples have an entry for each peer, ``links_up`` with a bit for each link; but ``flows_unrenewable``."""

    mode: int = 0
    lease_policy: int = 0
    session: int = 0
    lease_left_ns: int = 0
    flows_protected: int = 0
    flows_unprotected: int = 0
    flows_detached: int = 0
    flows_opening: int = 0
    flows_ending: int = 0
    """Those that a takeover at this moment would end, as far as this node knows."""
    flows_unverified: int = 0
    """Protected ones among them: they may well go on a moment later."""
    udp_sessions: int = 0
    flow_bytes: int = 0
    held_now: int = 0
    ends_held: int = 0
    commit_lag_p50_ns: int = 0
    commit_lag_p99_ns: int = 0
    beat_thread: int = 0
    strict_commit: int = 1
    whole_packets: int = 0
    flows_catching: int = 0
    """Of those without protection: a new backup catches up with them, or will."""
    flows_renewable: int = 0
    """Whose input is kept from their beginning on."""
    flows_unrenewable: tuple[int, ...] = ()
    """Living ones, by Unrenewable."""
    log_memory_bytes: int = 0
    """In memory."""
    spool_bytes: int = 0
    """... and on the disk."""
    spool_error: int = 0
    """errno of what was written or read there last."""
    history_bytes: int = 0
    """Of what all clients have sent since the server started."""
    history_sent: int = 0
    """Of that, so many were sent to a new backup; and played there."""
    history_played: int = 0
    history_why: int = 0
    """An ``Unrenewable``: why there is none."""
    history_stage: int = 0
    stored_requests: int = 0
    stored_waiting: int = 0
    stored_bytes: int = 0
    stored_file_bytes: int = 0
    stored_trouble: int = 0
    """errno."""
    stored_in_step: int = 0
    stored_lag: int = 0
    """A ``StoredLag``."""
    stored_peer_trouble: int = 0
    """errno, of its backup's disk."""
    partner: int = 0
    lanes_up: int = 0
    """Connections of the bulk lane."""
    lanes: int = 0
    """How many there should be."""
    peer_alive: int = 0
    links_up: tuple[int, ...] = ()
    peer_intrusions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CallsShown:
    """How it is with the log of calls, fields as in struct ftt_calls_shown; ``program`` is text."""

    state: int = 0
    in_step: int = 0
    theirs: int = 0
    why: int = 0
    pid: int = 0
    thread: int = 0
    made: int = 0
    said: int = 0
    number: int = 0
    program: str = ""
    log_bytes: int = 0
    retained: int = 0
    sent: int = 0
    held: int = 0
    behind: int = 0
    waits: int = 0
    waited_ns: int = 0


class Engine(Protocol):
    """The data plane of one group on one node. Calls do not block and come from one thread.

    ``start`` comes first, ``close`` last: nothing but ``close`` may be called outside of that time.
    """

    def start(self) -> None:
        """Begin to receive packets and to send heartbeats. Raises EngineError."""

    def close(self) -> None:
        """Stop for good; from then on nothing of the group passes. May be called twice."""

    def event_fd(self) -> int:
        """Return a descriptor that is readable while events wait."""

    def events(self) -> Sequence[EngineEvent]:
        """Take the events that wait, oldest first."""

    def set_mode(self, mode: EngineMode, session: int, peer: int) -> None:
        """See ftt_engine_set_mode(): ``peer`` is the partner in the modes that have one."""

    def hold(self) -> None:
        """See ftt_engine_hold(): what follows from orders waits for ``release``."""

    def release(self) -> None:
        """See ftt_engine_release()."""

    def speak(self, peer: int, version: int) -> None:
        """See ftt_engine_speak()."""

    def lease_left_ns(self) -> int:
        """How long this node may still emit, negative when no more. Waits for nobody."""

    def set_lease(self, policy: Lease, limit_ns: int | None, decided_ns: int) -> None:
        """See ftt_engine_set_lease(); ``limit_ns`` None: no limit."""

    def vouch(self, alive: bool) -> None:
        """See ftt_engine_vouch()."""

    def doubt(self, for_ns: int) -> None:
        """See ftt_engine_doubt()."""

    def promote(self) -> None:
        """See ftt_engine_promote()."""

    def checkpoint(self, told: bool) -> None:
        """See ftt_engine_checkpoint()."""

    def watch_server(self, pids: Sequence[int]) -> None:
        """See ftt_engine_watch_server(). Raises OSError for one that cannot be looked at; the others are."""

    def record(self, file: HistoryFile | None) -> None:
        """Let the history of the server go to this file from now on, and to no other; None: to none."""

    def calls(self, path: Path, part: CallsPart) -> None:
        """See ftt_engine_calls(). Raises EngineError."""

    def calls_listens(self) -> None:
        """See ftt_engine_calls_listens()."""

    def calls_shown(self) -> CallsShown:
        """How it is with the log of calls."""

    def set_keys(self, keys: KeyRing) -> None:
        """Believe these keys from now on, and send with the one that is marked."""

    def tune(self, settings: EngineSettings) -> None:
        """Use the times and bounds of ``settings`` from now on; which: see ftt_engine_tune()."""

    def add_peer(self, peer: PeerSettings) -> None:
        """See ftt_engine_add_peer(). Raises EngineError."""

    def publish(self, body: bytes, grant_to: int) -> None:
        """See ftt_beat_publish(): ``grant_to`` has a bit for each peer."""

    def peer_body(self, peer: int) -> tuple[int, bytes] | None:
        """Return the boot id and the body that the peer published last; None when none came yet."""

    def heard_ns(self, peer: int) -> int:
        """When the last authentic heartbeat of a peer came that spoke of this group (monotonic); 0 for none.
        Waits for nobody."""

    def node_heard_ns(self, peer: int) -> int:
        """When the last one came that spoke of any group, also one that is not here; 0 for none."""

    def intervals(self, peer: int) -> Sequence[int]:
        """Return the times between heartbeats of a peer since the last call, oldest first."""

    def set_patience(self, peer: int, lost_ns: int, suspect_ns: int) -> None:
        """See ftt_beat_set_patience()."""

    def set_neighbours(self, known: Mapping[Address, str]) -> None:
        """See ftt_engine_set_neighbours(): addresses, and where they are (`aa:bb:...`)."""

    def announce(self, rounds: int, interval_ns: int) -> None:
        """See ftt_engine_announce()."""

    def use_interface(self, name: str) -> None:
        """See ftt_engine_use_interface()."""

    def status(self) -> EngineStatus:
        """Return a snapshot."""

    def counters(self) -> dict[str, int]:
        """Return every counter by name."""

    def flows(self, limit: int, with_closed: bool = True) -> Iterable[dict[str, Any]]:
        """Return what is known now of up to ``limit`` flows, fields as in struct ftt_flow_info; those that
        have ended among them if they are wanted. Walking over many takes long: that is for a thread."""

    def clients(self, limit: int) -> set[bytes]:
        """Return the addresses of the clients of up to ``limit`` flows, 16 bytes each; those of IPv4 are
        mapped."""


Transport = _numbers.Transport
"""On what heartbeats travel."""


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """One link to a peer; see struct ftt_link for what each transport needs. Addresses are text."""

    interface: str = ""
    local: str = ""
    remote: str = ""
    transport: Transport = Transport.UDP
    device: str = ""
    baud: int = 0


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """One of the other nodes. The first link carries mirror and commit channel; its local address is the
    same for all peers."""

    node_id: int
    links: tuple[LinkAddress, ...]


@dataclass(frozen=True, slots=True)
class LivenessSettings:
    """What a node's heartbeats are told; names and units as in struct ftt_liveness_config."""

    keys: KeyRing
    cluster_id: int
    node_id: int
    boot_id: int
    peers: tuple[PeerSettings, ...]
    port: int
    encrypt: bool = False


@dataclass(frozen=True, slots=True)
class PeerKey:
    """What all peers whose address begins with ``prefix`` bits of this one sign with."""

    address: str
    prefix: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredSettings:
    """Requests by UDP whose replies are stored: names and units as in struct ftt_stored_config."""

    dir: str
    bytes: int
    answer_ns: int
    keep_s: int
    id_at: int
    id_len: int
    by_id: bool
    again: bool
    go_on: bool


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Everything an engine is told at its start; names and units as in struct ftt_config."""

    keys: KeyRing
    cluster_id: int
    node_id: int
    boot_id: int
    peers: tuple[PeerSettings, ...]
    service_interface: str
    peer_interface: str
    service_addresses: tuple[str, ...]
    ports: tuple[tuple[int, int, str], ...]
    channel_port: int
    queue_in: int
    queue_out: int
    workers: int
    mark: int
    beat_interval_ns: int
    lease_ns: int
    drift_ppm: int
    rt_priority: int
    busy_poll_ns: int
    detach_after_ns: int
    end_grace_ns: int
    open_timeout_ns: int
    opens_wait_ns: int
    idle_timeout_ns: int
    udp_idle_timeout_ns: int
    max_flows: int
    max_half_open: int
    max_held: int
    max_held_total: int
    max_udp_bytes: int
    max_retained: int
    queue_maxlen: int
    compare: bool
    detach_divergent: bool
    standby_interfaces: tuple[str, ...] = ()
    """Others over which the service may be reached later."""
    service_mac: bytes = bytes(6)
    """Where neighbours find the service; zeros: at the service interface's own MAC address."""
    announce_refresh_ns: int = 0
    """Who may emit announces the service addresses so often; 0: only when it took over or moved."""
    output_lag_ns: int = 0
    """One server's output may stay behind the other's for so long; `detach_after_ns`, if that is more."""
    opens: tuple[tuple[int, int, str], ...] = ()
    """Ports of others: connections of the service to these are protected, too."""
    md5: tuple[PeerKey, ...] = ()
    """Of peers whose segments are signed."""
    continue_unverified: bool = False
    order_service: bool = False
    renew: bool = True
    renew_flow: int = 256 << 10
    """Bytes of a client's input that are kept for a new backup."""
    renew_bytes: int = 256 << 20
    cold: bool = False
    warm: bool = False
    """The backup runs no server until a takeover."""
    spool: str = ""
    """The directory of logs that are too long for memory; empty: none."""
    spool_bytes: int = 0
    history_bytes: int = 0
    """Bytes of what all clients have sent since the server started; 0: it is not kept."""
    calls_log: int = 0
    """Bytes that are kept of the log of calls; 0: there is none."""
    stored: StoredSettings | None = None
    """With it all ports are of requests whose replies are stored."""
    lockstep: str = ""
    """The file that is shared with the server; empty: none."""
    quiet_ahead_ns: int = 0
    service_iss: int | None = None
    service_ts: int | None = None
    space_seed: int = 0
    strict_commit: bool = True
    """False: output does not wait for the backup, and a takeover may break connections: an experiment."""
    callback: str | None = None
    """The experiment of the programmable engine as "module:function"."""

    @property
    def shifts_spaces(self) -> bool:
        """True if clients see other numbers than those of the stack that shakes hands: an experiment."""
        return self.service_iss is not None or self.service_ts is not None or self.space_seed != 0
