"""The commit channel in Python: the same datagrams, key and MAC as the C engine's (record.h, channel.c).

A datagram is one header, records and one MAC (mac.h). The key is derived from the nodes'
secret and from what names both daemons' boots, so nothing of an earlier life can be replayed.
"""

from __future__ import annotations

import hmac
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

from fttcp._native import ffi, lib
from fttcp.planes import mirror
from fttcp.planes.base import EngineError, EngineSettings
from fttcp.wire.keyfile import KeyRing

_HEADER = struct.Struct(">IBBHQQQ")  # magic, version, worker, count, pairing, sender, counter
_WORKER = 0
_FULL = 1400  # bytes; a buffer beyond this is sent: most datagrams fit a frame
_SOCKET_BUFFER = 32 << 20
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_LABEL = b"fttcp/cm"


class Channel:
    """One node's end: records are gathered with `put`, and leave with `flush`."""

    def __init__(
        self,
        settings: EngineSettings,
        counters: Counter[str],
        on_probe: Callable[[int], None] = lambda value: None,
    ) -> None:
        """Prepare; `open` makes the socket. What happens is counted in ``counters``; ``on_probe`` is told of
        probes (mirror.py) that have gone all their ways."""
        self._settings, self._on_probe = settings, on_probe
        self._n = counters
        self._socket: socket.socket | None = None
        self._ring = settings.keys
        self._keys: tuple[bytes, ...] = ()
        self._key_session = 0
        self._partner = settings.peers[0]
        self._pairing = 0
        self._counter = 0
        self._replay: dict[int, Any] = {}
        self._room = ffi.new("uint8_t[]", lib.FTT_CHANNEL_MAX)
        self._record = ffi.new("struct ftt_record *")
        self._out = bytearray()
        self._count = 0

    def open(self) -> None:
        """Bind the socket. Raises EngineError."""
        link, port = self._partner.links[0], self._settings.channel_port + 1
        try:
            family = socket.getaddrinfo(link.local, port, flags=socket.AI_NUMERICHOST)[0][0]
            self._socket = sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _SOCKET_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SOCKET_BUFFER)
            sock.bind((link.local, port))
        except OSError as error:
            self.close()
            raise EngineError(
                f"commit channel on {link.local} port {port}: {error.strerror or error} "
                "(is the peer link's address up, the port free?)"
            ) from error

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """The socket's descriptor; raises EngineError before `open`."""
        return self._opened().fileno()

    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise EngineError("commit channel: it is not open")
        return self._socket

    def follow(self, partner: int, commit_session: int, pairing: int) -> None:
        """Follow the role; a new ``commit_session`` makes a new key, and what waits is dropped."""
        self._partner = self._settings.peers[partner]
        self._pairing = pairing
        if commit_session == self._key_session:
            return
        self._key_session = commit_session
        self._replay.clear()
        self._out.clear()
        self._count = 0
        self._derive()

    def set_keys(self, ring: KeyRing) -> None:
        """Use other keys; the counters go on."""
        self._ring = ring
        self._derive()

    def _derive(self) -> None:
        label = _LABEL + struct.pack(">Q", self._key_session)
        self._keys = tuple(blake2b(label, digest_size=32, key=key).digest() for key in self._ring.keys)

    def put(self, record: Any) -> None:
        """Gather a struct ftt_record."""
        if not self._key_session:
            return
        if len(self._out) > _FULL:
            self.flush()
        room = lib.FTT_CHANNEL_MAX - lib.FTT_CHANNEL_HEADER - lib.FTT_CHANNEL_MAC - len(self._out)
        length = lib.ftt_core_record_put(self._room, room, record)
        self._out += ffi.buffer(self._room, length)
        self._count += 1

    def flush(self) -> None:
        """Send what was gathered. A lost datagram costs time only: records are cumulative or repeated."""
        if not self._count:
            return
        datagram = self.seal(bytes(self._out), self._count)
        self._out.clear()
        self._count = 0
        remote = (self._partner.links[0].remote, self._settings.channel_port + 1 + _WORKER)
        try:
            self._opened().sendto(datagram, remote)
        except OSError:
            self._n["channel_lost"] += 1
        else:
            self._n["channel_datagrams_sent"] += 1

    def seal(self, records: bytes, count: int) -> bytes:
        """Return the next datagram with these records."""
        self._counter += 1
        head = _HEADER.pack(
            lib.FTT_CHANNEL_MAGIC, lib.FTT_CHANNEL_VERSION, _WORKER, count, self._pairing,
            self._settings.node_id, self._counter,
        )  # fmt: skip
        return head + records + self._mac(head + records, self._keys[self._ring.send])

    @staticmethod
    def _mac(message: bytes, key: bytes) -> bytes:
        mac = ffi.new("uint8_t[]", lib.FTT_CHANNEL_MAC)
        lib.ftt_core_channel_mac(mac, message, len(message), key)
        return bytes(mac)

    def _authentic(self, message: bytes, mac: bytes) -> bool:
        return any(hmac.compare_digest(self._mac(message, key), mac) for key in self._keys)

    def receive(self, budget: int = 256) -> Iterator[Any]:
        """Yield the records that wait, of up to ``budget`` datagrams; each is valid until the next."""
        for _ in range(budget):
            try:
                datagram, source = self._opened().recvfrom(lib.FTT_CHANNEL_MAX + 1)
            except BlockingIOError:
                return
            except ConnectionError:  # the peer's port is closed; tells nothing about what else waits
                continue
            if len(datagram) == mirror.DATAGRAM:  # shorter than any of ours
                self._probed(datagram, source)
            else:
                yield from self.unseal(datagram)

    def _probed(self, datagram: bytes, source: Any) -> None:
        next_ = mirror.went(datagram, self._settings.cluster_id, self._ring)
        self._n["channel_malformed" if next_ is None else "mirror_probes"] += 1
        if isinstance(next_, bytes):
            try:
                self._opened().sendto(next_, source)
            except OSError:
                self._n["channel_lost"] += 1
        elif next_ is not None:
            self._on_probe(next_)

    def unseal(self, datagram: bytes) -> Iterator[Any]:
        """Yield the records of a datagram if it is authentic, new, and of this pairing."""
        body = len(datagram) - lib.FTT_CHANNEL_MAC
        if not lib.FTT_CHANNEL_HEADER <= body <= lib.FTT_CHANNEL_MAX - lib.FTT_CHANNEL_MAC:
            self._n["channel_malformed"] += 1
            return
        magic, version, worker, _, pairing, sender, counter = _HEADER.unpack_from(datagram)
        if (magic, version) != (
            lib.FTT_CHANNEL_MAGIC,
            lib.FTT_CHANNEL_VERSION,
        ) or worker & ~lib.FTT_CHANNEL_QUIET >= lib.FTT_MAX_WORKERS:
            self._n["channel_malformed"] += 1
        elif (
            not self._key_session
            or sender != self._partner.node_id
            or not self._authentic(datagram[:body], datagram[body:])
        ):
            self._n["channel_bad_mac"] += 1
        elif not lib.ftt_core_replay_accept(self._window(worker), counter):
            self._n["channel_replay"] += 1
        elif pairing != self._pairing:
            self._n["channel_stale"] += 1
        else:
            self._n["channel_datagrams_received"] += 1
            yield from self._records(datagram[lib.FTT_CHANNEL_HEADER : body])

    def _window(self, worker: int) -> Any:
        """Return the window of a sender's worker, and lane: here both come on one socket."""
        if worker not in self._replay:
            self._replay[worker] = ffi.new("struct ftt_replay *")
        return self._replay[worker]

    def _records(self, body: bytes) -> Iterator[Any]:
        raw = ffi.from_buffer("uint8_t[]", body)  # the records' data points into it
        at = 0
        while at < len(body):
            used = lib.ftt_core_record_get(raw + at, len(body) - at, self._record)
            if not used:
                self._n["channel_malformed"] += 1
                return
            yield self._record
            at += used
