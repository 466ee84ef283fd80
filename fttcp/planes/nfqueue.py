"""The C engine (native/) as an Engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from fttcp._native import ffi, lib
from fttcp.network.rules import Address
from fttcp.ownership.model import EngineMode, Lease
from fttcp.planes.base import (
    CallsPart,
    CallsShown,
    EngineEvent,
    EngineSettings,
    EngineStatus,
    EventKind,
    FlowKey,
    Opener,
    PeerKey,
    PeerSettings,
    Protection,
    Reason,
    Unrenewable,
)
from fttcp.planes.error import EngineError
from fttcp.planes.liveness import Liveness, fill_keys, fill_peer
from fttcp.planes.recording import HistoryFile
from fttcp.wire.addresses import address_bytes, address_text
from fttcp.wire.keyfile import KeyRing

_BATCH = 64
_INTERVALS = 256
_ERROR_BYTES = 512
_PROTO_NUMBERS = {"tcp": 6, "udp": 17}
_PROTO_NAMES = {number: name for name, number in _PROTO_NUMBERS.items()}
_WITH_KEY = (EventKind.FLOW_DETACHED, EventKind.DIVERGENCE, EventKind.UNSUPPORTED, EventKind.CLAIMED)


def _fill(slot: Any, settings: EngineSettings) -> None:
    """Fill the numbers of a struct that the settings have by the same name."""
    known = {field.name for field in fields(EngineSettings)}
    for name, field in ffi.typeof(slot).item.fields:
        if name in known and field.type.kind == "primitive":
            setattr(slot, name, getattr(settings, name))


def _config(settings: EngineSettings) -> Any:
    """Return a struct ftt_config filled from the settings."""
    config = ffi.new("struct ftt_config *")
    _fill(config, settings)
    fill_keys(config.keys, settings.keys)
    config.n_peers = len(settings.peers)
    for slot, peer in zip(config.peer, settings.peers, strict=False):
        fill_peer(slot, peer)
    config.service_interface = settings.service_interface.encode()
    config.peer_interface = settings.peer_interface.encode()
    ffi.memmove(config.service_mac, settings.service_mac, 6)
    config.n_service_addrs = len(settings.service_addresses)
    for i, address in enumerate(settings.service_addresses):
        ffi.memmove(config.service_addr[i], address_bytes(address), 16)
    config.n_ports, config.n_opens = len(settings.ports), len(settings.opens)
    for slots, ports in ((config.port, settings.ports), (config.opens, settings.opens)):
        for slot, (first, last, proto) in zip(slots, ports, strict=False):
            slot.port, slot.last, slot.proto = first, last if last != first else 0, _PROTO_NUMBERS[proto]
    config.n_md5 = len(settings.md5)
    for slot, peer_key in zip(config.md5, sorted(settings.md5, key=_bits, reverse=True), strict=False):
        slot.prefix, slot.len = _bits(peer_key), len(peer_key.key)
        ffi.memmove(slot.peer, address_bytes(peer_key.address), 16)
        ffi.memmove(slot.key, peer_key.key, slot.len)
    config.spool = os.fsencode(settings.spool)
    config.lockstep = settings.lockstep.encode()
    if settings.stored is not None:
        for field in fields(settings.stored):
            value = getattr(settings.stored, field.name)
            setattr(config.stored, field.name, os.fsencode(value) if isinstance(value, str) else value)
    fill_policy(config.policy, settings)
    return config


def _make_room(directory: Path) -> None:
    """Make the directory in which that of stored replies is to be. Raises EngineError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"stored replies: {directory}: {error.strerror} (correct node.state_dir)"
        ) from error


def _bits(peer: PeerKey) -> int:
    """Return how many bits of a peer's address count, where IPv4 is mapped."""
    return peer.prefix + (0 if ":" in peer.address else 96)


def fill_policy(policy: Any, settings: EngineSettings) -> None:
    """Fill a struct ftt_policy."""
    _fill(ffi.addressof(policy), settings)
    policy.eager = not settings.strict_commit
    shift = policy.shift
    shift.on, shift.seed = settings.shifts_spaces, settings.space_seed
    shift.iss, shift.ts = settings.service_iss or 0, settings.service_ts or 0


def key_of(key: Any) -> FlowKey:
    """Return a struct ftt_key as text and numbers."""
    return FlowKey(
        address_text(bytes(key.remote)),
        key.remote_port,
        address_text(bytes(key.local)),
        key.local_port,
        _PROTO_NAMES.get(key.proto, str(key.proto)),
    )


def _name(kind: type[Protection] | type[Reason] | type[Unrenewable] | type[Opener], value: int) -> str:
    try:
        return kind(value).name.lower().replace("_", "-")
    except ValueError:
        return str(value)


class NfqueueEngine:
    """One struct ftt_engine."""

    def __init__(
        self, settings: EngineSettings, liveness: Liveness | None = None, hooks: Any = ffi.NULL
    ) -> None:
        """Open the engine: sockets and queues are made, nothing runs yet. Without ``liveness``, the
        heartbeats of its node, it cannot be started. ``hooks``: a struct ftt_hooks in place of the kernel's
        queues. Raises EngineError."""
        self._liveness = liveness
        self._error = ffi.new("char[]", _ERROR_BYTES)
        config = _config(settings)
        config.hooks = hooks
        if settings.stored is not None:
            _make_room(Path(settings.stored.dir).parent)
        self._engine = lib.ftt_engine_open(config, self._error, _ERROR_BYTES)
        if self._engine == ffi.NULL:
            raise EngineError(self._error_text())
        self._n_peers = len(settings.peers)
        self._events = ffi.new("struct ftt_event[]", _BATCH)
        self._intervals = ffi.new("uint64_t[]", _INTERVALS)
        self._status = ffi.new("struct ftt_status *")
        self._body = ffi.new("uint8_t[]", lib.FTT_BEAT_BODY_MAX)
        self._boot = ffi.new("uint64_t *")

    def _error_text(self) -> str:
        return str(ffi.string(self._error), errors="replace")

    def start(self) -> None:
        """Start the engine's threads, and join the node's heartbeats. Raises EngineError."""
        if self._liveness is None:
            raise EngineError("an engine needs the heartbeats of its node to start")
        if lib.ftt_engine_start(self._engine, self._liveness.handle, self._error, _ERROR_BYTES) != 0:
            raise EngineError(self._error_text())

    def close(self) -> None:
        """End the threads and free everything."""
        if self._engine is not None:
            engine, self._engine = self._engine, None
            lib.ftt_engine_close(engine)

    def event_fd(self) -> int:
        """Return the event descriptor."""
        return int(lib.ftt_engine_event_fd(self._engine))

    def events(self) -> Sequence[EngineEvent]:
        """Take the events that wait, up to a batch; the descriptor stays readable while more wait."""
        count = lib.ftt_engine_events(self._engine, self._events, _BATCH)
        return [self._event(self._events[i]) for i in range(count)]

    @staticmethod
    def _event(raw: Any) -> EngineEvent:
        kind = EventKind(raw.kind)
        key = key_of(raw.key) if kind in _WITH_KEY else None
        return EngineEvent(kind, raw.when_ns, raw.value, raw.link, raw.reason, key, raw.peer)

    def set_mode(self, mode: EngineMode, session: int, peer: int) -> None:
        """See abi.h."""
        lib.ftt_engine_set_mode(self._engine, mode, session, peer)

    def hold(self) -> None:
        """See abi.h."""
        lib.ftt_engine_hold(self._engine)

    def release(self) -> None:
        """See abi.h."""
        lib.ftt_engine_release(self._engine)

    def speak(self, peer: int, version: int) -> None:
        """See abi.h."""
        lib.ftt_engine_speak(self._engine, peer, version)

    def lease_left_ns(self) -> int:
        """See abi.h."""
        return int(lib.ftt_engine_lease_left_ns(self._engine))

    def set_lease(self, policy: Lease, limit_ns: int | None, decided_ns: int) -> None:
        """See abi.h."""
        limit_ns = 0 if limit_ns is None else max(1, limit_ns)
        lib.ftt_engine_set_lease(self._engine, policy, limit_ns, decided_ns)

    def vouch(self, alive: bool) -> None:
        """See abi.h."""
        lib.ftt_engine_vouch(self._engine, alive)

    def doubt(self, for_ns: int) -> None:
        """See abi.h."""
        lib.ftt_engine_doubt(self._engine, for_ns)

    def promote(self) -> None:
        """See abi.h."""
        lib.ftt_engine_promote(self._engine)

    def checkpoint(self, told: bool) -> None:
        """See abi.h."""
        lib.ftt_engine_checkpoint(self._engine, told)

    def watch_server(self, pids: Sequence[int]) -> None:
        """See abi.h. Raises OSError."""
        error = lib.ftt_engine_watch_server(self._engine, pids, len(pids))
        if error:
            raise OSError(error, os.strerror(error))

    def record(self, file: HistoryFile | None) -> None:
        """See base.py."""
        lib.ftt_engine_record(self._engine, ffi.NULL if file is None else file.handle)

    def calls(self, path: Path, part: CallsPart) -> None:
        """See abi.h. Raises EngineError."""
        if lib.ftt_engine_calls(self._engine, os.fsencode(path), part, self._error, _ERROR_BYTES) != 0:
            raise EngineError(self._error_text())

    def calls_listens(self) -> None:
        """See abi.h."""
        lib.ftt_engine_calls_listens(self._engine)

    def calls_shown(self) -> CallsShown:
        """See base.py."""
        shown = ffi.new("struct ftt_calls_shown *")
        lib.ftt_engine_calls_shown(self._engine, shown)
        values = _fields("struct ftt_calls_shown", shown[0])
        values["program"] = ffi.string(shown.program, 16).decode(errors="replace")
        return CallsShown(**values)

    def set_keys(self, keys: KeyRing) -> None:
        """See abi.h. Raises EngineError if the ring is none."""
        raw = ffi.new("struct ftt_keys *")
        fill_keys(raw, keys)
        if lib.ftt_engine_set_keys(self._engine, raw) != 0:
            raise EngineError(f"keys: {len(keys.keys)}, of which number {keys.send} is sent with: not taken")

    def tune(self, settings: EngineSettings) -> None:
        """See abi.h."""
        lib.ftt_engine_tune(self._engine, _config(settings))

    def add_peer(self, peer: PeerSettings) -> None:
        """See abi.h."""
        raw = ffi.new("struct ftt_peer_config *")
        fill_peer(raw, peer)
        if lib.ftt_engine_add_peer(self._engine, raw, self._error, _ERROR_BYTES) != 0:
            raise EngineError(self._error_text())
        self._n_peers += 1

    def publish(self, body: bytes, grant_to: int) -> None:
        """See abi.h."""
        lib.ftt_beat_publish(self._engine, body, len(body), grant_to)

    def peer_body(self, peer: int) -> tuple[int, bytes] | None:
        """Return boot id and body of a peer."""
        size = lib.FTT_BEAT_BODY_MAX
        length = lib.ftt_beat_peer_body(self._engine, peer, self._body, size, self._boot)
        if length < 0:
            return None
        return self._boot[0], bytes(ffi.buffer(self._body, min(length, size)))

    def heard_ns(self, peer: int) -> int:
        """See abi.h."""
        return int(lib.ftt_beat_heard_ns(self._engine, peer))

    def node_heard_ns(self, peer: int) -> int:
        """See abi.h."""
        return int(lib.ftt_beat_node_heard_ns(self._engine, peer))

    def intervals(self, peer: int) -> Sequence[int]:
        """See abi.h."""
        count = lib.ftt_beat_intervals(self._engine, peer, self._intervals, _INTERVALS)
        return list(self._intervals[0:count])

    def set_patience(self, peer: int, lost_ns: int, suspect_ns: int) -> None:
        """See abi.h."""
        lib.ftt_beat_set_patience(self._engine, peer, lost_ns, suspect_ns)

    def set_neighbours(self, known: Mapping[Address, str]) -> None:
        """See abi.h."""
        told = list(known.items())[: lib.FTT_MAX_NEIGHBOURS]
        table = ffi.new("struct ftt_neighbour[]", len(told))
        for entry, (address, mac) in zip(table, told, strict=True):
            entry.addr = address_bytes(str(address))
            entry.mac = bytes.fromhex(mac.replace(":", ""))
        lib.ftt_engine_set_neighbours(self._engine, table, len(told))

    def announce(self, rounds: int, interval_ns: int) -> None:
        """See abi.h."""
        lib.ftt_engine_announce(self._engine, rounds, interval_ns)

    def use_interface(self, name: str) -> None:
        """See abi.h. Raises EngineError."""
        if lib.ftt_engine_use_interface(self._engine, name.encode()) != 0:
            raise EngineError(f"{name!r} is no name of an interface")

    def status(self) -> EngineStatus:
        """Return a snapshot."""
        lib.ftt_engine_status(self._engine, self._status)
        values = {field.name: getattr(self._status, field.name) for field in fields(EngineStatus)}
        for name in ("links_up", "peer_intrusions"):
            values[name] = tuple(values[name])[: self._n_peers]
        values["flows_unrenewable"] = tuple(values["flows_unrenewable"])
        return EngineStatus(**values)

    def counters(self) -> dict[str, int]:
        """Return every counter."""
        counters = ffi.new("struct ftt_counters *")
        lib.ftt_engine_counters(self._engine, counters)
        return _fields("struct ftt_counters", counters[0])

    def flows(self, limit: int, with_closed: bool = True) -> Iterable[dict[str, Any]]:
        """See base.py."""
        table = ffi.new("struct ftt_flow_info[]", limit)
        count = lib.ftt_engine_flows(self._engine, table, limit, with_closed)
        return (self._flow(table[i]) for i in range(count))

    def clients(self, limit: int) -> set[bytes]:
        """See base.py: for thousands of them this takes less than a millisecond, which ``flows`` does not."""
        table = ffi.new("struct ftt_flow_info[]", limit)
        count = lib.ftt_engine_flows(self._engine, table, limit, False)
        size = ffi.sizeof("struct ftt_flow_info")
        data = bytes(ffi.buffer(table, count * size))
        first = ffi.offsetof("struct ftt_flow_info", "key") + ffi.offsetof("struct ftt_key", "remote")
        return {data[at : at + 16] for at in range(first, len(data), size)}

    @staticmethod
    def _flow(raw: Any) -> dict[str, Any]:
        key = key_of(raw.key)
        numbers = {
            name: value for name, value in _fields("struct ftt_flow_info", raw).items() if name != "key"
        }
        return {
            "flow": key.text(raw.opener),
            "remote": key.remote,
            "remote_port": key.remote_port,
            "local": key.local,
            "local_port": key.local_port,
            "proto": key.proto,
            **numbers,
            "protection": _name(Protection, raw.protection),
            "reason": _name(Reason, raw.reason),
            "unrenewable": _name(Unrenewable, raw.unrenewable),
            "opener": _name(Opener, raw.opener),
        }


def _fields(struct: str, raw: Any) -> dict[str, Any]:
    """Return the fields of a struct by name, in their order."""
    return {name: getattr(raw, name) for name, _ in ffi.typeof(struct).fields}
