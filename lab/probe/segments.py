"""A TCP segment, parsed out of an IP packet."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
SPACE = 1 << 32
"""So many sequence numbers there are."""


@dataclass(frozen=True)
class Segment:
    """Who says it to whom, and what."""

    source: str
    source_port: int
    target: str
    target_port: int
    sequence: int
    acknowledged: int
    flags: int
    payload: bytes


def parse(packet: bytes) -> Segment | None:
    """The segment in an IPv4 or IPv6 packet; None if there is none. Padding behind the packet is left out."""
    if len(packet) >= 40 and packet[0] >> 4 == 4:
        at, end = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
        source, target, protocol = packet[12:16], packet[16:20], packet[9]
    elif len(packet) >= 60 and packet[0] >> 4 == 6:
        at, end = 40, 40 + struct.unpack_from("!H", packet, 4)[0]
        source, target, protocol = packet[8:24], packet[24:40], packet[6]
    else:
        return None
    if protocol != 6 or at + 20 > len(packet):
        return None
    source_port, target_port, sequence, acknowledged, offset, flags = struct.unpack_from(
        "!HHIIBB", packet, at
    )
    payload = packet[at + (offset >> 4) * 4 : end if end > at else None]  # no end: offloads leave it out
    return Segment(
        str(ip_address(source)), source_port, str(ip_address(target)), target_port,
        sequence, acknowledged, flags, payload,
    )  # fmt: skip
