"""Experiments on packets: a function of the user's own that sees each packet before the rules do.

The programmable engine calls it once for every packet of the group, on whichever node it runs, and
does what it answers: `Pass`, `Drop`, `Delay`, or `Modify`. What comes out of that is then decided by
the same rules as ever; an experiment cannot make a backup speak or let a primary answer too early.
It stands where the network stands for input (between the wire and the rules), and where the server's
stack stands for output (between the stack and the rules).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable as AnyCallable
from dataclasses import dataclass
from enum import Enum, IntFlag

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import EngineError, FlowKey, Protection

LONGEST_DELAY_S = 60


class Direction(Enum):
    """Values of enum ftt_dir: who sent a packet."""

    FROM_CLIENT = 0
    FROM_SERVER = 1


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
    the client sees them; `delta` is what this node's own stack is ahead of that, modulo 2^32."""

    protection: Protection
    delta: int
    client_acked: int
    local_snd_nxt: int
    local_rcv_nxt: int
    committed: int
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
class Pass:
    """Go on with the packet as it is."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Lose the packet, as a network would."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Go on with the packet after so many seconds; others may overtake it. The function is asked once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Modify:
    """Go on with these bytes, a whole IP packet with right checksums, in its place."""

    data: bytes


Action = Pass | Drop | Delay | Modify
Callback = AnyCallable[[Packet], Action]


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
    """Return the function that ``module:function`` names. Raises EngineError when it cannot be had."""
    module_name, _, function_name = place.partition(":")
    if not module_name or not function_name:
        raise EngineError(f'callback {place!r}: wanted is "module:function"')
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise EngineError(
            f"callback {place!r}: {error}; the module must be importable where the daemon runs (PYTHONPATH)"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise EngineError(f"callback {place!r}: module {module_name} has no function {function_name!r}")
    return function  # type: ignore[no-any-return]
