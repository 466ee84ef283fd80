"""Files of packets, as tcpdump writes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

_MAGICS = {
    struct.pack(f"{order}I", magic): (order, ticks)
    for order in "<>"
    for magic, ticks in ((0xA1B2C3D4, 1_000_000), (0xA1B23C4D, 1_000_000_000))
}
"""How a file begins: its byte order, and in what parts of a second it counts."""


@dataclass(frozen=True)
class Record:
    """A packet: when it was seen, on what kind of link, how long it was, and what was kept of it."""

    time_s: float
    link: int
    length: int
    data: bytes


def records(path: Path) -> Iterator[Record]:
    """What is in a file; a last record that is cut short ends it. Raises LabError if it is no such file."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise LabError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        header = file.read(24)
        if len(header) < 24 or header[:4] not in _MAGICS:
            raise LabError(f"{path}: not a pcap file (of pcapng: tcpdump -r FILE -w NEW makes one)")
        order, ticks = _MAGICS[header[:4]]
        link = struct.unpack(f"{order}I", header[20:])[0] & 0xFFFF
        while len(head := file.read(16)) == 16:
            seconds, parts, kept, length = struct.unpack(f"{order}IIII", head)
            data = file.read(kept)
            if len(data) < kept:
                return
            yield Record(seconds + parts / ticks, link, length, data)
