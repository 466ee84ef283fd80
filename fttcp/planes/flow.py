"""What the programmable engine keeps of packets and flows, and all that it needs of the world."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from fttcp._native import ffi
from fttcp.planes.base import EventKind
from fttcp.planes.compare import Output
from fttcp.planes.retain import Retained


class Waiting(Protocol):
    """A packet in the kernel's queue that wants a verdict, once."""

    def accept(self, data: bytes | None) -> None:
        """Let it go, with other bytes when given."""

    def drop(self) -> None:
        """Lose it."""


class Surroundings(Protocol):
    """What a TcpFlows asks of, and does to, the world."""

    def may_emit(self, now_ns: int) -> bool:
        """The lease and role question, asked for everything that leaves for a client."""

    def vouched(self) -> bool:
        """Is the local server known to live?"""

    def server_gone(self, now_ns: int) -> bool:
        """Has a main process of it ended?"""

    def watches(self) -> bool:
        """Are its main processes looked at?"""

    def put_record(self, record: Any) -> None:
        """Gather a struct ftt_record for the other node."""

    def emit(self, packet: bytes, to_client: bool) -> None:
        """Send a packet of our own; to a client only under the lease."""

    def post(self, kind: EventKind, key: Any, reason: int, value: int) -> None:
        """Tell the daemon."""


@dataclass(slots=True)
class Arrival:
    """A packet as it came from a queue, parsed. ``length`` is its true length, ``data`` may be cut short;
    ``changed``: the data are not what the kernel holds. Its checksum is complete."""

    waiting: Waiting
    data: bytes
    length: int
    pkt: Any
    seg: Any
    changed: bool = False

    @property
    def whole(self) -> bool:
        """Are all bytes there?"""
        return len(self.data) >= self.length

    def raw(self) -> Any:
        """The bytes for the C core."""
        return ffi.from_buffer("uint8_t[]", self.data)


@dataclass(slots=True)
class Held:
    """A segment that waits for the gate."""

    arrival: Arrival
    since_ns: int
    point: tuple[int, int]
    """How much output there was up to this segment, and its sum."""


@dataclass(slots=True, eq=False)
class Flow:
    """One TCP flow: the core's state, and what belongs to carrying it out."""

    key: Any
    name: bytes
    created_ns: int
    state: Any = field(default_factory=lambda: ffi.new("struct ftt_flow *"))
    held: deque[Held] = field(default_factory=deque)
    syn: bytes = b""
    """The client's SYN, until the backup has answered."""
    closed: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    divergences: int = 0
    difference_told: bool = False
    output: Output = field(default_factory=Output)
    retained: Retained = field(default_factory=Retained)
