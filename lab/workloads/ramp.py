"""The byte pattern that every workload sends: random bytes that repeat with a prime period.

The period is prime and longer than any window of the lab, so a shift, a gap or a repeat of any length (of
segments, pages, blocks) shows as a difference at the first byte concerned.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random

PERIOD = 1_000_003
_SLACK = 1 << 18


class Ramp:
    """Stream of bytes made from a seed: byte *i* of the stream is ``pattern[(start + i) % PERIOD]``."""

    def __init__(self, seed: int, start: int = 0) -> None:
        self._pattern = _pattern(seed)
        self._start = start

    def chunk(self, offset: int, length: int) -> memoryview:
        """Return ``length`` bytes of the stream (at most 256 KiB) beginning at ``offset``."""
        if length > _SLACK:
            raise ValueError(f"a chunk of {length} bytes was asked for, at most {_SLACK} are possible")
        begin = (self._start + offset) % PERIOD
        return self._pattern[begin : begin + length]

    def span(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes of the stream, of any length."""
        pieces = (self.chunk(offset + i, min(_SLACK, length - i)) for i in range(0, length, _SLACK))
        return b"".join(pieces)

    def mismatch(self, offset: int, data: bytes | bytearray | memoryview) -> int | None:
        """Return the stream offset of the first byte of ``data`` that is not the stream's, or None."""
        view = memoryview(data)
        for base in range(0, len(view), _SLACK):
            piece = view[base : base + _SLACK]
            expected = self.chunk(offset + base, len(piece))
            if piece != expected:
                wrong = next(i for i, (a, b) in enumerate(zip(piece, expected, strict=True)) if a != b)
                return offset + base + wrong
        return None

    def explain(self, offset: int, data: bytes | bytearray | memoryview) -> str:
        """Say what wrong ``data``, found at ``offset``, is: a gap, a repeat, or foreign bytes."""
        sample = bytes(data[:32])
        place = bytes(self._pattern).find(sample)
        if place < 0 or len(sample) < 8:
            return f"bytes {sample[:8].hex()} are not of this stream"
        there = (place - self._start) % PERIOD
        ahead = (there - offset) % PERIOD
        if ahead <= PERIOD // 2:
            return f"{ahead} bytes are missing"
        return f"{PERIOD - ahead} bytes are repeated"


@lru_cache(maxsize=8)
def _pattern(seed: int) -> memoryview:
    once = Random(seed).randbytes(PERIOD)
    return memoryview(once + once[:_SLACK])
