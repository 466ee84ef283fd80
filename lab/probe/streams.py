"""The streams of bytes that a server's stack has sent, made of the packets of a tap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.probe.segments import ACK, FIN, RST, SPACE, SYN, parse
from lab.probe.tap import LENGTH

MOST = 64 << 20
"""Of one stream so many bytes are looked at."""

Key = tuple[str, int, int, int]
"""A connection: client, its port, the service's port, and the number at which the client began, for a port
comes again."""


@dataclass
class Stream:
    """What one copy said on a connection. `end`: "fin", "reset", or "" if it is still open."""

    key: Key
    begin: int
    data: bytearray = field(default_factory=bytearray)
    end: str = ""
    _fin_at: int | None = None
    _later: dict[int, bytes] = field(default_factory=dict)

    def take(self, sequence: int, flags: int, payload: bytes) -> None:
        """One segment was sent."""
        at = (sequence - self.begin - 1) % SPACE
        if at > SPACE // 2:
            return  # a keep-alive, one before the begin
        if payload:
            self._place(at, payload)
        if flags & RST:
            self.end = self.end or "reset"
        elif flags & FIN:
            self._fin_at = at + len(payload)
        if self._fin_at is not None and self._fin_at <= len(self.data):
            self.end = "fin"

    def _place(self, at: int, payload: bytes) -> None:
        if len(self._later.get(at, b"")) < len(payload):
            self._later[at] = payload
        while ready := [start for start in self._later if start <= len(self.data)]:
            for start in sorted(ready):
                piece = self._later.pop(start)
                if start + len(piece) > len(self.data) < MOST:
                    self.data += piece[len(self.data) - start :]


def read(path: Path) -> Iterator[bytes]:
    """The packets of a tap's file; a last one that is cut short is left out."""
    with path.open("rb") as file:
        while len(head := file.read(LENGTH.size)) == LENGTH.size:
            (length,) = LENGTH.unpack(head)
            packet = file.read(length)
            if len(packet) == length:
                yield packet


def streams(packets: Iterable[bytes]) -> dict[Key, Stream]:
    """All streams, in the order in which the server took the connections."""
    found: dict[Key, Stream] = {}
    latest: dict[tuple[str, int, int], Stream] = {}
    for packet in packets:
        segment = parse(packet)
        if segment is None:
            continue
        place = (segment.target, segment.target_port, segment.source_port)
        if segment.flags & SYN and segment.flags & ACK:
            key = (*place, (segment.acknowledged - 1) % SPACE)
            if key not in found:
                found[key] = Stream(key, segment.sequence)
            latest[place] = found[key]
        elif place in latest:
            latest[place].take(segment.sequence, segment.flags, segment.payload)
    return found
