"""The stream of a server whose two copies do not agree: numbered records, and their judge.

For a connection's plan both copies send the same records, but for some that one of them, its author,
makes longer or shorter (``length``), or fills with bytes of its own (``content``). All is drawn from the
plan's seed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

COPIES = ("alpha", "beta")
KINDS = ("length", "content")
BURST = 16
"""Records that differ come close to each other: a burst of so many has some of them, or none."""
LARGEST_CHANGE = 100
LARGEST_SIZE = 32768
_HEAD = struct.Struct("!4sIH")
_MAGIC = b"REC\n"


class WrongStreamError(Exception):
    """What was received is no copy's stream."""


@dataclass(frozen=True)
class Plan:
    """What a connection's records are: `kind` is how copies differ, `often` how many bursts in a hundred have
    differences, `size` the least length of a usual record."""

    seed: int
    kind: str
    often: int
    size: int

    @classmethod
    def parse(cls, line: str) -> Plan:
        """Read what line() wrote; raises ValueError."""
        seed, kind, often, size = line.split()
        if kind not in KINDS or not 1 <= int(size) <= LARGEST_SIZE:
            raise ValueError(f"no plan: {line}")
        return cls(int(seed), kind, int(often), int(size))

    def line(self) -> str:
        """The plan as the client sends it."""
        return f"{self.seed} {self.kind} {self.often} {self.size}"

    def author(self, number: int) -> str:
        """The copy whose record of this number differs from the other's; "" when they agree."""
        if Random(f"{self.seed} burst {number // BURST}").randrange(100) >= self.often:
            return ""
        source = Random(f"{self.seed} author {number}")
        return source.choice(COPIES) if source.random() < 0.5 else ""

    def record(self, number: int, copy: str) -> bytes:
        """The record as this copy sends it."""
        own = copy == self.author(number)
        source = Random(f"{self.seed} length {number}")
        length = self.size + source.randrange(self.size)
        change = source.randint(1, LARGEST_CHANGE) * source.choice((1, -1))
        if own and self.kind == "length":
            length = length + change if length + change > 0 else length - change
        body = hashlib.shake_128(f"{self.seed} {number} {own}".encode()).digest(length)
        return _HEAD.pack(_MAGIC, number, length) + body


@lru_cache(maxsize=64)
def _both(plan: Plan, number: int) -> dict[str, bytes]:
    return {copy: plan.record(number, copy) for copy in COPIES}


@dataclass
class Reader:
    """Judges a stream as it comes.

    It is right when it is what one copy sends, record by record, without gap or overlap. At a takeover it may
    go on as the other copy's: between two records, or within one that is equally long in both. More often
    than there are takeovers a copy that was left must not speak again.
    """

    plan: Plan
    takeovers: int = 1
    """How many there may be."""
    number: int = 0
    """Of the record that comes next."""
    copy: str = ""
    """Who speaks; not known before the first difference."""
    switches: int = 0
    _waiting: bytearray = field(default_factory=bytearray)

    @property
    def between(self) -> bool:
        """True when no record is half there."""
        return not self._waiting

    def take(self, data: bytes | bytearray | memoryview) -> int:
        """Take what was received; returns how many records are complete. Raises WrongStreamError."""
        self._waiting += data
        while self._waiting and self._take_record():
            self.number += 1
        return self.number

    def _take_record(self) -> bool:
        """Check what is there of the next record; True when that is all of it."""
        both = _both(self.plan, self.number)
        for speakers in ((), *((copy,) for copy in COPIES), COPIES, COPIES[::-1]):
            length = _fits(both, speakers, self._waiting)
            if length > len(self._waiting):
                return False
            if length:
                for copy in speakers:
                    self._hear(copy)
                del self._waiting[:length]
                return True
        raise WrongStreamError(self._told(both))

    def _hear(self, copy: str) -> None:
        if copy == self.copy:
            return
        if self.switches == self.takeovers:
            raise WrongStreamError(
                f"record {self.number} is of {copy} again, which {self.copy} had succeeded"
            )
        self.switches += bool(self.copy)
        self.copy = copy

    def _told(self, both: dict[str, bytes]) -> str:
        seen = bytes(self._waiting)
        places = {copy: _difference(seen, record) for copy, record in both.items()}
        copy = max(places, key=lambda name: places[name])
        at = places[copy]
        wanted, got = both[copy][at : at + 16].hex(), seen[at : at + 16].hex()
        return f"record {self.number}: byte {at} of {len(both[copy])} is of no copy: {got}, not {wanted}"


def _difference(seen: bytes, record: bytes) -> int:
    """Where the first byte of `seen` is that is not the record's."""
    pairs = zip(seen, record, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(seen), len(record)))


def _fits(both: dict[str, bytes], speakers: Sequence[str], waiting: bytearray) -> int:
    """The length of the record if these speakers may have sent what there is of it, in this order; else 0."""
    first = both[speakers[0] if speakers else COPIES[0]]
    last = both[speakers[-1] if speakers else COPIES[1]]
    seen = bytes(waiting[: len(first)])
    if not speakers and first != last:
        return 0  # they do not agree, so somebody has said it
    if len(speakers) < 2:
        return len(first) if first.startswith(seen) else 0
    at = _difference(seen, first)
    return len(first) if len(first) == len(last) and last[at:].startswith(seen[at:]) else 0
