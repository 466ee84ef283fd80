"""Where two copies of a server differ, and what that means for their connections."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from lab.probe.streams import Key, Stream

_ROW = 16
_SLOWER = {
    "commit-lag": "the backup did not get the client's bytes in time",
    "end": "the backup's copy did not close when the primary's did",
    "peer-end": "the backup's copy closed before the primary's did",
    "refused": "the backup refused the connection",
    "open-timeout": "the backup did not answer the handshake",
    "unsupported": "the connection uses what cannot be protected",
    "no-backup": "there was no backup",
    "solo": "the backup was lost meanwhile",
}


class Verdict(IntEnum):
    """What a connection shows; the worst one counts."""

    SAME = 0
    CONTENT = 1
    """Other bytes, as many."""
    LOST = 2
    """The backup could not follow, with the same output as far as it came."""
    LENGTH = 3
    """More or fewer bytes, or so different ones that the backup could not go on."""


@dataclass(frozen=True)
class Compared:
    """A connection. `at`: its first byte (from 0) that is not the same; None if there is none."""

    number: int
    key: Key
    verdict: Verdict
    lengths: tuple[int, int]
    at: int | None = None
    why: str = ""
    later: bool = False
    excerpt: tuple[str, str] = ("", "")

    @property
    def name(self) -> str:
        """Client and its port."""
        client, port, *_ = self.key
        return f"[{client}]:{port}" if ":" in client else f"{client}:{port}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "connection": self.number, "client": self.name, "service_port": self.key[2],
            "verdict": self.verdict.name.lower(), "byte": self.at, "lengths": list(self.lengths),
            "why": self.why, "backup_later": self.later,
            "primary": self.excerpt[0], "backup": self.excerpt[1],
        }  # fmt: skip


def first_difference(one: bytes | bytearray, other: bytes | bytearray) -> int | None:
    """The place of the first byte that is not the same in both as far as both go; None if there is none."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle)
    return low


def judge(
    primary: Stream, backup: Stream | None, flow: Mapping[str, Any] | None
) -> tuple[Verdict, int | None, str]:
    """What became of a connection: by what both copies said, and by what the primary's engine tells of it."""
    reason = (
        str(flow["reason"]) if flow and flow["protection"] in ("detached", "detaching", "unprotected") else ""
    )
    if backup is None:
        return Verdict.LOST, None, _SLOWER.get(reason, "the backup's copy never had it")
    at = first_difference(primary.data, backup.data)
    longer = len(primary.data) != len(backup.data)
    both_ended = primary.end == backup.end == "fin"
    if at is not None:
        fits = not reason and not (both_ended and longer)
        return (Verdict.CONTENT if fits else Verdict.LENGTH), at, reason
    if longer and (both_ended or reason in ("divergence", "output-lag", "output-ahead")):
        return Verdict.LENGTH, min(len(primary.data), len(backup.data)), reason
    if reason:
        return Verdict.LOST, None, _SLOWER.get(reason, reason)
    return Verdict.SAME, None, ""


def compare(
    primaries: Mapping[Key, Stream],
    backups: Mapping[Key, Stream],
    flows: Mapping[tuple[str, int, int], Mapping[str, Any]],
    later: Iterable[Key] = (),
) -> list[Compared]:
    """All connections in their order. `flows`: what the engine tells, by client, its port and the service's;
    `later`: those in which the backup's copy ran behind."""
    behind, found = frozenset(later), []
    for number, (key, primary) in enumerate(primaries.items(), 1):
        backup = backups.get(key)
        verdict, at, why = judge(primary, backup, flows.get(key[:3]))
        other = backup.data if backup is not None else bytearray()
        shown = (excerpt(primary.data, at), excerpt(other, at)) if at is not None else ("", "")
        lengths = (len(primary.data), len(other))
        found.append(Compared(number, key, verdict, lengths, at, why, key in behind, shown))
    return found


def excerpt(data: bytes | bytearray, at: int, rows: int = 2) -> str:
    """Hexadecimal and text, from the row in which the place is."""
    start = at - at % _ROW
    lines = []
    for row in range(start, start + rows * _ROW, _ROW):
        piece = bytes(data[row : row + _ROW])
        if not piece:
            break
        text = re.sub(rb"[^ -~]", b".", piece).decode()
        lines.append(f"{row:08x}  {piece.hex(' '):<{3 * _ROW - 1}}  {text}".rstrip())
    return "\n".join(lines)
