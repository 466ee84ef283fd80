"""The witness daemon: its sockets, its log, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fttcp.arbiter.register import Terms
from fttcp.arbiter.settings import WitnessSettings
from fttcp.arbiter.witness.client import WitnessClient
from fttcp.arbiter.witness.server import Witness
from fttcp.arbiter.witness.store import Store, StoreError
from fttcp.config.witness import WitnessConfig
from fttcp.face.systemd import Notifier
from fttcp.ownership.model import NS_PER_MS
from fttcp.wire import keyfile
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KeyRing
from fttcp.wire.witness import Keys, Status

_SEND_BUFFER_MAX = 256 * 1024
_STATUS_TIMEOUT_NS = 2000 * NS_PER_MS


class WitnessError(Exception):
    """The witness cannot run or go on; the sentence says what to do."""


def initialise(config: WitnessConfig) -> None:
    """Make the data file. Raises WitnessError."""
    try:
        Store.create(Path(config.data_file))
    except StoreError as error:
        raise WitnessError(str(error)) from error


async def run(config: WitnessConfig) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the key files again. Raises WitnessError, WireError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    clusters = {name: Keys(ring) for name, ring in load_keys(config).items()}
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, config, clusters)
    manager = Notifier(os.environ)
    try:
        store = Store(Path(config.data_file))
    except StoreError as error:
        raise WitnessError(str(error)) from error
    transports: list[asyncio.DatagramTransport] = []
    try:
        witness = Witness(store, Terms(config.lease_ms * NS_PER_MS, config.drift_ppm), clusters, _log)
        for host, port in config.endpoints:
            transports.append(await _listen(witness, host, port))
        _log("listening", "info", addresses=config.listen, registers=len(store.load()))
        manager.ready(f"{len(clusters)} clusters")
        await _until_over(stop, witness)
        manager.stopping()
        await witness.close()
    except StoreError as error:
        raise WitnessError(str(error)) from error
    finally:
        for transport in transports:
            transport.close()
        store.close()
    _log("stopped", "info")


async def ask_status(config: WitnessConfig, cluster: str) -> Status | None:
    """Return what the running witness says of one of its clusters; None if it does not answer."""
    keys = Keys(load_keys(config)[cluster])
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    endpoints = [(local.get(host, host), port) for host, port in config.endpoints]
    lease_ns = config.lease_ms * NS_PER_MS
    settings = WitnessSettings(cluster, "status", endpoints, keys, _STATUS_TIMEOUT_NS, lease_ns)
    client = WitnessClient(settings)
    try:
        await client.open(watch=False)
        return await client.status()
    finally:
        await client.close()


def load_keys(config: WitnessConfig) -> dict[str, KeyRing]:
    """Return the keys of each cluster. Raises WireError."""
    return {cluster.name: keyfile.load(keyfile.locate(cluster.key_file)) for cluster in config.cluster}


def _reload(config: WitnessConfig, clusters: Mapping[str, Keys]) -> None:
    """Read the key files again; if one will not serve, all stays as it is."""
    try:
        rings = load_keys(config)
    except WireError as error:
        _log("reload-failed", "error", why=str(error))
        return
    for name, ring in rings.items():
        clusters[name].change(ring)
        _log("keys", "info", cluster=name, keys=str(ring))


async def _until_over(stop: asyncio.Event, witness: Witness) -> None:
    """Wait for the order to stop; raises what the witness cannot go on with."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([waiting, witness.failed], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if witness.failed.done():
        witness.failed.result()


async def _listen(witness: Witness, host: str, port: int) -> asyncio.DatagramTransport:
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        door.setblocking(False)
        if door.family == socket.AF_INET6:  # else :: takes IPv4's port as well, and 0.0.0.0 finds it taken
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.bind((host, port))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Port(witness), sock=door
        )
    except OSError as error:
        door.close()
        raise WitnessError(f"listen: {host} port {port}: {error.strerror or error}") from error
    return transport


class _Port(asyncio.DatagramProtocol):
    """One listening socket."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # its class is not public

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._witness.take(data, lambda reply: self._send(reply, addr))

    def error_received(self, exc: Exception) -> None:
        self._witness.counters["send_errors"] += 1

    def _send(self, reply: bytes, addr: tuple[str | Any, int]) -> None:
        if self._transport.get_write_buffer_size() > _SEND_BUFFER_MAX:
            self._witness.counters["send_errors"] += 1  # the client asks again
        elif not self._transport.is_closing():
            self._transport.sendto(reply, addr)


def _log(kind: str, level: str, **fields: Any) -> None:
    """Write one JSON line to standard error, like a node's daemon."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    event = {"time": now, "level": level, "event": kind, **fields}
    print(json.dumps(event, default=str), file=sys.stderr, flush=True)
