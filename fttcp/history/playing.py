"""One connection of a history, played by a client of the kernel's: what it sends, what comes back."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from fttcp.history.reader import Event, Flow, How, crc32c

_READ = 1 << 18
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets."""


class Point(NamedTuple):
    """The server had said ``place`` bytes, with this sum; None: it is not known."""

    place: int
    crc: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Up to byte ``equal`` the output is that of the history; at or before ``until`` it is not."""

    flow: Flow
    equal: int
    until: int
    what: str


class Output:
    """What a server says on one connection, against what the history has. It is summed as it comes; behind a
    difference from the history's own sum on, so that one counts once."""

    def __init__(self, flow: Flow, points: deque[Point]) -> None:
        self.flow, self.points = flow, points
        self.said = self.equal = self._crc = 0
        self.compared = 0
        """Points at which the sums were known."""
        self.differences: list[Difference] = []
        self._known = points[-1].place if points else 0

    @property
    def beyond(self) -> int:
        """Bytes of which the history does not know."""
        return max(0, self.said - self._known)

    def take(self, data: bytes) -> None:
        """The server has said this."""
        view = memoryview(data)
        while view:
            room = self.points[0].place - self.said if self.points else 0
            part = view[: room or len(view)]
            self._crc = crc32c(bytes(part), self._crc)
            self.said += len(part)
            view = view[len(part) :]
            self.pass_points()

    def pass_points(self) -> None:
        """Compare, where the output has come to a point."""
        while self.points and self.points[0].place <= self.said:
            place, crc = self.points.popleft()
            if crc is None:
                continue
            self.compared += 1
            if crc == self._crc:
                self.equal = place
            else:
                self._differs(place, "other bytes")
                self._crc = crc

    def ends(self, how: str) -> None:
        """The server says no more."""
        if self.points:
            self._differs(self.points[-1].place, f"{how} after {self.said} bytes")
            self.points.clear()

    def _differs(self, until: int, what: str) -> None:
        self.differences.append(Difference(self.flow, self.equal, until, what))


class Playing:
    """A client's socket. The caller waits for what ``wants_to_read`` and ``wants_to_write`` tell."""

    def __init__(self, flow: Flow, points: deque[Point]) -> None:
        self.flow = flow
        self.output = Output(flow, points)
        self.sock = _socket(flow)
        self.over = False
        """It was reset, or the socket is closed."""
        self.said_all = False
        """The server says no more. Its client may."""
        self._next = 0
        self._parts: dict[int, Event] = {}
        self._waiting = bytearray()
        self._fin = False

    @property
    def wants_to_write(self) -> bool:
        """Something waits that the socket has not taken."""
        return bool(self._waiting) and not self.over

    @property
    def sent(self) -> int:
        """Bytes of the client's stream that the socket was given."""
        return self._next - len(self._waiting)

    def connect(self, timeout_s: float) -> None:
        """Raises OSError."""
        self.sock.settimeout(timeout_s)
        self.sock.connect((self.flow.service, self.flow.service_port))
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.output.pass_points()

    def give(self, event: Event) -> None:
        """The client sent this; a piece behind a hole waits for the one that fills it."""
        self._parts[event.offset] = event
        while part := next((one for at, one in sorted(self._parts.items()) if at <= self._next), None):
            del self._parts[part.offset]
            fresh = part.data[self._next - part.offset :]
            self._waiting += fresh
            self._next += len(fresh)
            self._fin = self._fin or part.fin
        self.write()

    def write(self) -> None:
        """Give the socket what it takes."""
        try:
            while self._waiting and not self.over:
                del self._waiting[: self.sock.send(self._waiting)]
            if self._fin and not self._waiting and not self.over:
                self._fin = False
                self.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(f"reset ({error.strerror})")

    def read(self) -> None:
        """Take what has come."""
        try:
            data = self.sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(f"reset ({error.strerror})")
            return
        if data:
            self.output.take(data)
        else:
            self.said_all = True
            self.output.ends("closed")

    def end(self, how: How | None) -> None:
        """The connection has ended so in the history: its client's part in that, when it is closed."""
        if how is How.CLIENT_RST:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)

    def close(self) -> None:
        """Close the socket."""
        self.over = self.said_all = True
        self.sock.close()

    def _ended(self, how: str) -> None:
        self.over = self.said_all = True
        self.output.ends(how)


def _socket(flow: Flow) -> socket.socket:
    """A client's socket with the address that it had, if this host has it, and its port, if it is free."""
    sock = socket.socket(socket.AF_INET6 if ":" in flow.client else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for port in (flow.client_port, 0):
        with contextlib.suppress(OSError):
            sock.bind((flow.client, port))
            break
    return sock
