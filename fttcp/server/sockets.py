"""Listening and connected sockets, asked of the kernel by sock_diag(7).

pyroute2 speaks sock_diag too, at some 50 microseconds for each socket; a server with ten thousand connections
would cost the daemon half a second of Python several times in a second. Here one with nothing to read costs
one and a half, the kernel's part included. Structures: inet_diag_req, inet_diag_req_v2 and inet_diag_msg of
include/uapi/linux/inet_diag.h, tcp_info of tcp.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

_NETLINK_SOCK_DIAG = 4
_TCPDIAG_GETSOCK, _SOCK_DIAG_BY_FAMILY = 18, 20
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_INFO, _V6ONLY = 2, 11
_ESTABLISHED, _CLOSE, _CLOSE_WAIT, _LISTEN = 1, 7, 8, 10
_MESSAGE = struct.Struct("=IHHII")
_HEADER = struct.Struct("=BBBB48s5I")
_LENGTH_KIND_AND_NUMBER = struct.Struct("=IHxxI")
_INTERFACE, _INTERFACE_AT = struct.Struct("=I"), 36
_RQUEUE = struct.Struct("=I")
_RQUEUE_AT = 72
"""Where the unread bytes stand in a message with an inet_diag_msg."""
_BYTES_RECEIVED = 128
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket (``waiting`` connections, ``backlog`` may wait) or a bound UDP socket."""

    port: int
    proto: str
    inode: int
    waiting: int = 0
    backlog: int = 0
    interface: int = 0
    """The one that it takes packets from (SO_BINDTODEVICE), not counting sockets of link-local addresses; 0:
    from any."""
    address: str = ""
    """Where it listens: that one, or all of its version if it is unspecified; "": not known."""
    dual: bool = False
    """Listens for IPv4 as well, as one of IPv6 that is bound to none does by default."""

    def hears(self, address: str) -> bool:
        """True if it has what is sent to a local address, as far as is known."""
        if not self.address:
            return True
        wanted, bound = ip_address(address), ip_address(self.address)
        if isinstance(bound, IPv6Address) and bound.ipv4_mapped is not None:
            bound = bound.ipv4_mapped
        if bound.is_unspecified:
            return wanted.version == bound.version or (self.dual and wanted.version == 4)
        return wanted == bound


@dataclass(frozen=True, slots=True)
class Connection:
    """A TCP connection with input that nobody has read. ``read_bytes``: how much was read of it so far."""

    cookie: bytes
    inode: int
    peer: str
    unread: int
    unsent: int
    """Bytes that the client has not acknowledged."""
    read_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """A socket as the kernel tells of it."""

    family: int
    state: int
    identity: bytes
    """struct inet_diag_sockid."""
    port: int
    rqueue: int
    wqueue: int
    inode: int
    attributes: bytes


class Sockets:
    """A sock_diag socket of the network namespace in which it was opened. Not to be shared by threads."""

    def __init__(self) -> None:
        """Raises OSError if the kernel lacks sock_diag."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._socket.settimeout(5.0)
        self._number = 0
        """Of the last question. What an earlier one is told late, after a failure, is no answer to it."""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def listeners(self, protos: Iterable[str] = ("tcp", "udp")) -> list[Listener]:
        """Return who listens. Raises OSError."""
        found: list[Listener] = []
        for proto in protos:
            number, states = (socket.IPPROTO_TCP, _LISTEN) if proto == "tcp" else (socket.IPPROTO_UDP, _CLOSE)
            for family in _FAMILIES:
                for row in self._dump(family, number, 1 << states):
                    address, dual = _address(row)
                    found.append(
                        Listener(
                            row.port, proto, row.inode, row.rqueue, row.wqueue, _bound_to(row), address, dual
                        )
                    )
        return found

    def all_unread(self) -> list[Row]:
        """Return all connections of this host that have unread input, for ``unread``. Raises OSError."""
        return list(self._dump_unread(1 << _ESTABLISHED | 1 << _CLOSE_WAIT))

    def unread(
        self, ports: frozenset[int], rows: Sequence[Row] | None = None, most: int = 256
    ) -> list[Connection]:
        """Return up to ``most`` connections of these local ports that have unread input. Raises OSError.
        ``rows``: what ``all_unread`` has just returned.

        A client's end counts as a byte in the kernel; nobody has to read that at once, so it does not here.
        """
        found: list[Connection] = []
        for row in self.all_unread() if rows is None else rows:
            unread = row.rqueue - (row.state == _CLOSE_WAIT)
            if row.port in ports and unread > 0 and row.inode and len(found) < most:
                received = self._received(row)
                if received is not None:
                    found.append(_connection(row, unread, received))
        return found

    def _received(self, row: Row) -> int | None:
        """tcpi_bytes_received of one socket, and what is unread of them now; None if it is gone."""
        try:
            rows = list(self._ask(row.family, socket.IPPROTO_TCP, 0xFFF, row.identity, 0))
        except (FileNotFoundError, ConnectionError):
            return None
        for now in rows:
            info = _attribute(now.attributes, _INFO)
            if len(info) >= _BYTES_RECEIVED + 8:
                received: int = struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]
                return received - now.rqueue
        return None

    def _dump(self, family: int, proto: int, states: int) -> Iterator[Row]:
        return self._ask(family, proto, states, bytes(48), _DUMP)

    def _dump_unread(self, states: int) -> Iterator[Row]:
        """TCP sockets that have something to be read.

        Each dump walks all buckets of the host's connections; the older request has both families in one.
        """
        self._send(_TCPDIAG_GETSOCK, _DUMP, bytes(52) + struct.pack("=II", states, 0))
        for data, offset, length in self._messages():
            if _RQUEUE.unpack_from(data, offset + _RQUEUE_AT)[0]:
                yield _row(data[offset + 16 : offset + length])

    def _ask(self, family: int, proto: int, states: int, identity: bytes, flags: int) -> Iterator[Row]:
        extensions = 0 if flags else 1 << (_INFO - 1)
        request = struct.pack("=BBBBI", family, proto, extensions, 0, states) + identity
        self._send(_SOCK_DIAG_BY_FAMILY, flags, request)
        for data, offset, length in self._messages(single=not flags):
            yield _row(data[offset + 16 : offset + length])

    def _send(self, kind: int, flags: int, request: bytes) -> None:
        self._number += 1
        head = _MESSAGE.pack(16 + len(request), kind, _REQUEST | flags, self._number, 0)
        self._socket.send(head + request)

    def _messages(self, single: bool = False) -> Iterator[tuple[bytes, int, int]]:
        """The answer: the buffer in which a message lies, where, and its length."""
        while True:
            data = self._socket.recv(1 << 16)
            offset = 0
            while offset + 16 <= len(data):
                length, kind, number = _LENGTH_KIND_AND_NUMBER.unpack_from(data, offset)
                if number != self._number:
                    break  # all of a datagram belongs to one question
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    (code,) = struct.unpack_from("=i", data, offset + 16)
                    raise OSError(-code, f"sock_diag: {os.strerror(-code)}")
                yield data, offset, length
                offset += (length + 3) & ~3
            if single and offset:
                return


def _row(data: bytes) -> Row:
    family, state, _, _, identity, _, rqueue, wqueue, _, inode = _HEADER.unpack_from(data)
    port = int.from_bytes(identity[:2], "big")
    return Row(family, state, identity, port, rqueue, wqueue, inode, data[_HEADER.size :])


def _address(row: Row) -> tuple[str, bool]:
    """Where a socket listens; and whether one of IPv6 takes IPv4, too."""
    if row.family == socket.AF_INET:
        return socket.inet_ntop(row.family, row.identity[4:8]), False
    only = _attribute(row.attributes, _V6ONLY)
    return socket.inet_ntop(row.family, row.identity[4:20]), only[:1] == b"\0"


def _bound_to(row: Row) -> int:
    if row.family == socket.AF_INET6 and ip_address(row.identity[4:20]).is_link_local:
        return 0
    return _INTERFACE.unpack_from(row.identity, _INTERFACE_AT)[0]  # type: ignore[no-any-return]


def _attribute(data: bytes, wanted: int) -> bytes:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        if kind == wanted:
            return data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return b""


def _connection(row: Row, unread: int, read_bytes: int) -> Connection:
    port = int.from_bytes(row.identity[2:4], "big")
    length = 4 if row.family == socket.AF_INET else 16
    address = socket.inet_ntop(row.family, row.identity[20 : 20 + length])
    return Connection(row.identity[40:48], row.inode, f"[{address}]:{port}", unread, row.wqueue, read_bytes)
