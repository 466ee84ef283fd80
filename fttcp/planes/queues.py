"""The kernel's side of the programmable engine: its two queues, and packets of its own.

The NetfilterQueue package shows at most 4,016 bytes of a packet (its buffer is compiled in), and does
not ask the kernel for whole GSO packets: the kernel cuts these into segments of the path's size, with
checksums made, before it queues them. So no offload must be switched off, but an interface's MTU must
not exceed what is shown: `open` checks it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import warnings
from collections import Counter
from collections.abc import Callable

from netfilterqueue import NetfilterQueue
from netfilterqueue import Packet as QueuedPacket

from fttcp.planes.base import EngineError, EngineSettings

SHOWN_MAX = 4016
"""Bytes of a packet that NetfilterQueue 1.1 shows."""
_BUDGET = 64  # packets taken from a queue before the other things get their turn
_RECEIVE_BUFFER = 32 << 20  # bytes
_SIOCGIFMTU = 0x8921
_IPV6_HDRINCL = 36
_IP_PKTINFO = 8
_SO_MARK = 36


class Waiting:
    """A packet in a queue; see flow.Waiting. What would leave for a client asks the lease once more:
    the process may have been stopped between deciding and answering."""

    __slots__ = ("_may_leave", "_n", "_packet")

    def __init__(self, packet: QueuedPacket, may_leave: Callable[[], bool], counters: Counter[str]) -> None:
        self._packet = packet
        self._may_leave = may_leave
        self._n = counters

    def accept(self, data: bytes | None) -> None:
        """Let it go, with other bytes when given."""
        self._n["verdicts"] += 1
        if not self._may_leave():
            self._n["drop_lease"] += 1
            self._packet.drop()
            return
        if data is not None:
            self._packet.set_payload(data)
        self._packet.accept()

    def drop(self) -> None:
        """Lose it."""
        self._n["verdicts"] += 1
        self._packet.drop()


class Queue:
    """One NFQUEUE queue; `receive` hands what waits to ``take``, and lets its exceptions through."""

    def __init__(self, number: int, take: Callable[[QueuedPacket], None], counters: Counter[str]) -> None:
        self.number = number
        self._take = take
        self._n = counters
        self._queue: NetfilterQueue | None = None
        self._socket: socket.socket | None = None
        self._left = 0

    def open(self, maxlen: int) -> None:
        """Bind the queue; ``maxlen``: packets that the kernel keeps waiting in it. Raises EngineError."""
        try:
            queue = NetfilterQueue()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # a smaller buffer serves as well
                queue.bind(self.number, self._take, max_len=maxlen, sock_len=_RECEIVE_BUFFER)
        except OSError as error:
            raise EngineError(
                f"NFQUEUE {self.number}: {error} (root or CAP_NET_ADMIN is needed; another program may hold "
                "this queue: choose another `queue`)"
            ) from error
        self._queue = queue
        self._socket = socket.socket(fileno=os.dup(queue.get_fd()))
        self._socket.setblocking(False)

    def close(self) -> None:
        """Unbind the queue: the kernel drops what waits in it, and, by the rules, what comes."""
        if self._queue is not None:
            self._queue.unbind()
            self._queue = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """The descriptor that is readable while packets wait; -1 when closed."""
        return self._socket.fileno() if self._socket is not None else -1

    def receive(self) -> None:
        """Hand over what waits, up to a budget."""
        if self._queue is not None:
            self._left = _BUDGET
            self._queue.run_socket(self)  # type: ignore[arg-type]  # of a socket it uses recv() only

    def recv(self, size: int) -> bytes:
        """What NetfilterQueue.run_socket reads with: an error says that there is no more for now."""
        self._left -= 1
        if self._left < 0 or self._socket is None:
            raise BlockingIOError(errno.EAGAIN, "that is enough for now")
        try:
            return self._socket.recv(size)
        except OSError as error:
            self._n["queue_overruns"] += error.errno == errno.ENOBUFS
            raise


class Emitter:
    """Raw sockets for packets of our own: marked, so that the group's rules let them by."""

    def __init__(self, mark: int, counters: Counter[str]) -> None:
        self._mark = mark
        self._n = counters
        self._sockets: dict[int, socket.socket] = {}

    def open(self) -> None:
        """Make the sockets. Raises EngineError."""
        try:
            for version, family, level, option in (
                (4, socket.AF_INET, socket.IPPROTO_IP, socket.IP_HDRINCL),
                (6, socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_HDRINCL),
            ):
                raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
                self._sockets[version] = raw
                raw.setsockopt(socket.SOL_SOCKET, _SO_MARK, self._mark)
                raw.setsockopt(level, option, 1)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT and 4 in self._sockets:
                return  # a kernel without IPv6
            self.close()
            raise EngineError(
                f"raw socket: {error.strerror} (root, or CAP_NET_RAW and CAP_NET_ADMIN, is needed)"
            ) from error

    def close(self) -> None:
        """Close the sockets."""
        for raw in self._sockets.values():
            raw.close()
        self._sockets.clear()

    def send(self, packet: bytes, to_client: bool) -> None:
        """Send an IP packet; one that cannot go (no route, buffer full) counts as lost by the network. To a
        client it is routed by its source, as what the stack says: see emit.c."""
        version = packet[0] >> 4
        if version == 4:
            to: tuple[str, int] = (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0)
            source = (socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + packet[12:16] + bytes(4))
        else:
            to = (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0)
            source = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packet[8:24] + bytes(4))
        try:
            self._sockets[version].sendmsg([packet], [source] if to_client else [], 0, to)
        except OSError:
            self._n["emit_failed"] += 1


def check_mtu(settings: EngineSettings) -> None:
    """Raise EngineError when an interface may bring packets that are not shown whole."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for interface in dict.fromkeys((settings.service_interface, settings.peer_interface)):
            request = struct.pack("16si12x", interface.encode(), 0)
            try:
                answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, request)
            except OSError as error:
                raise EngineError(f"interface {interface}: {error.strerror}") from error
            (mtu,) = struct.unpack_from("i", answer, 16)
            if mtu > SHOWN_MAX:
                raise EngineError(
                    f"interface {interface} has MTU {mtu}, but the programmable engine sees at most "
                    f'{SHOWN_MAX} bytes of a packet: set it to 1500, or use engine = "nfqueue"'
                )
