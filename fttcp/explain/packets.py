"""A capture as the engine would be given it: whole IP packets of the service, and who takes over when."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.experiment import Direction, Flags
from fttcp.planes.views import parse
from fttcp.wire.addresses import address_text
from fttcp.wire.capture import ETHERNET, CaptureError, Record

_HEADERS = {0: 4, ETHERNET: 14, 12: 0, 101: 0, 113: 16, 228: 0, 229: 0, 276: 20}
"""Kinds of link, and how much stands before the packet."""
_VLAN = (b"\x81\x00", b"\x88\xa8")
_ARP, _NEIGHBOUR_ADVERTISEMENT = b"\x08\x06", 136


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet, by its number in the capture, from 1. ``data``: whole, with right checksums; what was cut off
    is zeros."""

    number: int
    time_ns: int
    direction: Direction
    data: bytes


@dataclass(frozen=True, slots=True)
class Takeover:
    """Another station speaks for the service from here on."""

    number: int
    time_ns: int
    station: str


@dataclass(frozen=True, slots=True)
class RoleBegins:
    """This node has that role from here on."""

    number: int
    time_ns: int
    mode: EngineMode


@dataclass(frozen=True, slots=True)
class Heard:
    """The other node told this one a record."""

    number: int
    time_ns: int
    data: bytes


Step = Packet | Takeover | RoleBegins | Heard

_RECORDED = re.compile(r"(idle|backup|paired|solo) (in|out|heard|told|role)")
"""Names of interfaces in what lab/experiments/record_roles.py writes."""


def is_recording(records: Iterable[Record]) -> bool:
    """Return whether this is what one node was given, with its roles, and not what a wire carried."""
    first = next(iter(records), None)
    return first is not None and _RECORDED.fullmatch(first.interface) is not None


def recorded(records: Iterable[Record]) -> Iterator[Step]:
    """Yield what one node was given. Raises CaptureError for what is no such recording."""
    mode = None
    for number, record in enumerate(records, 1):
        match = _RECORDED.fullmatch(record.interface)
        if match is None:
            raise CaptureError(f"packet {number}: interface {record.interface!r} names no role")
        if mode != match[1]:
            mode = match[1]
            yield RoleBegins(number, record.time_ns, EngineMode.__members__[mode.upper()])
        if match[2] == "heard":
            yield Heard(number, record.time_ns, record.data)
        elif match[2] in ("in", "out") and complete(record.data) is not None:
            direction = Direction.FROM_CLIENT if match[2] == "in" else Direction.FROM_SERVER
            yield Packet(number, record.time_ns, direction, record.data)


def services_in(records: Iterable[Record]) -> set[str]:
    """Return the addresses that clients open connections to, as text. Raises CaptureError."""
    found = set()
    for record in records:
        whole = complete(_ip(record))
        if whole is not None:
            _, pkt, seg = parse(whole)
            if seg.flags & (Flags.SYN | Flags.ACK) == Flags.SYN:
                found.add(address_text(bytes(pkt.dst)))
    return found


def packets(records: Iterable[Record], services: set[str]) -> Iterator[Packet | Takeover]:
    """Yield the TCP segments and datagrams between ``services`` (addresses as text) and others, and where
    another station begins to speak for these. Raises CaptureError for a kind of link that is not known."""
    station = b""
    for number, record in enumerate(records, 1):
        whole = complete(_ip(record))
        source, target = _ends(whole) if whole is not None else (_announced(record), "")
        if source in services and record.link == ETHERNET:
            if station not in (b"", record.data[6:12]):
                yield Takeover(number, record.time_ns, record.data[6:12].hex(":"))
            station = record.data[6:12]
        if whole is not None and services & {source, target}:
            direction = Direction.FROM_CLIENT if target in services else Direction.FROM_SERVER
            yield Packet(number, record.time_ns, direction, whole)


def _ends(data: bytes) -> tuple[str, str]:
    _, pkt, _ = parse(data)
    return address_text(bytes(pkt.src)), address_text(bytes(pkt.dst))


def complete(data: bytes) -> bytes | None:
    """Return a TCP segment or datagram with all its bytes, zeros for those that were cut off, and with the
    checksum that belongs to them: offload leaves that open. None: it is neither."""
    length = lib.ftt_core_length(ffi.from_buffer("uint8_t[]", data), len(data))
    room = bytearray(data[:length] + bytes(max(0, length - len(data))))
    raw, pkt, seg = (
        ffi.from_buffer("uint8_t[]", room),
        ffi.new("struct ftt_pkt *"),
        ffi.new("struct ftt_seg *"),
    )
    kind = lib.ftt_core_parse(raw, length, length, pkt, seg)
    if kind == lib.FTT_PARSED_TCP:
        lib.ftt_core_apply(raw, pkt, ffi.new("struct ftt_edit *"), False)
    return bytes(room) if kind in (lib.FTT_PARSED_TCP, lib.FTT_PARSED_UDP) else None


def _ip(record: Record) -> bytes:
    if record.link not in _HEADERS:
        known = ", ".join(map(str, _HEADERS))
        raise CaptureError(f"link type {record.link} is not known; known are {known}")
    start = _HEADERS[record.link]
    while record.link == ETHERNET and record.data[start - 2 : start] in _VLAN:
        start += 4
    return record.data[start:]


def _announced(record: Record) -> str:
    """The address that an ARP packet, or a neighbour advertisement, says is its sender's; else ""."""
    data = record.data
    if record.link != ETHERNET:
        return ""
    if data[12:14] == _ARP:
        return str(ip_address(data[28:32])) if len(data) >= 32 else ""
    if len(data) >= 78 and data[20] == 58 and data[54] == _NEIGHBOUR_ADVERTISEMENT:
        return str(ip_address(data[62:78]))
    return ""
