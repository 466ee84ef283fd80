"""A capture as a time diagram: who said what to whom, in packetdrill's notation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fttcp.explain.packets import Packet, Step, Takeover
from fttcp.explain.words import flow_of, letters
from fttcp.planes.base import FlowKey
from fttcp.planes.experiment import Direction, Flags
from fttcp.planes.views import parse

SILENCE_NS = 30_000_000
"""A longer one is told."""
_LANE = 34
_KEPT = 2
"""Lines that are shown of a long stretch of data and acknowledgements, at either end."""
_MODULUS = 1 << 32


@dataclass(frozen=True)
class _Line:
    time_ns: int
    text: str
    plain: bool
    """Data or an acknowledgement, as there are many."""


@dataclass(frozen=True)
class _LeftOut:
    """So many packets, the last one at that time."""

    packets: int
    time_ns: int


def diagram(steps: Iterable[Step]) -> Iterator[str]:
    """Yield the lines of a diagram of the first TCP connection among ``steps``, those of a capture of the
    service network."""
    lines = list(_lines(steps))
    if not lines:
        return
    first_ns, before_ns = lines[0].time_ns, lines[0].time_ns
    yield f"{'seconds':>10}  {'client':<{_LANE}}{'first node':<{_LANE}}second node"
    for line in _short(lines):
        if isinstance(line, _LeftOut):
            yield f"{'...':>10}  | {line.packets} packets"
            before_ns = line.time_ns
            continue
        silence_ns = line.time_ns - before_ns
        if silence_ns >= SILENCE_NS:
            yield f"{'':>10}  | {silence_ns / 1e6:.1f} ms"
        before_ns = line.time_ns
        yield f"{(line.time_ns - first_ns) / 1e9:10.6f}  {line.text}".rstrip()


def _lines(steps: Iterable[Step]) -> Iterator[_Line]:
    about: FlowKey | None = None
    first: dict[Direction, int] = {}
    lanes = 1
    for step in steps:
        if isinstance(step, Takeover):
            if lanes == 2:
                return  # a diagram has room for two nodes
            lanes = 2
            yield _Line(step.time_ns, _arrow("announces itself", False, lanes), False)
        elif isinstance(step, Packet):
            key, _ = flow_of(step.data, step.direction)
            if key.proto != "tcp" or (about or key) != key:
                continue
            about = key
            _, _, seg = parse(step.data)
            first.setdefault(step.direction, seg.seq)
            told = _segment(seg, step.direction, first)
            plain = not Flags(seg.flags) & (Flags.SYN | Flags.FIN | Flags.RST)
            yield _Line(step.time_ns, _arrow(told, step.direction is Direction.FROM_CLIENT, lanes), plain)


def _segment(seg: Any, direction: Direction, first: dict[Direction, int]) -> str:
    """Flags, first byte, byte behind the last one, length, acknowledgement, as packetdrill writes them."""
    other = Direction.FROM_SERVER if direction is Direction.FROM_CLIENT else Direction.FROM_CLIENT
    flags = Flags(seg.flags)
    start = (seg.seq - first[direction]) % _MODULUS
    told = f"{letters(flags)} {start}:{start + seg.len}({seg.len})"
    return told + (f" ack {(seg.ack - first.get(other, seg.ack)) % _MODULUS}" if flags & Flags.ACK else "")


def _arrow(text: str, from_client: bool, lanes: int) -> str:
    width = _LANE * lanes - 1
    told = f" {text} "
    inside = f"-{told:-<{width - 2}}>" if from_client else f"<-{told:-<{width - 2}}"
    rest = " " * (_LANE - 1) + "|" if lanes == 1 else ""
    return f"|{inside}|{rest}"


def _short(lines: list[_Line]) -> Iterator[_Line | _LeftOut]:
    """Leave out the middle of what goes on and on: how many packets, in their place."""
    stretch: list[_Line] = []
    for line in lines:
        interrupted = stretch and line.time_ns - stretch[-1].time_ns >= SILENCE_NS
        if not line.plain or interrupted:
            yield from _ends(stretch)
            stretch = []
        if line.plain:
            stretch.append(line)
        else:
            yield line
    yield from _ends(stretch)


def _ends(stretch: list[_Line]) -> Iterator[_Line | _LeftOut]:
    left_out = len(stretch) - 2 * _KEPT
    if left_out < 2:
        yield from stretch
        return
    yield from stretch[:_KEPT]
    yield _LeftOut(left_out, stretch[-_KEPT - 1].time_ns)
    yield from stretch[-_KEPT:]
