"""What happens to a packet of the programmable engine before its flow decides: parsing, the experiment."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import Counter

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes import views
from fttcp.planes.base import EngineSettings
from fttcp.planes.experiment import Callback, Delay, Direction, Drop, Modify, Pass, check_action
from fttcp.planes.flow import Arrival, Surroundings, Waiting
from fttcp.planes.follow import PairFlows
from fttcp.planes.queues import SHOWN_MAX
from fttcp.wire.ports import numbers

log = logging.getLogger(__name__)


class Intake:
    """Takes every packet, shows it to the experiment if there is one, and finds who decides on it."""

    def __init__(
        self,
        settings: EngineSettings,
        flows: PairFlows,
        surroundings: Surroundings,
        callback: Callback | None,
        counters: Counter[str],
    ) -> None:
        self.flows = flows
        self.udp = views.UdpSessions(settings.max_flows, settings.udp_idle_timeout_ns)
        self._world = surroundings
        self._callback = callback
        self._n = counters
        self._tcp_ports = numbers(settings.ports, "tcp")
        self._has_udp = bool(numbers(settings.ports, "udp"))
        self._max_delayed = settings.max_held_total
        self._delayed: list[tuple[int, int, Direction, Waiting, bytes]] = []
        self._number = 0
        self._order = itertools.count()

    def tune(self, settings: EngineSettings) -> None:
        """Use other times and bounds from now on."""
        self._max_delayed = settings.max_held_total
        self.udp.idle_ns = settings.udp_idle_timeout_ns
        self.flows.tune(settings)

    def arrived(self, direction: Direction, waiting: Waiting, data: bytes, now_ns: int) -> None:
        """A packet came from a queue: show it to the experiment, and decide."""
        inward = direction is Direction.FROM_CLIENT
        self._number += 1
        self._n["in_packets" if inward else "out_packets"] += 1
        self._n["in_bytes" if inward else "out_bytes"] += len(data)
        if self._callback is None:
            self._decide(direction, waiting, data, False, now_ns)
        else:
            self._experiment(self._callback, direction, waiting, data, now_ns)

    @property
    def next_due_ns(self) -> int | None:
        """When the first delayed packet goes on; None if there is none."""
        return self._delayed[0][0] if self._delayed else None

    def _experiment(
        self, callback: Callback, direction: Direction, waiting: Waiting, data: bytes, now_ns: int
    ) -> None:
        arrival, kind = _parse(waiting, data, False)
        key, _, flow = self.flows.find(arrival.pkt, direction is Direction.FROM_CLIENT)
        mode = self.flows.mode
        self._n["callback_calls"] += 1
        try:
            action = callback(
                views.packet(self._number, now_ns, direction, mode, data, kind, key, arrival.seg, flow)
            )
            check_action(action)
        except Exception:  # the user's code may fail in any way; the service must not fail with it
            self._n["callback_errors"] += 1
            failures = self._n["callback_errors"]
            if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... is told
                log.exception("the experiment's callback failed (%d times so far)", failures)
            action = Pass()
        match action:
            case Drop():
                self._n["callback_dropped"] += 1
                waiting.drop()
            case Delay(seconds):
                self._delay(direction, waiting, data, now_ns + int(seconds * 1e9))
            case Modify(changed):
                self._n["callback_modified"] += 1
                self._decide(direction, waiting, changed, True, now_ns)
            case _:
                self._decide(direction, waiting, data, False, now_ns)

    def _delay(self, direction: Direction, waiting: Waiting, data: bytes, due_ns: int) -> None:
        if len(self._delayed) >= self._max_delayed:
            self._n["hold_overflow"] += 1
            self._n["drop_bound"] += 1
            waiting.drop()
            return
        self._n["callback_delayed"] += 1
        heapq.heappush(self._delayed, (due_ns, next(self._order), direction, waiting, data))

    def go_on_with_delayed(self, now_ns: int) -> None:
        """Decide on the delayed packets whose time has come."""
        while self._delayed and self._delayed[0][0] <= now_ns:
            _, _, direction, waiting, data = heapq.heappop(self._delayed)
            self._decide(direction, waiting, data, False, now_ns)

    def _decide(
        self, direction: Direction, waiting: Waiting, data: bytes, changed: bool, now_ns: int
    ) -> None:
        flows = self.flows
        inward = direction is Direction.FROM_CLIENT
        if inward and flows.mode is EngineMode.IDLE:
            self._n["drop_mode"] += 1
            waiting.drop()
            return
        arrival, kind = _parse(waiting, data, changed)
        pkt, seg = arrival.pkt, arrival.seg
        seg.dir = direction.value
        if kind == lib.FTT_PARSED_TCP and (pkt.dport if inward else pkt.sport) in self._tcp_ports:
            (flows.from_client if inward else flows.from_server)(arrival, now_ns)
            return
        self._other(arrival, kind, inward, now_ns)

    def _other(self, arrival: Arrival, kind: int, inward: bool, now_ns: int) -> None:
        """What no TCP flow stands for: passes for a primary under its lease, else not at all."""
        primary = self.flows.emits
        malformed = kind == lib.FTT_PARSED_MALFORMED
        if not primary or not (inward or self._world.may_emit(now_ns)):
            self._n["drop_malformed" if malformed else "drop_lease" if primary else "drop_mode"] += 1
            arrival.waiting.drop()
            return
        if kind == lib.FTT_PARSED_UDP and self._has_udp:
            self.udp.note(arrival.pkt, inward, now_ns)
            self._n["passed"] += 1
        elif malformed:
            self._n["pass_malformed"] += 1  # the kernel knows what to do with it
        else:
            self._n["pass_fragment" if kind == lib.FTT_PARSED_FRAGMENT else "pass_unmatched"] += 1
        arrival.waiting.accept(arrival.data if arrival.changed else None)


def _parse(waiting: Waiting, data: bytes, changed: bool) -> tuple[Arrival, int]:
    """Return a packet parsed, and what kind it is (enum ftt_parsed)."""
    pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
    raw, cap = ffi.from_buffer("uint8_t[]", data), len(data)
    length = lib.ftt_core_length(raw, cap) if cap >= SHOWN_MAX else cap
    length = max(length, cap)
    kind = lib.ftt_core_parse(raw, cap, length, pkt, seg)
    return Arrival(waiting, data, length, pkt, seg, changed), kind
