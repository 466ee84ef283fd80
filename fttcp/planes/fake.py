"""An engine without packets, for tests: it records its orders and makes the events it is told to.

Several of them in one process may be joined with ``connect``: what one publishes the others hear.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fttcp.network.rules import Address
from fttcp.ownership.model import EngineMode, Lease
from fttcp.planes.base import (
    CallsPart,
    CallsShown,
    EngineEvent,
    EngineSettings,
    EngineStatus,
    EventKind,
    PeerSettings,
)
from fttcp.planes.recording import HistoryFile
from fttcp.wire import clock
from fttcp.wire.keyfile import KeyRing


class FakeEngine:
    """Implements Engine; ``orders`` lists what it was told."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.keys = settings.keys
        self.orders: list[tuple[Any, ...]] = []
        self.mode, self.session, self.lease = EngineMode.IDLE, 0, Lease.NONE
        self.peers: dict[int, FakeEngine] = {}
        """Who is heard, by index into the settings' peers."""
        self.limit_ns: int | None = None
        self.neighbours: Mapping[Address, str] = {}
        self.closed = False
        self.flows_opened = self.udp_sessions = 0
        self.partner = 0
        self.last_beat_ns: list[int] = [0] * len(settings.peers)
        self.node_beat_ns = 0
        """When a peer's heartbeat came that did not speak of this group."""
        self.grant_to = 0
        self.speaks: dict[int, int] = {}
        """In which version with whom."""
        self.arrivals: list[list[int]] = [[] for _ in settings.peers]
        """What `intervals` will tell."""
        self.calls_told = CallsShown()
        """What `calls_shown` will tell."""
        self._body: bytes | None = None
        self._waiting: deque[EngineEvent] = deque()
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def connect(self, other: FakeEngine) -> None:
        """Join two engines: each hears the other from now on."""
        self._join(other)
        other._join(self)
        self._hear(other)
        other._hear(self)

    def _index(self, other: FakeEngine) -> int:
        return [peer.node_id for peer in self.settings.peers].index(other.settings.node_id)

    def _join(self, other: FakeEngine) -> None:
        self.peers[self._index(other)] = other

    def _hear(self, other: FakeEngine) -> None:
        peer = self._index(other)
        self.last_beat_ns[peer] = clock.now_ns()
        self.post(EventKind.PEER_UP, other.settings.boot_id, peer=peer)
        for link in range(len(self.settings.peers[peer].links)):
            self.post(EventKind.LINK_UP, link=link, peer=peer)
        self.post(EventKind.PEER_BODY, peer=peer)

    def lose_peer(self, peer: int = 0) -> None:
        """Let a peer be silent for as long as a loss takes."""
        del self.peers[peer]
        silent = self.settings.lease_ns * 102 // 100
        self.last_beat_ns[peer] = clock.now_ns() - silent
        self.post(EventKind.PEER_LOST, silent, peer=peer)

    def post(self, kind: EventKind, value: int = 0, link: int = 0, peer: int = 0, reason: int = 0) -> None:
        """Make an event."""
        self._waiting.append(EngineEvent(kind, clock.now_ns(), value, link, reason, peer=peer))
        os.write(self._write_fd, b"x")

    def start(self) -> None:
        self.orders.append(("start",))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._read_fd)
            os.close(self._write_fd)

    def event_fd(self) -> int:
        return self._read_fd

    def events(self) -> Sequence[EngineEvent]:
        if self._waiting:
            os.read(self._read_fd, len(self._waiting))
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def set_mode(self, mode: EngineMode, session: int, peer: int) -> None:
        self.mode, self.session = mode, session
        if mode in (EngineMode.BACKUP, EngineMode.PAIRED):
            self.partner = peer
        self.orders.append(("set_mode", mode, session, peer))
        if mode is EngineMode.SOLO:
            self.post(EventKind.GATE_OPEN)
            self.post(EventKind.TAKEOVER_DONE)

    def set_lease(self, policy: Lease, limit_ns: int | None, decided_ns: int) -> None:
        self.lease, self.limit_ns = policy, limit_ns
        self.orders.append(("set_lease", policy))

    def hold(self) -> None:
        self.orders.append(("hold",))

    def release(self) -> None:
        self.orders.append(("release",))

    def speak(self, peer: int, version: int) -> None:
        self.speaks[peer] = version

    def lease_left_ns(self) -> int:
        return 0

    def vouch(self, alive: bool) -> None:
        self.orders.append(("vouch", alive))

    def doubt(self, for_ns: int) -> None:
        self.orders.append(("doubt", for_ns))

    def promote(self) -> None:
        self.orders.append(("promote",))
        self.post(EventKind.PROMOTED)

    def checkpoint(self, told: bool) -> None:
        self.orders.append(("checkpoint", told))

    def watch_server(self, pids: Sequence[int]) -> None:
        self.orders.append(("watch_server", tuple(pids)))

    def tune(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.orders.append(("tune",))

    def record(self, file: HistoryFile | None) -> None:
        """Recorded."""
        self.orders.append(("record", file))

    def calls(self, path: Path, part: CallsPart) -> None:
        self.orders.append(("calls", path, part))

    def calls_listens(self) -> None:
        self.orders.append(("calls_listens",))

    def calls_shown(self) -> CallsShown:
        return self.calls_told

    def set_keys(self, keys: KeyRing) -> None:
        self.keys = keys
        self.orders.append(("set_keys", keys.ids()))

    def add_peer(self, peer: PeerSettings) -> None:
        self.settings = replace(self.settings, peers=(*self.settings.peers, peer))
        self.last_beat_ns.append(0)
        self.arrivals.append([])

    def publish(self, body: bytes, grant_to: int) -> None:
        self._body, self.grant_to = body, grant_to
        self.orders.append(("publish", grant_to))
        for other in self.peers.values():
            peer = other._index(self)
            if peer in other.peers:
                other.last_beat_ns[peer] = clock.now_ns()
                other.post(EventKind.PEER_BODY, peer=peer)

    def peer_body(self, peer: int) -> tuple[int, bytes] | None:
        other = self.peers.get(peer)
        if other is None or other._body is None:
            return None
        return other.settings.boot_id, other._body

    def heard_ns(self, peer: int) -> int:
        return self.last_beat_ns[peer]

    def node_heard_ns(self, peer: int) -> int:
        return max(self.last_beat_ns[peer], self.node_beat_ns)

    def intervals(self, peer: int) -> Sequence[int]:
        taken, self.arrivals[peer] = self.arrivals[peer], []
        return taken

    def set_patience(self, peer: int, lost_ns: int, suspect_ns: int) -> None:
        self.orders.append(("set_patience", peer, lost_ns, suspect_ns))

    def set_neighbours(self, known: Mapping[Address, str]) -> None:
        self.neighbours = known

    def announce(self, rounds: int, interval_ns: int) -> None:
        self.orders.append(("announce", rounds))
        self.post(EventKind.ANNOUNCED)

    def use_interface(self, name: str) -> None:
        self.orders.append(("use_interface", name))

    def status(self) -> EngineStatus:
        return EngineStatus(
            mode=self.mode,
            lease_policy=self.lease,
            lease_left_ns=0 if self.lease is Lease.NONE else self.settings.lease_ns,
            session=self.session,
            partner=self.partner,
            peer_alive=sum(1 << peer for peer in self.peers),
            links_up=tuple(
                (1 << len(peer.links)) - 1 if i in self.peers else 0
                for i, peer in enumerate(self.settings.peers)
            ),
        )

    def counters(self) -> dict[str, int]:
        flows = {"flows_opened": self.flows_opened, "udp_sessions": self.udp_sessions}
        return {"beats_sent": 0, "flows_refused": 0, "syn_floods": 0} | flows

    def flows(self, limit: int, with_closed: bool = True) -> Iterable[dict[str, Any]]:
        return []

    def clients(self, limit: int) -> set[bytes]:
        return set()
