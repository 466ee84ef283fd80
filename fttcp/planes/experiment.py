"""Experiments: code of the user's own that sees packets and records before the rules do, and ownership.

The programmable engine asks it about every packet of the group and every record of the commit channel, on
whichever node it runs, and does what it answers: `Pass`, `Drop`, `Delay`, or `Modify`. What comes out of that
is then decided by the same rules as ever; an experiment cannot make a backup speak or let a primary answer
too early. It stands where the network stands for input and records (between the wire and the rules), and
where the server's stack stands for output (between the stack and the rules).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable as AnyCallable
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from fttcp import _numbers
from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode as EngineMode
from fttcp.ownership.model import Lease as Lease
from fttcp.planes.base import EngineEvent, FlowKey
from fttcp.planes.base import EventKind as EventKind
from fttcp.planes.base import Protection as Protection
from fttcp.planes.error import EngineError

LONGEST_DELAY_S = 60

Direction = _numbers.Dir
"""Who sent a packet."""

RecordType = _numbers.RecordType
"""What nodes tell each other of a flow (docs/protocol.md)."""


class Flags(IntFlag):
    """Control bits of a TCP segment (RFC 9293 3.1)."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP header, numbers as in the packet. ``seg_len`` is the payload's length in bytes; ``seg_wnd`` is
    not scaled; the timestamps are None without the option."""

    seg_seq: int
    seg_ack: int
    seg_len: int
    seg_wnd: int
    flags: Flags
    tsval: int | None
    tsecr: int | None


@dataclass(frozen=True, slots=True)
class FlowView:
    """What the engine knows of a TCP flow before this packet. Sequence numbers are in service space, as
    the client sees them; `delta` is what this node's own stack is ahead of that, modulo 2^32. `committed` and
    `peer_snd_nxt`: input that the backup has, and what its server has said."""

    protection: Protection
    delta: int
    client_acked: int
    local_snd_nxt: int
    local_rcv_nxt: int
    committed: int
    peer_snd_nxt: int
    held: int
    age_ns: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. ``number`` counts this engine's packets from 1; ``time_ns`` is CLOCK_BOOTTIME; ``mode``
    is this node's role; ``data`` is the IP packet. ``key`` and ``segment`` are None for what is not a whole
    TCP segment (``key`` is there for UDP); ``flow`` is None for a flow that the engine does not know."""

    number: int
    time_ns: int
    direction: Direction
    mode: EngineMode
    data: bytes
    key: FlowKey | None
    segment: Segment | None
    flow: FlowView | None

    @property
    def payload(self) -> bytes:
        """The TCP payload; empty when there is no segment."""
        return self.data[len(self.data) - self.segment.seg_len :] if self.segment is not None else b""

    def with_payload(self, payload: bytes) -> bytes:
        """Return this segment with another payload of the same length and a right checksum, for `Modify`.

        Raises ValueError when there is no segment, or the length differs: every byte has a sequence number.
        """
        if self.segment is None or len(payload) != self.segment.seg_len:
            have = "no TCP segment" if self.segment is None else f"{self.segment.seg_len} bytes of payload"
            raise ValueError(f"packet {self.number} has {have}; {len(payload)} bytes cannot replace them")
        data = bytearray(self.data[: len(self.data) - len(payload)] + payload)
        pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
        raw = ffi.from_buffer("uint8_t[]", data)
        lib.ftt_core_parse(raw, len(data), len(data), pkt, seg)
        lib.ftt_core_apply(raw, pkt, ffi.new("struct ftt_edit *"), False)
        return bytes(data)


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the commit channel. ``heard``: the other node told it; else this node is about to tell it.
    ``kind`` is a RecordType, or the number of one that this release does not know. ``numbers``: what it
    tells, of those that its kind has: rcv_nxt, edge, snd_nxt, client_acked, service_iss, verified, point,
    number; sequence numbers as the client sees them. ``data`` are its bytes. The rest is as of a Packet."""

    number: int
    time_ns: int
    mode: EngineMode
    heard: bool
    kind: RecordType | int
    key: FlowKey
    numbers: Mapping[str, int]
    data: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """Something about ownership: this node's engine got another mode, or another right to speak, or reports
    an event (of the kinds of EventKind). One of the three is not None."""

    time_ns: int
    mode: EngineMode | None = None
    lease: Lease | None = None
    event: EngineEvent | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """Go on with the packet as it is."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Lose the packet, as a network would."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Go on with it after so many seconds; others may overtake it. ``again``: the function is asked about the
    packet once more then, with the flow as it is by that time; else it is not."""

    seconds: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Modify:
    """Go on with these bytes, a whole IP packet with right checksums, in its place."""

    data: bytes


Action = Pass | Drop | Delay | Modify
Callback = AnyCallable[[Packet], Action] | object
"""A function of a packet; or an object with any of the methods of `Experiment`."""


class Experiment:
    """What an experiment may have; it need not inherit from this class."""

    def packet(self, packet: Packet) -> Action:
        """Say what to do with a packet. Called in the worker's thread."""
        return Pass()

    def record(self, record: Record) -> Action:
        """Say what to do with a record: Pass, Drop, or of one that was heard Delay. Called in the worker's
        thread."""
        return Pass()

    def ownership(self, change: Change) -> None:
        """Learn of a change, when it has happened. Called in the daemon's loop."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The functions of an experiment, None for what it does not look at."""

    packet: AnyCallable[[Packet], Action] | None
    record: AnyCallable[[Record], Action] | None
    ownership: AnyCallable[[Change], None] | None


def hooks_of(callback: Callback | None) -> Hooks:
    """Return the functions of an experiment. Raises EngineError for what is none."""
    names = ("packet", "record", "ownership")
    found: list[Any] = [getattr(callback, name, None) for name in names]
    if not any(map(callable, found)) and callable(callback):
        found[0] = callback
    if callback is not None and not any(map(callable, found)):
        raise EngineError(f"{callback!r} is no experiment: neither a function, nor has it {', '.join(names)}")
    return Hooks(*(one if callable(one) else None for one in found))


def check_record_action(action: Action, heard: bool) -> None:
    """Raise TypeError or ValueError for what cannot be done with a record."""
    check_action(action)
    if isinstance(action, Modify) or (isinstance(action, Delay) and (action.again or not heard)):
        possible = "Pass(), Drop() or Delay(s)" if heard else "Pass() or Drop()"
        raise TypeError(f"{action!r}: with this record can be done {possible}")


def check_action(action: Action) -> None:
    """Raise TypeError or ValueError for what is no action, or cannot be done."""
    if not isinstance(action, Pass | Drop | Delay | Modify):
        raise TypeError(f"{action!r} is no action: wanted is Pass(), Drop(), Delay(s) or Modify(bytes)")
    if isinstance(action, Delay) and not isinstance(action.seconds, int | float):
        raise TypeError(f"Delay({action.seconds!r}): wanted are seconds, an int or a float")
    if isinstance(action, Modify) and type(action.data) is not bytes:
        raise TypeError(f"Modify({type(action.data).__name__}): wanted are bytes, see bytes()")
    if isinstance(action, Delay) and not 0 <= action.seconds <= LONGEST_DELAY_S:
        raise ValueError(f"a packet cannot be delayed by {action.seconds} s (0 to {LONGEST_DELAY_S})")
    if isinstance(action, Modify) and not 20 <= len(action.data) <= 65535:
        raise ValueError(f"{len(action.data)} bytes are no IP packet")


def load_callback(place: str) -> Callback:
    """Return the experiment that ``module:name`` names. Raises EngineError when it cannot be had."""
    module_name, _, function_name = place.partition(":")
    if not module_name or not function_name:
        raise EngineError(f'callback {place!r}: wanted is "module:function"')
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise EngineError(
            f"callback {place!r}: {error}; the module must be importable where the daemon runs (PYTHONPATH)"
        ) from error
    found = getattr(module, function_name, None)
    if found is None:
        raise EngineError(f"callback {place!r}: module {module_name} has no function {function_name!r}")
    try:
        hooks_of(found)
    except EngineError as error:
        raise EngineError(f"callback {place!r}: {error}") from error
    experiment: Callback = found
    return experiment
