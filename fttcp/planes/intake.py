"""The packets of the programmable engine on their way to its worker, by way of the experiment, and back."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from fttcp._native import ffi, lib
from fttcp.network.rules import PROBE_LENGTH
from fttcp.ownership.model import EngineMode
from fttcp.planes import views
from fttcp.planes.base import EngineSettings
from fttcp.planes.experiment import Action, Callback, Delay, Direction, Drop, Modify, Pass, check_action
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


_NUMBERS = 1 << 32


class Intake:
    """Takes every packet, shows it to the experiment if there is one, and hands it to the worker."""

    def __init__(
        self,
        settings: EngineSettings,
        callback: Callback | None,
        counters: Counter[str],
        flow_info: Callable[[Any], Any | None],
    ) -> None:
        """``flow_info`` returns the struct ftt_flow_info of a struct ftt_key, None if there is none."""
        self.max_delayed = settings.max_held_total
        self.handed = 0
        self._callback = callback
        self._n = counters
        self._flow_info = flow_info
        self._channel_port = settings.channel_port
        self._mode = EngineMode.IDLE
        self._basket: Any = None
        self._now_ns = 0
        self._number = 0
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Waiting, bytes | None]] = {}
        self._delayed: list[tuple[int, int, Direction, Waiting, bytes]] = []
        self._order = itertools.count()

    def clear(self) -> None:
        """Forget all: nobody decides on them any more."""
        self._waiting.clear()
        self._delayed.clear()

    # ---- to the worker

    @contextmanager
    def handing_over(self, mode: EngineMode, basket: Any, now_ns: int) -> Iterator[Intake]:
        """Give what arrives meanwhile to the worker: that which was delayed up to now comes first."""
        self._basket, self._now_ns, self.handed = basket, now_ns, 0
        if mode is not self._mode:
            self._mode = mode
            self._lose_late_output()
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
        if self._callback is None or self._is_probe(direction, data):
            self._hand_over(direction, packet, data, None)
            return
        self._number += 1
        match self._ask(self._callback, direction, data):
            case Drop():
                self._n["callback_dropped"] += 1
                packet.drop()
            case Delay(seconds):
                self._delay(direction, packet, data, self._now_ns + int(seconds * 1e9))
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

    def _ask(self, callback: Callback, direction: Direction, data: bytes) -> Action:
        self._n["callback_calls"] += 1
        try:
            shown = views.packet(self._number, self._now_ns, direction, self._mode, data, self._flow_info)
            action = callback(shown)
            check_action(action)
        except (Exception, SystemExit):  # the user's code may fail in any way, and the service not with it
            self._n["callback_errors"] += 1
            failures = self._n["callback_errors"]
            if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... is told
                log.exception("the experiment's callback failed (%d times so far)", failures)
            return Pass()
        return action

    def _delay(self, direction: Direction, packet: Waiting, data: bytes, due_ns: int) -> None:
        if len(self._delayed) >= self.max_delayed:
            self._n["hold_overflow"] += 1
            self._n["drop_bound"] += 1
            packet.drop()
            return
        self._n["callback_delayed"] += 1
        heapq.heappush(self._delayed, (due_ns, next(self._order), direction, packet, data))

    def _go_on_with_delayed(self) -> None:
        while self._delayed and self._delayed[0][0] <= self._now_ns:
            _, _, direction, packet, data = heapq.heappop(self._delayed)
            self._hand_over(direction, packet, data, None)

    def _lose_late_output(self) -> None:
        """What our stack said in the role of before may be of flows that the new one has forgotten."""
        late = [entry for entry in self._delayed if entry[2] is Direction.FROM_SERVER]
        for entry in late:
            self._delayed.remove(entry)
            self._n["drop_mode"] += 1
            entry[3].drop()
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
