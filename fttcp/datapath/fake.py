"""An engine without packets, for tests: it records its orders and makes the events it is told to.

Two of them in one process may be joined with ``connect``: what one publishes the other hears.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from fttcp.core.model import EngineMode, Lease
from fttcp.datapath.base import EngineEvent, EngineSettings, EngineStatus, EventKind


class FakeEngine:
    """Implements Engine; ``orders`` lists what it was told."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.orders: list[tuple[Any, ...]] = []
        self.mode, self.session, self.lease = EngineMode.IDLE, 0, Lease.NONE
        self.peer: FakeEngine | None = None
        self.frames: Sequence[bytes] = ()
        self.closed = False
        self.last_beat_ns = 0
        self.granting = False
        self._body: bytes | None = None
        self._waiting: deque[EngineEvent] = deque()
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def connect(self, peer: FakeEngine) -> None:
        """Join two engines: each hears the other from now on."""
        self.peer, peer.peer = peer, self
        self._hear()
        peer._hear()

    def _hear(self) -> None:
        assert self.peer is not None
        self.last_beat_ns = time.monotonic_ns()
        self.post(EventKind.PEER_UP, self.peer.settings.boot_id)
        for link in range(len(self.settings.links)):
            self.post(EventKind.LINK_UP, link=link)
        self.post(EventKind.PEER_BODY)

    def lose_peer(self) -> None:
        """Let the peer be silent for as long as a loss takes."""
        self.peer = None
        silent = self.settings.lease_ns * 102 // 100
        self.last_beat_ns = time.monotonic_ns() - silent
        self.post(EventKind.PEER_LOST, silent)

    def post(self, kind: EventKind, value: int = 0, link: int = 0) -> None:
        """Make an event."""
        self._waiting.append(EngineEvent(kind, time.monotonic_ns(), value, link))
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

    def set_mode(self, mode: EngineMode, session: int) -> None:
        self.mode, self.session = mode, session
        self.orders.append(("set_mode", mode, session))
        if mode is EngineMode.SOLO:
            self.post(EventKind.GATE_OPEN)
            self.post(EventKind.TAKEOVER_DONE)

    def set_lease(self, policy: Lease) -> None:
        self.lease = policy
        self.orders.append(("set_lease", policy))

    def vouch(self, alive: bool) -> None:
        self.orders.append(("vouch", alive))

    def publish(self, body: bytes, grant: bool) -> None:
        self._body, self.granting = body, grant
        self.orders.append(("publish", grant))
        if self.peer is not None:
            self.peer.last_beat_ns = time.monotonic_ns()
            self.peer.post(EventKind.PEER_BODY)

    def peer_body(self) -> tuple[int, bytes] | None:
        if self.peer is None or self.peer._body is None:
            return None
        return self.peer.settings.boot_id, self.peer._body

    def set_announcement(self, frames: Sequence[bytes]) -> None:
        self.frames = frames

    def announce(self, rounds: int, interval_ns: int) -> None:
        self.orders.append(("announce", rounds))
        self.post(EventKind.ANNOUNCED)

    def status(self) -> EngineStatus:
        return EngineStatus(mode=self.mode, session=self.session, last_beat_ns=self.last_beat_ns)

    def counters(self) -> dict[str, int]:
        return {"beats_sent": 0}

    def flows(self, limit: int) -> list[dict[str, Any]]:
        return []
