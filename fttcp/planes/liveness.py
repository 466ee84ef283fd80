"""Heartbeats of a node (native/engine/liveness): one thread and one port, whatever the number of groups."""

from __future__ import annotations

from typing import Any

from fttcp._native import ffi, lib
from fttcp.planes.base import LivenessSettings, PeerSettings
from fttcp.planes.error import EngineError
from fttcp.wire.keyfile import KeyRing

_ERROR_BYTES = 512


class Liveness:
    """One struct ftt_liveness. Engines attach to it when they start, and leave it when they are closed."""

    def __init__(self, settings: LivenessSettings) -> None:
        """Open the links and start the thread, which says nothing before a group is there. Raises
        EngineError."""
        config = ffi.new("struct ftt_liveness_config *")
        for name in ("cluster_id", "node_id", "boot_id", "port", "encrypt"):
            setattr(config, name, getattr(settings, name))
        fill_keys(config.keys, settings.keys)
        config.n_peers = len(settings.peers)
        for slot, peer in zip(config.peer, settings.peers, strict=False):
            fill_peer(slot, peer)
        error = ffi.new("char[]", _ERROR_BYTES)
        self._handle = lib.ftt_liveness_open(config, error, _ERROR_BYTES)
        if self._handle == ffi.NULL:
            raise EngineError(str(ffi.string(error), errors="replace"))

    @property
    def handle(self) -> Any:
        """The struct, for an engine that attaches to it."""
        if self._handle is None:
            raise EngineError("heartbeats: they are closed")
        return self._handle

    def set_keys(self, keys: KeyRing) -> None:
        """Believe these keys from now on, and send with the one that is marked. Raises EngineError."""
        raw = ffi.new("struct ftt_keys *")
        fill_keys(raw, keys)
        if lib.ftt_liveness_set_keys(self.handle, raw) != 0:
            raise EngineError(f"keys: {len(keys.keys)}, of which number {keys.send} is sent with: not taken")

    def add_peer(self, peer: PeerSettings) -> None:
        """See ftt_liveness_add_peer(). Raises EngineError."""
        raw, error = ffi.new("struct ftt_peer_config *"), ffi.new("char[]", _ERROR_BYTES)
        fill_peer(raw, peer)
        if lib.ftt_liveness_add_peer(self.handle, raw, error, _ERROR_BYTES) != 0:
            raise EngineError(str(ffi.string(error), errors="replace"))

    def part_with(self, peer: int, gone: bool) -> None:
        """See ftt_liveness_part_with()."""
        lib.ftt_liveness_part_with(self.handle, peer, gone)

    def delay_ns(self, peer: int) -> int | None:
        """By how many nanoseconds the peer's heartbeats of the last 10 to 20 s came later than they were
        sent, at least: by our CLOCK_BOOTTIME and by its own, so it may be negative. None: there was none."""
        least = ffi.new("int64_t *")
        return int(least[0]) if lib.ftt_liveness_delay(self.handle, peer, least) else None

    def close(self) -> None:
        """End the thread; all engines are closed before. May be called twice."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            lib.ftt_liveness_close(handle)


def fill_keys(slot: Any, ring: KeyRing) -> None:
    """Write a key ring into a struct ftt_keys."""
    slot.n, slot.send = len(ring.keys), ring.send
    for place, key in zip(slot.key, ring.keys, strict=False):
        ffi.memmove(place, key, len(key))


def fill_peer(config: Any, peer: PeerSettings) -> None:
    """Write a peer into a struct ftt_peer_config."""
    config.node_id, config.n_links = peer.node_id, len(peer.links)
    for slot, link in zip(config.link, peer.links, strict=False):
        slot.transport, slot.baud = link.transport, link.baud
        for name in ("interface", "local", "remote", "device"):
            setattr(slot, name, getattr(link, name).encode())
