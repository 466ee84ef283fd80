"""The programmable engine: packets through NetfilterQueue into Python, for experiments and comparison.

Theory of operation. A C engine without workers keeps what must not wait for Python: heartbeats, the
lease, ARP/ND answers and announcements. Beside it one thread of this module does what a C worker
does: it takes packets of both queues, asks the C core (core_api.h) what is to happen to each, and
carries it out; it speaks the same commit channel, so the other node may run either engine. Every
packet may first be shown to a function of the user's; see fttcp.datapath.experiment.

UDP is passed under the lease, and shown as unprotected: numbered sessions are the C engine's alone.
"""

from __future__ import annotations

import dataclasses
import errno
import heapq
import itertools
import logging
import os
import selectors
import threading
from collections import Counter
from typing import Any

from netfilterqueue import Packet as QueuedPacket

from fttcp._native import ffi, lib
from fttcp.core.model import EngineMode, Lease
from fttcp.datapath import views
from fttcp.datapath.base import EngineError, EngineSettings, EngineStatus, EventKind, Protection
from fttcp.datapath.commit import Channel
from fttcp.datapath.experiment import Callback, Delay, Direction, Drop, Modify, Pass, check_action
from fttcp.datapath.follow import PairFlows
from fttcp.datapath.nfqueue import NfqueueEngine
from fttcp.datapath.queues import SHOWN_MAX, Emitter, Queue, Waiting, check_mtu
from fttcp.datapath.tcpflows import Arrival, Flow

_TICK_NS = 2_000_000  # while something waits
_IDLE_TICK_NS = 100_000_000
_SWEEP_NS = 1_000_000_000
_ERROR_PLACE = 2  # FTT_EV_ERROR, reason: this thread
_EXTRA_COUNTERS = (
    "callback_calls", "callback_errors", "callback_dropped", "callback_delayed", "callback_modified",
    "channel_lost", "emit_failed",
)  # fmt: skip

log = logging.getLogger(__name__)


class ProgrammableEngine(NfqueueEngine):
    """Implements Engine. Its thread and the daemon's share ``_lock``, which is held for a whole wake-up."""

    def __init__(self, settings: EngineSettings, callback: Callback | None = None) -> None:
        """Open queues, channel and sockets; nothing runs yet. Raises EngineError."""
        if settings.workers != 1:
            raise EngineError(f"workers: {settings.workers} is not 1, which the programmable engine needs")
        check_mtu(settings)
        super().__init__(dataclasses.replace(settings, workers=0))
        self.n: Counter[str] = Counter()
        self.flows_of_pair = PairFlows(settings, self, self.n)
        self.channel = Channel(settings, self.n)
        self._settings = settings
        self._callback = callback
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="fttcp-programmable", daemon=True)
        self._stop = False
        self._number = 0
        self._generation = 0
        self._role = ffi.new("struct ftt_core_role *")
        self._udp = views.UdpSessions(settings.max_flows, settings.udp_idle_timeout_ns)
        self._has_udp = any(proto == "udp" for _, proto in settings.ports)
        self._tcp_ports = frozenset(port for port, proto in settings.ports if proto == "tcp")
        self._delayed: list[tuple[int, int, Direction, Waiting, bytes]] = []
        self._delay_order = itertools.count()
        self._emitter = Emitter(settings.mark, self.n)
        self._queues = (
            Queue(settings.queue_in, lambda packet: self._arrived(Direction.FROM_CLIENT, packet), self.n),
            Queue(settings.queue_out, lambda packet: self._arrived(Direction.FROM_SERVER, packet), self.n),
        )
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self.channel.open()
            self._emitter.open()
            for queue in self._queues:
                queue.open(settings.queue_maxlen)
        except EngineError:
            self.close()
            raise

    # ---- life and role, called by the daemon

    def start(self) -> None:
        """Start heartbeats and lease, then the packets' thread. Raises EngineError."""
        super().start()
        self._thread.start()

    def close(self) -> None:
        """End the thread, give the queues up (the rules then drop everything), end the rest."""
        if self._engine is None:
            return
        self._stop = True
        if self._thread.is_alive():
            os.eventfd_write(self._wake_fd, 1)
            self._thread.join()
        for part in (*self._queues, self._emitter, self.channel):
            part.close()
        os.close(self._wake_fd)
        super().close()

    def set_mode(self, mode: EngineMode, session: int) -> None:
        """See abi.h; the thread carries it out, and reports the end of a takeover."""
        super().set_mode(mode, session)
        os.eventfd_write(self._wake_fd, 1)

    def set_lease(self, policy: Lease) -> None:
        """See abi.h."""
        super().set_lease(policy)
        os.eventfd_write(self._wake_fd, 1)  # what was held for want of a lease may go

    # ---- what flows ask for (tcpflows.Surroundings)

    def may_emit(self, now_ns: int) -> bool:
        """Ask the lease."""
        return bool(lib.ftt_core_may_emit(self._engine, now_ns))

    def vouched(self) -> bool:
        """Ask what health says of the local server."""
        return bool(self._role.vouched)

    def put_record(self, record: Any) -> None:
        """Gather a record for the other node."""
        self.channel.put(record)

    def emit(self, packet: bytes, to_client: bool) -> None:
        """Send a packet of our own."""
        if to_client and not self._may_leave():
            self.n["drop_lease"] += 1
        else:
            self._emitter.send(packet)

    def post(self, kind: EventKind, key: Any, reason: int, value: int) -> None:
        """Put an event beside those of the C engine."""
        event = ffi.new("struct ftt_event *")
        event.kind, event.reason, event.value = kind, reason, value
        if key is not None:
            event.key = key[0]
        lib.ftt_core_post(self._engine, event)

    def _may_leave(self) -> bool:
        return self.may_emit(lib.ftt_now_ns())

    # ---- the thread

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                for source in (*self._queues, self.channel, self._wake_fd):
                    selector.register(source, selectors.EVENT_READ, source)
                self._loop(selector)
        except Exception as error:  # the thread's last word: whatever it was, the daemon must know
            log.exception("the programmable engine cannot go on")
            self.post(EventKind.ERROR, None, _ERROR_PLACE, getattr(error, "errno", None) or errno.EIO)

    def _loop(self, selector: selectors.BaseSelector) -> None:
        next_tick_ns = next_sweep_ns = 0
        while not self._stop:
            ready = selector.select(self._patience_ns() / 1e9)
            with self._lock:
                self.n["wakeups"] += 1
                self._follow_role()
                for key, _ in ready:
                    if key.data is self._wake_fd:
                        os.eventfd_read(self._wake_fd)
                    elif isinstance(key.data, Queue):
                        key.data.receive()
                now_ns = lib.ftt_now_ns()
                self._go_on_with_delayed(now_ns)
                for record in self.channel.receive():
                    self.flows_of_pair.record(record, now_ns)
                if now_ns >= next_tick_ns:
                    next_tick_ns = now_ns + _TICK_NS
                    self.flows_of_pair.tick(now_ns)
                if now_ns >= next_sweep_ns:
                    next_sweep_ns = now_ns + _SWEEP_NS
                    self.flows_of_pair.sweep(now_ns)
                    self._udp.sweep(now_ns)
                self.flows_of_pair.flush()
                self.channel.flush()

    def _patience_ns(self) -> int:
        """How long the thread may sleep."""
        waits = self.flows_of_pair.waiting or self.flows_of_pair.held_now
        patience_ns = _TICK_NS if waits else _IDLE_TICK_NS
        if self._delayed:
            patience_ns = min(patience_ns, max(0, self._delayed[0][0] - lib.ftt_now_ns()))
        return patience_ns

    def _follow_role(self) -> None:
        role = self._role
        lib.ftt_core_role(self._engine, role)
        self.channel.follow(role.commit_session, role.session)
        if role.generation == self._generation:
            return
        self._generation = role.generation
        taken_over = self.flows_of_pair.role(EngineMode(role.mode), role.session, lib.ftt_now_ns())
        if role.mode == EngineMode.IDLE:
            self._udp.clear()
        lib.ftt_core_role_done(self._engine, taken_over, role.generation)

    # ---- packets

    def _arrived(self, direction: Direction, queued: QueuedPacket) -> None:
        """A packet came from a queue: show it to the experiment, and decide."""
        now_ns, data = lib.ftt_now_ns(), queued.get_payload()
        inward = direction is Direction.FROM_CLIENT
        waiting = Waiting(queued, (lambda: True) if inward else self._may_leave, self.n)
        self._number += 1
        self.n["in_packets" if inward else "out_packets"] += 1
        self.n["in_bytes" if inward else "out_bytes"] += len(data)
        if self._callback is None:
            self._decide(direction, waiting, data, False, now_ns)
        else:
            self._experiment(self._callback, direction, waiting, data, now_ns)

    def _experiment(
        self, callback: Callback, direction: Direction, waiting: Waiting, data: bytes, now_ns: int
    ) -> None:
        arrival, kind = _parse(waiting, data, False)
        key, _, flow = self.flows_of_pair.find(arrival.pkt, direction is Direction.FROM_CLIENT)
        mode = self.flows_of_pair.mode
        self.n["callback_calls"] += 1
        try:
            action = callback(
                views.packet(self._number, now_ns, direction, mode, data, kind, key, arrival.seg, flow)
            )
            check_action(action)
        except Exception:  # the user's code may fail in any way; the service must not fail with it
            self.n["callback_errors"] += 1
            failures = self.n["callback_errors"]
            if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... is told
                log.exception("the experiment's callback failed (%d times so far)", failures)
            action = Pass()
        match action:
            case Drop():
                self.n["callback_dropped"] += 1
                waiting.drop()
            case Delay(seconds):
                self._delay(direction, waiting, data, now_ns + int(seconds * 1e9))
            case Modify(changed):
                self.n["callback_modified"] += 1
                self._decide(direction, waiting, changed, True, now_ns)
            case _:
                self._decide(direction, waiting, data, False, now_ns)

    def _delay(self, direction: Direction, waiting: Waiting, data: bytes, due_ns: int) -> None:
        if len(self._delayed) >= self._settings.max_held_total:
            self.n["hold_overflow"] += 1
            self.n["drop_bound"] += 1
            waiting.drop()
            return
        self.n["callback_delayed"] += 1
        heapq.heappush(self._delayed, (due_ns, next(self._delay_order), direction, waiting, data))

    def _go_on_with_delayed(self, now_ns: int) -> None:
        while self._delayed and self._delayed[0][0] <= now_ns:
            _, _, direction, waiting, data = heapq.heappop(self._delayed)
            self._decide(direction, waiting, data, False, now_ns)

    def _decide(
        self, direction: Direction, waiting: Waiting, data: bytes, changed: bool, now_ns: int
    ) -> None:
        flows = self.flows_of_pair
        inward = direction is Direction.FROM_CLIENT
        if inward and flows.mode is EngineMode.IDLE:
            self.n["drop_mode"] += 1
            waiting.drop()
            return
        arrival, kind = _parse(waiting, data, changed)
        pkt, seg = arrival.pkt, arrival.seg
        seg.dir, seg.mode = direction.value, flows.mode
        if kind == lib.FTT_PARSED_TCP and (pkt.dport if inward else pkt.sport) in self._tcp_ports:
            (flows.from_client if inward else flows.from_server)(arrival, now_ns)
            return
        self._other(arrival, kind, inward, now_ns)

    def _other(self, arrival: Arrival, kind: int, inward: bool, now_ns: int) -> None:
        """What no TCP flow stands for: passes for a primary under its lease, else not at all."""
        primary = self.flows_of_pair.emits
        malformed = kind == lib.FTT_PARSED_MALFORMED
        if not primary or not (inward or self.may_emit(now_ns)):
            self.n["drop_malformed" if malformed else "drop_lease" if primary else "drop_mode"] += 1
            arrival.waiting.drop()
            return
        if kind == lib.FTT_PARSED_UDP and self._has_udp:
            self._udp.note(arrival.pkt, inward, now_ns)
            self.n["passed"] += 1
        elif malformed:
            self.n["pass_malformed"] += 1  # the kernel knows what to do with it
        else:
            self.n["pass_fragment" if kind == lib.FTT_PARSED_FRAGMENT else "pass_unmatched"] += 1
        arrival.waiting.accept(arrival.data if arrival.changed else None)

    # ---- observation, called by the daemon

    def status(self) -> EngineStatus:
        """Return a snapshot."""
        flows = self.flows_of_pair
        with self._lock:
            kinds = Counter(flow.state.protection for flow in flows.flows.values() if not flow.closed)
            lag_ns, held, sessions = sorted(flows.lag_ns), flows.held_now, len(self._udp)
        return dataclasses.replace(
            super().status(),
            flows_protected=kinds[Protection.PROTECTED] + kinds[Protection.DETACHING],
            flows_unprotected=kinds[Protection.UNPROTECTED] + sessions,
            flows_detached=kinds[Protection.DETACHED],
            flows_opening=kinds[Protection.NEW] + kinds[Protection.OPENING],
            udp_sessions=sessions,
            held_now=held,
            commit_lag_p50_ns=lag_ns[len(lag_ns) // 2] if lag_ns else 0,
            commit_lag_p99_ns=lag_ns[len(lag_ns) * 99 // 100] if lag_ns else 0,
        )

    def counters(self) -> dict[str, int]:
        """Return every counter: the C engine's, raised by ours, and those of experiments."""
        counters = super().counters() | dict.fromkeys(_EXTRA_COUNTERS, 0)
        with self._lock:
            for name, count in self.n.items():
                counters[name] += count
            counters["held_now"] = self.flows_of_pair.held_now
        return counters

    def flows(self, limit: int) -> list[dict[str, Any]]:
        """Return up to ``limit`` flows, TCP first."""
        now_ns = lib.ftt_now_ns()
        with self._lock:
            tcp: list[Flow] = list(itertools.islice(self.flows_of_pair.flows.values(), limit))
            rows = [views.tcp_info(flow, now_ns) for flow in tcp]
            udp = itertools.islice(self._udp, limit - len(rows))
            rows += [views.udp_info(session, now_ns) for session in udp]
        return [self._flow(row) for row in rows]


def _parse(waiting: Waiting, data: bytes, changed: bool) -> tuple[Arrival, int]:
    """Return a packet parsed, and what kind it is (enum ftt_parsed)."""
    pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
    raw, cap = ffi.from_buffer("uint8_t[]", data), len(data)
    length = lib.ftt_core_length(raw, cap) if cap >= SHOWN_MAX else cap
    length = max(length, cap)
    kind = lib.ftt_core_parse(raw, cap, length, pkt, seg)
    return Arrival(waiting, data, length, pkt, seg, changed), kind
