"""The packets of the programmable engine on their way to its worker, by way of the experiment, and back."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fttcp._native import ffi, lib
from fttcp.network.rules import PROBE_LENGTH
from fttcp.ownership.model import EngineMode
from fttcp.planes import views
from fttcp.planes.base import EngineSettings
from fttcp.planes.experiment import (
    Action,
    Delay,
    Direction,
    Drop,
    Hooks,
    Modify,
    Pass,
    check_action,
    check_record_action,
)
from fttcp.planes.queues import SHOWN_MAX

log = logging.getLogger(__name__)


class Waiting(Protocol):
    """A packet in the kernel's queue that wants a verdict, once: netfilterqueue.Packet."""

    def get_payload(self) -> bytes:
        """Return it, as far as it is shown."""

    def set_payload(self, payload: bytes) -> None:
        """Change it."""

    def accept(self) -> None:
        """Let it go."""

    def drop(self) -> None:
        """Lose it."""


@dataclass(frozen=True, slots=True)
class _Late:
    """A packet that is delayed."""

    direction: Direction
    packet: Waiting
    data: bytes
    number: int
    again: bool


@dataclass(frozen=True, slots=True)
class _LateRecord:
    """A record of that worker of the other node, which is delayed."""

    worker: int
    data: bytes


_NUMBERS = 1 << 32


class Intake:
    """Takes every packet, shows it to the experiment if there is one, and hands it to the worker."""

    def __init__(
        self,
        settings: EngineSettings,
        hooks: Hooks,
        counters: Counter[str],
        flow_info: Callable[[Any], Any | None],
    ) -> None:
        """``flow_info`` returns the struct ftt_flow_info of a struct ftt_key, None if there is none."""
        self.max_delayed = settings.max_held_total
        self.handed = 0
        self._hooks = hooks
        self._n = counters
        self._flow_info = flow_info
        self._channel_port = settings.channel_port
        self._mode = EngineMode.IDLE
        self._began = False
        self._basket: Any = None
        self._now_ns = 0
        self._number = self._records = 0
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Waiting, bytes | None]] = {}
        self._delayed: list[tuple[int, int, _Late | _LateRecord]] = []
        self._order = itertools.count()

    def role_begins(self) -> None:
        """The engine has another role, or the same one with another node. To be called by any thread."""
        self._began = True

    def clear(self) -> None:
        """Forget all: nobody decides on them any more."""
        self._waiting.clear()
        self._delayed.clear()

    # ---- to the worker

    @contextmanager
    def handing_over(self, mode: EngineMode, basket: Any, now_ns: int) -> Iterator[Intake]:
        """Give what arrives meanwhile to the worker: that which was delayed up to now comes first."""
        self._basket, self._now_ns, self.handed = basket, now_ns, 0
        if mode is not self._mode or self._began:
            self._mode, self._began = mode, False
            self._lose_late()
        self._go_on_with_delayed()
        yield self
        self._basket = None

    @property
    def next_due_ns(self) -> int:
        """When the first delayed packet goes on; 0 if there is none."""
        return self._delayed[0][0] if self._delayed else 0

    def arrived(self, direction: Direction, packet: Waiting) -> None:
        """A packet came from a queue: show it to the experiment, and hand it over."""
        data = packet.get_payload()
        if self._hooks.packet is None or self._is_probe(direction, data):
            self._hand_over(direction, packet, data, None)
            return
        self._number += 1
        self._decide(direction, packet, data, self._number)

    def _decide(self, direction: Direction, packet: Waiting, data: bytes, number: int) -> None:
        assert self._hooks.packet is not None
        match self._ask(self._shown(direction, data, number), self._hooks.packet, check_action):
            case Drop():
                self._n["callback_dropped"] += 1
                packet.drop()
            case Delay(seconds, again):
                late = _Late(direction, packet, data, number, again)
                if not self._delay(late, seconds, self._now_ns):
                    packet.drop()
            case Modify(changed):
                self._n["callback_modified"] += 1
                self._hand_over(direction, packet, changed, changed)
            case _:
                self._hand_over(direction, packet, data, None)

    def _is_probe(self, direction: Direction, data: bytes) -> bool:
        """True for what looks like a probe of the mirror, which is no client's: see mirror_probe.h."""
        if direction is not Direction.FROM_CLIENT or len(data) not in PROBE_LENGTH.values():
            return False
        kind, pkt, _ = views.parse(data)
        return bool(kind == lib.FTT_PARSED_TCP and pkt.sport == self._channel_port)

    # ---- records

    def hears(self, worker: int, data: bytes, mode: EngineMode, now_ns: int) -> bool:
        """The other node's worker told a record. False: it is lost, or comes later."""
        action = self._ask_of_record(data, mode, now_ns, heard=True)
        if isinstance(action, Delay):
            return not self._delay(_LateRecord(worker, data), action.seconds, now_ns)
        return not isinstance(action, Drop)

    def tells(self, data: bytes, mode: EngineMode, now_ns: int) -> bool:
        """A record is to be told. False: it is lost."""
        return not isinstance(self._ask_of_record(data, mode, now_ns, heard=False), Drop)

    def _ask_of_record(self, data: bytes, mode: EngineMode, now_ns: int, heard: bool) -> Action:
        if self._hooks.record is None:
            return Pass()
        self._records += 1
        number = self._records
        return self._ask(
            lambda: views.record(number, now_ns, mode, heard, data),
            self._hooks.record,
            lambda action: check_record_action(action, heard),
        )

    # ---- the experiment

    def _shown(self, direction: Direction, data: bytes, number: int) -> Callable[[], Any]:
        return lambda: views.packet(number, self._now_ns, direction, self._mode, data, self._flow_info)

    def _ask(
        self, shown: Callable[[], Any], function: Callable[[Any], Action], check: Callable[[Action], None]
    ) -> Action:
        self._n["callback_calls"] += 1
        try:
            action = function(shown())
            check(action)
        except (Exception, SystemExit):  # the user's code may fail in any way, and the service not with it
            self._n["callback_errors"] += 1
            failures = self._n["callback_errors"]
            if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... is told
                log.exception("the experiment's callback failed (%d times so far)", failures)
            return Pass()
        return action

    # ---- what is late

    def _delay(self, late: _Late | _LateRecord, seconds: float, now_ns: int) -> bool:
        """Keep it for so long. False: there is no room."""
        if len(self._delayed) >= self.max_delayed:
            self._n["hold_overflow"] += 1
            self._n["drop_bound"] += 1
            return False
        self._n["callback_delayed"] += 1
        heapq.heappush(self._delayed, (now_ns + int(seconds * 1e9), next(self._order), late))
        return True

    def _go_on_with_delayed(self) -> None:
        due = []
        while self._delayed and self._delayed[0][0] <= self._now_ns:
            due.append(heapq.heappop(self._delayed)[2])
        for late in due:  # of those that are asked about again, some are late once more
            if isinstance(late, _LateRecord):
                lib.ftt_hear_late(self._basket, late.worker, ffi.from_buffer(late.data), len(late.data))
            elif late.again:
                self._decide(late.direction, late.packet, late.data, late.number)
            else:
                self._hand_over(late.direction, late.packet, late.data, None)

    def _lose_late(self) -> None:
        """What our stack said in the role of before may be of flows that the new one has forgotten; what the
        other node said is of another pairing."""
        kept = []
        for entry in self._delayed:
            late = entry[2]
            if isinstance(late, _Late) and late.direction is Direction.FROM_CLIENT:
                kept.append(entry)
                continue
            self._n["drop_mode"] += 1
            if isinstance(late, _Late):
                late.packet.drop()
        self._delayed = kept
        heapq.heapify(self._delayed)

    def _hand_over(self, direction: Direction, packet: Waiting, data: bytes, changed: bytes | None) -> None:
        number = next(self._ids) % _NUMBERS or next(self._ids)  # 0 is no packet's
        raw, shown = ffi.from_buffer("uint8_t[]", data), len(data)
        length = max(shown, lib.ftt_core_length(raw, shown) if shown >= SHOWN_MAX else 0)
        inward = direction is Direction.FROM_CLIENT
        if lib.ftt_hand_over(self._basket, number, inward, raw, shown, length):
            self._waiting[number] = (packet, changed)
            self.handed += 1
        else:
            self._n["drop_bound"] += 1
            packet.drop()

    # ---- and back

    def give(self, fates: Any, count: int, may_leave: Callable[[], bool]) -> None:
        """Carry out ``count`` of struct ftt_fate. Nothing leaves for a client unless ``may_leave`` then."""
        for i in range(count):
            fate = fates[i]
            packet, data = self._waiting.pop(fate.id)
            revoked = bool(fate.accept and fate.emits and not may_leave())
            self._n["drop_lease"] += revoked
            if revoked or not fate.accept:
                packet.drop()
                continue
            if fate.bytes != ffi.NULL:
                data = bytes(ffi.buffer(fate.bytes, fate.len))
            if data is not None:
                packet.set_payload(data)
            packet.accept()
