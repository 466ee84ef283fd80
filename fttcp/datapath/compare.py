"""Checksums of a server's output, compared between both nodes; the rules of digest.h and compare.c."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from fttcp._native import ffi, lib

_U32 = 0xFFFFFFFF
OURS, THEIRS = 1, 2


def ahead(a: int, b: int) -> bool:
    """True if sequence number or offset ``a`` is beyond ``b``, modulo 2^32."""
    return 0 < (a - b) & _U32 < 1 << 31


class Output:
    """The output stream of one flow's server, summed in blocks."""

    __slots__ = ("_point", "_ring", "block", "broken", "crc", "next")

    def __init__(self) -> None:
        self.next = 0
        """Stream offset, modulo 2^32, up to which the output was summed."""
        self.crc = 0
        self.block = 0
        self.broken = False
        """True if bytes of the present block were not seen."""
        self._ring: Any = ffi.gc(ffi.new("struct ftt_ring **"), lib.ftt_core_ring_drop)
        self._point: tuple[int, int] | None = None
        """The other node's running sum: at which offset, and what."""

    def add(self, offset: int, data: bytes, length: int) -> Iterator[tuple[int, int, bool]]:
        """Sum what is new of ``length`` bytes at ``offset``; ``data`` is shorter when they were not all seen.

        Yields (number, sum, broken) of each block that is done.
        """
        end = (offset + length) & _U32
        if not length or not ahead(end, self.next):
            return
        yield from self._skip_to(offset if len(data) == length else end)
        if len(data) < length:
            return
        data = data[(self.next - offset) & _U32 :]
        while data:
            part = data[: lib.FTT_BLOCK - self.next % lib.FTT_BLOCK]
            self.crc = lib.ftt_core_crc32c(self.crc, part, len(part))
            self.next = (self.next + len(part)) & _U32
            data = data[len(part) :]
            if self.next % lib.FTT_BLOCK == 0:
                yield self._done()

    def _skip_to(self, offset: int) -> Iterator[tuple[int, int, bool]]:
        while ahead(offset, self.next):
            gap = min((offset - self.next) & _U32, lib.FTT_BLOCK - self.next % lib.FTT_BLOCK)
            self.broken = True
            self.next = (self.next + gap) & _U32
            if self.next % lib.FTT_BLOCK == 0:
                yield self._done()

    def _done(self) -> tuple[int, int, bool]:
        done = (self.block, self.crc, self.broken)
        self.block, self.crc, self.broken = self.block + 1, 0, False
        return done

    # ---- the primary: both nodes' sums meet

    def meet(self, block: int, crc: int, origin: int, counters: Counter[str]) -> bool:
        """Note one node's sum of a block; True if it differs from the other's."""
        lost = ffi.new("uint64_t *")
        got = lib.ftt_core_ring_put(self._ring, block, crc, origin, lost)
        counters["uncompared_blocks"] += lost[0]
        counters["compared_blocks"] += got != lib.FTT_LATER
        return bool(got == lib.FTT_DIFFERENT)

    def set_point(self, point: int, crc: int) -> None:
        """Note the other node's running sum at its present offset."""
        self._point = (point, crc)

    def meet_point(self, counters: Counter[str]) -> bool:
        """True if the other's running sum is for where this stream now stands, and differs."""
        if self._point is None or self.broken or self.next != self._point[0]:
            return False
        crc = self._point[1]
        self._point = None
        counters["compared_blocks"] += 1
        return self.crc != crc
