"""Sequence numbers over time, as tcptrace draws them, of the first connection in a capture."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from lab import pcap
from lab.network import CLIENT, SERVICE4, SERVICE6

_SERVICE = {4: ip_address(SERVICE4).packed, 6: ip_address(SERVICE6).packed}
_SYN, _ACK = 0x02, 0x10


class Point(NamedTuple):
    """A byte of the server's stream, and when it was seen."""

    time_us: int
    number: int


@dataclass
class Sequence:
    """Ends of what the server has sent (for the first time; again), and what the client has acknowledged."""

    data: list[Point] = field(default_factory=list)
    repeated: list[Point] = field(default_factory=list)
    acknowledged: list[Point] = field(default_factory=list)


class _Segment(NamedTuple):
    from_service: bool
    client_port: int
    sequence: int
    acknowledgement: int
    flags: int
    length: int


def points(file: Path, link: str = CLIENT) -> Sequence:
    """Read what was captured on a link; a file that is not there has nothing. Raises LabError."""
    found = Sequence()
    if not file.exists():
        return found
    port = first = most = None
    for record in pcap.records(file):
        segment = _segment(record.data) if record.interface == link else None
        if segment is None or port not in (None, segment.client_port):
            continue
        if segment.from_service and segment.flags & _SYN:
            port, first, most = segment.client_port, segment.sequence + 1, 0
        if first is None or most is None:
            continue
        at = round(record.time_s * 1e6)
        if not segment.from_service:
            if segment.flags & _ACK:
                found.acknowledged.append(Point(at, _far(segment.acknowledgement - first, most)))
        elif segment.length:
            end = _far(segment.sequence + segment.length - first, most)
            (found.data if end > most else found.repeated).append(Point(at, end))
            most = max(most, end)
    return found


def _far(difference: int, near: int) -> int:
    """A place in a stream by its 32 bits, the one nearest to another place."""
    return near + ((difference - near + (1 << 31)) % (1 << 32)) - (1 << 31)


def _segment(frame: bytes) -> _Segment | None:
    """The TCP segment of a frame that is the service's or for it."""
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[12:14])
    if version == 4:
        header = 14 + (frame[14] & 15) * 4
        protocol, whole = frame[23], int.from_bytes(frame[16:18], "big") - (header - 14)
        source, target = frame[26:30], frame[30:34]
    elif version == 6:
        header = 54
        protocol, whole = frame[20], int.from_bytes(frame[18:20], "big")
        source, target = frame[22:38], frame[38:54]
    else:
        return None
    if protocol != 6 or len(frame) < header + 20 or _SERVICE[version] not in (source, target):
        return None
    tcp = frame[header:]
    ours = source == _SERVICE[version]
    return _Segment(
        ours,
        int.from_bytes(tcp[2:4] if ours else tcp[0:2], "big"),
        int.from_bytes(tcp[4:8], "big"),
        int.from_bytes(tcp[8:12], "big"),
        tcp[13],
        whole - (tcp[12] >> 4) * 4,
    )
