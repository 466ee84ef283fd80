"""What the runtime asks of an engine, whatever moves the packets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from fttcp.core.model import EngineMode, Lease


class EngineError(RuntimeError):
    """An engine cannot be opened or started; the sentence says what failed and what to do."""


class EventKind(IntEnum):
    """Values of enum ftt_event_kind."""

    PEER_UP = 1
    PEER_LOST = 2
    PEER_BODY = 3
    LINK_UP = 4
    LINK_LOST = 5
    INTRUSION = 6
    LEASE_LAPSED = 7
    GATE_OPEN = 8
    ANNOUNCED = 9
    TAKEOVER_DONE = 10
    FLOW_DETACHED = 11
    DIVERGENCE = 12
    UNSUPPORTED = 13
    ERROR = 14


class Reason(IntEnum):
    """Values of enum ftt_reason: why a flow is not protected."""

    NONE = 0
    COMMIT_LAG = 1
    OUTPUT_LAG = 2
    END = 3
    PEER_END = 4
    REFUSED = 5
    OPEN_TIMEOUT = 6
    DIVERGENCE = 7
    BOUND = 8
    SOLO = 9
    NO_BACKUP = 10
    UNSUPPORTED = 11


class Protection(IntEnum):
    """Values of enum ftt_protection."""

    NEW = 0
    OPENING = 1
    PROTECTED = 2
    DETACHING = 3
    DETACHED = 4
    UNPROTECTED = 5


@dataclass(frozen=True, slots=True)
class FlowKey:
    """One flow: addresses as text, ports, protocol ``tcp`` or ``udp``."""

    client: str
    client_port: int
    service: str
    service_port: int
    proto: str

    def __str__(self) -> str:
        """Return ``client:port > service:port/proto``; IPv6 in brackets."""
        client, service = (f"[{a}]" if ":" in a else a for a in (self.client, self.service))
        return f"{client}:{self.client_port} > {service}:{self.service_port}/{self.proto}"


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One event of the engine. ``when_ns``: monotonic; ``value`` and the rest depend on the kind (abi.h)."""

    kind: EventKind
    when_ns: int
    value: int = 0
    link: int = 0
    reason: int = 0
    key: FlowKey | None = None


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A snapshot of an engine, fields as in struct ftt_status."""

    mode: int = 0
    lease_policy: int = 0
    session: int = 0
    lease_left_ns: int = 0
    flows_protected: int = 0
    flows_unprotected: int = 0
    flows_detached: int = 0
    flows_opening: int = 0
    udp_sessions: int = 0
    held_now: int = 0
    commit_lag_p50_ns: int = 0
    commit_lag_p99_ns: int = 0
    peer_alive: int = 0
    links_up: int = 0
    last_beat_ns: int = 0


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

    def set_mode(self, mode: EngineMode, session: int) -> None:
        """See ftt_engine_set_mode()."""

    def set_lease(self, policy: Lease) -> None:
        """See ftt_engine_set_lease()."""

    def vouch(self, alive: bool) -> None:
        """See ftt_engine_vouch()."""

    def publish(self, body: bytes, grant: bool) -> None:
        """See ftt_beat_publish()."""

    def peer_body(self) -> tuple[int, bytes] | None:
        """Return the boot id and the body that the peer published last; None when none came yet."""

    def set_announcement(self, frames: Sequence[bytes]) -> None:
        """Give the Ethernet frames that announce the service addresses."""

    def announce(self, rounds: int, interval_ns: int) -> None:
        """See ftt_engine_announce()."""

    def status(self) -> EngineStatus:
        """Return a snapshot."""

    def counters(self) -> dict[str, int]:
        """Return every counter by name."""

    def flows(self, limit: int) -> list[dict[str, Any]]:
        """Return what is known of up to ``limit`` flows, fields as in struct ftt_flow_info."""


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """One link to the peer: our interface, both addresses as text."""

    interface: str
    local: str
    remote: str


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Everything an engine is told at its start; names and units as in struct ftt_config."""

    key: bytes
    cluster_id: int
    node_id: int
    peer_node_id: int
    boot_id: int
    links: tuple[LinkAddress, ...]
    service_interface: str
    peer_interface: str
    service_addresses: tuple[str, ...]
    ports: tuple[tuple[int, str], ...]
    channel_port: int
    queue_in: int
    queue_out: int
    workers: int
    mark: int
    beat_interval_ns: int
    lease_ns: int
    drift_ppm: int
    rt_priority: int
    detach_after_ns: int
    end_grace_ns: int
    open_timeout_ns: int
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
    service_iss: int | None = None
    service_ts: int | None = None
    callback: str | None = None
    """The experiment of the programmable engine as "module:function"."""
