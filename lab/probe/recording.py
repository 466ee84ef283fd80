"""A recorded conversation, from a pcap file: what clients said to a port, and when each went on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab import pcap
from lab.errors import LabError
from lab.probe.segments import ACK, FIN, SPACE, SYN, parse

_LINKS = {0: 4, 1: 14, 12: 0, 101: 0, 113: 16, 228: 0, 229: 0, 276: 20}
"""Kinds of link of a pcap file, and how much stands before the packet."""
_VLAN = (b"\x81\x00", b"\x88\xa8")

Step = tuple[int, str, int, str]


@dataclass
class _Conversation:
    number: int
    begin: int
    next_at: int
    heard_from: int | None = None
    later: dict[int, tuple[bytes, int, bool]] = field(default_factory=dict)
    ended: bool = False


def steps(path: Path, ports: frozenset[int]) -> list[Step]:
    """What is to be done to say it again: number of the connection, "open", "say" or "end", how much the
    client had heard then, and what it says, in hex. Raises LabError if the file has nothing of the kind."""
    found: list[Step] = []
    talks: dict[tuple[str, int, int], _Conversation] = {}
    for segment in filter(None, map(parse, packets(path))):
        if segment.target_port not in ports:
            continue
        place = (segment.source, segment.source_port, segment.target_port)
        begins, ends = bool(segment.flags & SYN), bool(segment.flags & FIN)
        talk = talks.get(place)
        if talk is None or (begins and talk.begin != segment.sequence):
            if not begins and not segment.payload:
                continue
            talk = talks[place] = _Conversation(_opened(found), segment.sequence, segment.sequence + begins)
            found.append((talk.number, "open", 0, ""))
        if segment.flags & ACK and talk.heard_from is None:
            talk.heard_from = segment.acknowledged
        heard = (segment.acknowledged - talk.heard_from) % SPACE if talk.heard_from is not None else 0
        if not begins and (segment.payload or ends):
            talk.later.setdefault(segment.sequence, (segment.payload, heard, ends))
            found += _ready(talk)
    if not found:
        wanted = ", ".join(map(str, sorted(ports)))
        raise LabError(f"{path}: no client speaks to TCP port {wanted} there; name another with --port")
    return found


def _opened(found: list[Step]) -> int:
    return sum(1 for step in found if step[1] == "open")


def _ready(talk: _Conversation) -> Iterator[Step]:
    """What has come in order by now; what came twice counts once."""
    for sequence in sorted(talk.later, key=lambda number: (number - talk.next_at + SPACE // 2) % SPACE):
        payload, heard, ends = talk.later[sequence]
        ahead = (sequence - talk.next_at + SPACE // 2) % SPACE - SPACE // 2
        if ahead > 0:
            return
        del talk.later[sequence]
        fresh = payload[-ahead:]
        if fresh:
            talk.next_at = (talk.next_at + len(fresh)) % SPACE
            yield talk.number, "say", heard, fresh.hex()
        if ends and not talk.ended and len(payload) >= -ahead:
            talk.ended = True
            yield talk.number, "end", heard, ""


def packets(path: Path) -> Iterator[bytes]:
    """The IP packets of a pcap file. Raises LabError if it is none, or has only parts of packets."""
    for record in pcap.records(path):
        link, data = record.link, record.data
        if link not in _LINKS:
            raise LabError(f"{path}: link type {link} is not known; known are {', '.join(map(str, _LINKS))}")
        if len(data) < record.length:
            raise LabError(f"{path}: packets are cut to {len(data)} bytes; record whole ones (tcpdump -s 0)")
        start = _LINKS[link]
        while link == 1 and data[start - 2 : start] in _VLAN:
            start += 4
        yield data[start:]
