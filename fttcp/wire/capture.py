"""Files of packets: pcap and pcapng are read, pcapng is written (draft-ietf-opsawg-pcapng)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

ETHERNET, RAW_IP, USER0 = 1, 101, 147
"""Kinds of link (tcpdump.org/linktypes.html)."""

_PCAP = {
    struct.pack(f"{order}I", magic): (order, nanoseconds)
    for order in "<>"
    for magic, nanoseconds in ((0xA1B2C3D4, 1_000), (0xA1B23C4D, 1))
}
"""How a pcap file begins: its byte order, and the nanoseconds of a tick."""
_SECTION, _INTERFACE, _ENHANCED, _SIMPLE = 0x0A0D0D0A, 1, 6, 3
_ORDER = 0x1A2B3C4D
_END, _NAME, _RESOLUTION = 0, 2, 9
_SECOND = 1_000_000_000
_BLOCK_MAX = 1 << 24


class CaptureError(ValueError):
    """It is no file of packets; the sentence says which file, and why."""


@dataclass(frozen=True, slots=True)
class Record:
    """A packet: when it was seen (ns), on what kind of link, how long it was, what was kept of it, and the
    name of the interface, "" if the file has none."""

    time_ns: int
    link: int
    length: int
    data: bytes
    interface: str = ""

    @property
    def time_s(self) -> float:
        """When it was seen, in seconds."""
        return self.time_ns / _SECOND


def records(path: Path) -> Iterator[Record]:
    """Yield what is in a file; a last record that is cut short ends it. Raises CaptureError."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        magic = file.read(4)
        if magic in _PCAP:
            yield from _pcap(file, *_PCAP[magic])
        elif magic == struct.pack("<I", _SECTION):
            try:
                yield from _pcapng(file)
            except (struct.error, KeyError, IndexError) as error:
                raise CaptureError(f"{path}: a block of it is damaged ({error})") from error
        else:
            raise CaptureError(f"{path}: not a file of packets, neither pcap nor pcapng")


def _pcap(file: BinaryIO, order: str, tick_ns: int) -> Iterator[Record]:
    rest = file.read(20)
    if len(rest) < 20:
        return
    link = struct.unpack(f"{order}I", rest[16:])[0] & 0xFFFF
    while len(head := file.read(16)) == 16:
        seconds, ticks, kept, length = struct.unpack(f"{order}IIII", head)
        data = file.read(kept)
        if len(data) < kept:
            return
        yield Record(seconds * _SECOND + ticks * tick_ns, link, length, data)


def _pcapng(file: BinaryIO) -> Iterator[Record]:
    file.seek(0)
    order, interfaces = "<", list[tuple[int, int, str]]()
    while len(head := file.read(8)) == 8:
        kind = struct.unpack(f"{order}I", head[:4])[0]
        if kind == _SECTION:
            mark = file.read(4)
            order = "<" if mark == struct.pack("<I", _ORDER) else ">"
            interfaces = []
            file.seek(-4, 1)
        length = struct.unpack(f"{order}I", head[4:])[0]
        if not 12 <= length <= _BLOCK_MAX:
            raise IndexError(f"{length} bytes long")
        body = file.read(length - 8)
        if len(body) < length - 8:
            return
        if kind == _INTERFACE:
            interfaces.append(_interface(body[:-4], order))
        elif kind == _ENHANCED:
            number, high, low, kept, whole = struct.unpack(f"{order}IIIII", body[:20])
            link, per_second, name = interfaces[number]
            when_ns = ((high << 32) | low) * _SECOND // per_second
            yield Record(when_ns, link, whole, body[20 : 20 + kept], name)
        elif kind == _SIMPLE:
            (whole,) = struct.unpack(f"{order}I", body[:4])
            yield Record(0, interfaces[0][0], whole, body[4 : 4 + min(whole, length - 16)], interfaces[0][2])


def _interface(body: bytes, order: str) -> tuple[int, int, str]:
    """Return kind of link, ticks in a second, and name."""
    link = struct.unpack(f"{order}H", body[:2])[0]
    per_second, name, at = 1_000_000, "", 8
    while at + 4 <= len(body):
        code, size = struct.unpack(f"{order}HH", body[at : at + 4])
        value = body[at + 4 : at + 4 + size]
        if code == _END:
            break
        if code == _NAME:
            name = value.decode(errors="replace")
        elif code == _RESOLUTION:
            per_second = 1 << (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        at += 4 + (size + 3) // 4 * 4
    return link, per_second, name


class CaptureWriter:
    """A new pcapng file. An interface is made when it is first named. `live`: it has each record at once."""

    def __init__(self, path: Path, live: bool = True) -> None:
        """Begin it. Raises OSError."""
        self._file = path.open("wb", buffering=0 if live else -1)
        self._interfaces: dict[tuple[str, int], int] = {}
        self._block(_SECTION, struct.pack("<IHHq", _ORDER, 1, 0, -1))

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, interface: str, link: int, time_ns: int, data: bytes, length: int | None = None) -> None:
        """Add a packet; `length`: of all of it, if `data` is its beginning. Raises OSError."""
        whole = len(data) if length is None else length
        number = self._interfaces.get((interface, link))
        if number is None:
            number = self._interfaces[interface, link] = len(self._interfaces)
            options = _option(_NAME, interface.encode()) + _option(_RESOLUTION, b"\x09") + _option(_END, b"")
            self._block(_INTERFACE, struct.pack("<HHI", link, 0, 0) + options)
        head = struct.pack("<IIIII", number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), whole)
        self._block(_ENHANCED, head + _padded(data))

    def close(self) -> None:
        """End it."""
        self._file.close()

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("<I", 12 + len(body))
        self._file.write(struct.pack("<I", kind) + length + body + length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
