"""Is the output of both servers the same? The rules of digest.h, verify.h and compare.c, for one flow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from fttcp._native import ffi, lib
from fttcp.planes.retain import Retained

_U32 = 0xFFFFFFFF


def ahead(a: int, b: int) -> bool:
    """True if sequence number or offset ``a`` is beyond ``b``, modulo 2^32."""
    return 0 < (a - b) & _U32 < 1 << 31


def _sum(crc: int, data: bytes) -> int:
    result: int = lib.ftt_core_crc32c(crc, ffi.from_buffer("uint8_t[]", data), len(data))
    return result


class Output:
    """The output stream of one flow's server, summed. Offsets count from its first byte, modulo 2^32."""

    __slots__ = ("_offer", "_points", "broken", "crc", "next", "seen", "told_crc")

    def __init__(self) -> None:
        self.next = 0
        """Up to here the output is summed."""
        self.seen = 0
        """Up to here it was seen."""
        self.crc = 0
        self.broken = False
        """True if bytes were not seen: what comes behind them is never verified."""
        self.told_crc = 0
        """Primary: the sum of all that has left."""
        self._offer = (0, 0)
        """Primary: the backup's last sum, if it was ahead."""
        self._points: list[tuple[int, int]] = []
        """Backup: the primary's sums beyond what was seen here."""

    def fresh(self, offset: int, data: bytes, length: int, counters: Counter[str]) -> bytes:
        """What is new of ``length`` bytes at ``offset``; ``data`` is shorter when they were not all seen."""
        if not length or not ahead((offset + length) & _U32, self.seen) or self.broken:
            return b""
        if len(data) < length or ahead(offset, self.seen):
            self._give_up(counters)
            return b""
        new = data[(self.seen - offset) & _U32 :]
        self.seen = (self.seen + len(new)) & _U32
        return new

    def _give_up(self, counters: Counter[str]) -> None:
        counters["uncompared_blocks"] += not self.broken
        self.broken = True
        self._points.clear()

    # ---- the primary

    @property
    def point(self) -> tuple[int, int]:
        """How far the output is summed, and the sum."""
        return self.next, self.crc

    def add(self, state: Any, data: bytes) -> None:
        """Sum what is new."""
        while data:
            left = (self._offer[0] - self.next) & _U32
            part = data[:left] if left else data
            self.crc, self.next = _sum(self.crc, part), (self.next + len(part)) & _U32
            data = data[len(part) :]
            if self.next == self._offer[0]:
                self.offered(state, self._offer, ())

    def offered(self, state: Any, theirs: tuple[int, int], waiting: Collection[tuple[int, int]]) -> None:
        """Take the backup's sum at an offset; ``waiting``: the points of packets that have not left yet."""
        if ahead(theirs[0], self.next):
            self._offer = theirs
        elif ahead(theirs[0], state.assured) and (theirs == self.point or theirs in waiting):
            state.assured = theirs[0]

    def leaves(self, state: Any, point: tuple[int, int]) -> None:
        """All before a point has left: it is to be told."""
        if state.bits & lib.FTT_F_SUMS and not self.broken and ahead(point[0], state.told):
            self.told_crc = point[1]
            lib.ftt_core_output_leaves(state, point[0])

    # ---- the backup; these return how both sums compared (enum ftt_judged), for each point that was met

    def told(self, state: Any, record: Any, kept: Retained, counters: Counter[str]) -> list[int]:
        """Take the primary's sum of all before a point, which has left, from an OUTPUT."""
        point, crc = record.point, record.crc
        summed = record.flags & lib.FTT_REC_SUM
        if state.bits & lib.FTT_F_SUMS and not summed:  # the primary can compare no more
            self._give_up(counters)
            state.assured = state.told
        if not summed or not lib.ftt_core_output_tell(state, point) or self.broken:
            return []
        if ahead(point, self.seen):
            judged = self._sum_retained(state, self.seen, kept)
            self._keep(point, crc)
            return judged
        if ahead(self.next, point):
            counters["uncompared_blocks"] += 1
            return []
        judged = self._sum_retained(state, point, kept)
        return [*judged, self._judge(state, crc)]

    def offer(self, state: Any, record: Any, kept: Retained) -> None:
        """Offer our sum, if it is news, with a COMMIT that acknowledges input for the first time."""
        if not state.bits & lib.FTT_F_SUMS or self.broken or not ahead(self.seen, state.assured):
            return
        state.assured = record.point = self.seen
        record.crc = _sum(self.crc, self._retained(state, self.seen, kept))
        record.flags |= lib.FTT_REC_OFFER

    def _keep(self, at: int, crc: int) -> None:
        """Datagrams may overtake each other: each point has its place, the last one of all always."""
        place = len(self._points)
        while place and ahead(self._points[place - 1][0], at):
            place -= 1
        if place and self._points[place - 1][0] == at:
            return
        if len(self._points) < lib.FTT_POINTS:
            self._points.insert(place, (at, crc))
        elif place == len(self._points):
            self._points[-1] = (at, crc)

    def directly(self, state: Any, data: bytes) -> list[int]:
        """Sum of output that has just been seen what the primary has told of already."""
        before = (self.seen - len(data)) & _U32
        if self.next != before or not ahead(state.told, self.next):
            return []
        return self._add(state, data[: (state.told - self.next) & _U32])

    def without_room(self, state: Any, data: bytes, kept: Retained) -> list[int]:
        """Sum the rest of what has just been seen if there was no room to retain it."""
        if self._is_retained(state, kept):
            return []
        before = (self.seen - len(data)) & _U32
        judged = self._sum_retained(state, before, kept) if ahead(before, self.next) else []
        return judged + self._add(state, data[(self.next - before) & _U32 :])

    def needed(self, state: Any) -> int:
        """Sequence number before which no byte is needed any more."""
        summed = self._seq(state, self.next)
        over = state.bits & lib.FTT_F_TAKEN and not state.bits & lib.FTT_F_UNVERIFIED
        if not state.bits & lib.FTT_F_SUMS or self.broken or over or ahead(summed, state.client_acked):
            return int(state.client_acked)
        return summed

    @staticmethod
    def _seq(state: Any, offset: int) -> int:
        return int(state.hard.service_iss + 1 + offset) & _U32

    def is_kept(self, state: Any, kept: Retained) -> bool:
        """After a takeover: True if all is at hand that the client may lack."""
        seen, acked = self._seq(state, self.seen), int(state.client_acked)
        end = (kept.state.seq + kept.state.n) & _U32
        return not ahead(seen, acked) or bool(
            kept.state.n and not ahead(kept.state.seq, acked) and not ahead(seen, end)
        )

    def _is_retained(self, state: Any, kept: Retained) -> bool:
        first, last = self._seq(state, self.next), self._seq(state, self.seen)
        end = (kept.state.seq + kept.state.n) & _U32
        return self.next == self.seen or bool(
            kept.state.n and not ahead(kept.state.seq, first) and not ahead(last, end)
        )

    def _retained(self, state: Any, to: int, kept: Retained) -> bytes:
        start = (self._seq(state, self.next) - kept.state.seq) & _U32
        return bytes(kept.data[start : start + ((to - self.next) & _U32)])

    def _sum_retained(self, state: Any, to: int, kept: Retained) -> list[int]:
        return self._add(state, self._retained(state, to, kept))

    def _add(self, state: Any, data: bytes) -> list[int]:
        judged = []
        while data:
            left = (self._points[0][0] - self.next) & _U32 if self._points else len(data)
            self.crc, self.next = _sum(self.crc, data[:left]), (self.next + len(data[:left])) & _U32
            data = data[left:]
            if self._points and self.next == self._points[0][0]:
                judged.append(self._judge(state, self._points.pop(0)[1]))
        return judged

    def _judge(self, state: Any, theirs: int) -> int:
        ours, self.crc = self.crc, theirs
        return int(lib.ftt_core_output_judge(state, self.next, ours, theirs))
