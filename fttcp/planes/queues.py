"""The kernel's side of the programmable engine: its queues.

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
from functools import partial

from netfilterqueue import NetfilterQueue
from netfilterqueue import Packet as QueuedPacket

from fttcp.network.rules import HANDSHAKE_QUEUES
from fttcp.planes.base import EngineSettings
from fttcp.planes.error import EngineError
from fttcp.planes.experiment import Direction

SHOWN_MAX = 4016
"""Bytes of a packet that NetfilterQueue 1.1 shows."""
LANES = (0, HANDSHAKE_QUEUES)
"""Numbers between the queues of each lane (plane.h) and those of the first."""
_BUDGET = 64  # packets taken from a queue before the other things get their turn
_RECEIVE_BUFFER = 32 << 20  # bytes
_SIOCGIFMTU = 0x8921


class Queue:
    """One NFQUEUE queue; `receive` hands what waits to ``take``, and lets its exceptions through."""

    def __init__(
        self,
        number: int,
        direction: Direction,
        take: Callable[[Direction, QueuedPacket], None],
        counters: Counter[str],
    ) -> None:
        self.number = number
        self._take = partial(take, direction)
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

    def receive(self) -> bool:
        """Hand over what waits, up to a budget; False if there was nothing."""
        self._left = _BUDGET
        if self._queue is not None:
            self._queue.run_socket(self)  # type: ignore[arg-type]  # of a socket it uses recv() only
        return self._left < _BUDGET - 1

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


def check_mtu(settings: EngineSettings) -> None:
    """Raise EngineError when an interface may bring packets that are not shown whole."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        here = (settings.service_interface, *settings.standby_interfaces, settings.peer_interface)
        for interface in dict.fromkeys(here):
            request = struct.pack("16si12x", interface.encode(), 0)
            try:
                answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, request)
            except OSError as error:
                if interface in settings.standby_interfaces and error.errno == errno.ENODEV:
                    continue
                raise EngineError(f"interface {interface}: {error.strerror}") from error
            (mtu,) = struct.unpack_from("i", answer, 16)
            if mtu > SHOWN_MAX:
                raise EngineError(
                    f"interface {interface} has MTU {mtu}, but the programmable engine sees at most "
                    f'{SHOWN_MAX} bytes of a packet: set it to 1500, or use engine = "nfqueue"'
                )
