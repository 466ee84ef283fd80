"""The programmable engine: packets through NetfilterQueue into Python, for experiments and comparison.

Theory of operation. A C engine without workers keeps what must not wait for Python: heartbeats, the
lease, ARP/ND answers and announcements. Beside it one thread of this module does what a C worker
does: it takes packets of both queues, asks the C core (core_api.h) what is to happen to each, and
carries it out; it speaks the same commit channel, so the other node may run either engine. Every
packet may first be shown to a function of the user's; see fttcp.planes.experiment.

UDP is passed under the lease, and shown as unprotected: numbered sessions are the C engine's alone.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import logging
import os
import selectors
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from netfilterqueue import Packet as QueuedPacket

from fttcp._native import ffi, lib
from fttcp.network.rules import HANDSHAKE_QUEUES, PROBE_LENGTH
from fttcp.ownership.model import EngineMode, Lease
from fttcp.planes import views
from fttcp.planes.base import EngineError, EngineSettings, EngineStatus, EventKind, Protection
from fttcp.planes.commit import Channel
from fttcp.planes.experiment import Callback, Direction, load_callback
from fttcp.planes.flow import Flow
from fttcp.planes.follow import PairFlows
from fttcp.planes.intake import Intake
from fttcp.planes.liveness import Liveness
from fttcp.planes.nfqueue import NfqueueEngine, address_bytes
from fttcp.planes.queues import Emitter, Queue, Waiting, check_mtu
from fttcp.wire.keyfile import KeyRing

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

    def __init__(
        self, settings: EngineSettings, liveness: Liveness | None = None, callback: Callback | None = None
    ) -> None:
        """Open queues, channel and sockets; nothing runs yet. The experiment is ``callback``, or the one that
        the settings name as ``callback``, if they do. Raises EngineError."""
        if callback is None and settings.callback is not None:
            callback = load_callback(settings.callback)
        if settings.workers != 1:
            raise EngineError(f"workers: {settings.workers} is not 1, which the programmable engine needs")
        check_mtu(settings)
        super().__init__(dataclasses.replace(settings, workers=0), liveness)
        self.n: Counter[str] = Counter()
        self.intake = Intake(settings, PairFlows(settings, self, self.n), self, callback, self.n)
        self.channel = Channel(
            settings, self.n, lambda value: self.post(EventKind.MIRROR_SEEN, None, 0, value)
        )
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="fttcp-programmable", daemon=True)
        self._stop = False
        self._generation = 0
        self._role = ffi.new("struct ftt_core_role *")
        self._emitter = Emitter(settings.mark, self.n)
        self._queues = tuple(
            Queue(first + offset, partial(self._arrived, direction), self.n)
            for offset in (0, HANDSHAKE_QUEUES)
            for first, direction in (
                (settings.queue_in, Direction.FROM_CLIENT),
                (settings.queue_out, Direction.FROM_SERVER),
            )
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

    def set_mode(self, mode: EngineMode, session: int, peer: int) -> None:
        """See abi.h; the thread carries it out, and reports the end of a takeover."""
        super().set_mode(mode, session, peer)
        os.eventfd_write(self._wake_fd, 1)

    def set_lease(self, policy: Lease, limit_ns: int | None, decided_ns: int) -> None:
        """See abi.h."""
        super().set_lease(policy, limit_ns, decided_ns)
        os.eventfd_write(self._wake_fd, 1)  # what was held for want of a lease may go

    def watch_server(self, pids: Sequence[int]) -> None:
        """See abi.h. Raises OSError."""
        with self._lock:
            super().watch_server(pids)

    def set_keys(self, keys: KeyRing) -> None:
        """See abi.h."""
        super().set_keys(keys)
        with self._lock:
            self.channel.set_keys(keys)

    def tune(self, settings: EngineSettings) -> None:
        """See abi.h."""
        with self._lock:
            self.intake.tune(settings)

    # ---- what flows ask for (flow.Surroundings)

    def may_emit(self, now_ns: int) -> bool:
        """Ask the lease."""
        return bool(lib.ftt_core_may_emit(self._engine, now_ns))

    def vouched(self) -> bool:
        """Ask what health says of the local server."""
        return bool(self._role.vouched)

    def server_gone(self, now_ns: int) -> bool:
        """Ask the kernel for the server's main processes."""
        return bool(lib.ftt_core_server_gone(self._engine, now_ns))

    def watches(self) -> bool:
        """Ask whether the server's main processes are looked at."""
        return bool(lib.ftt_core_watches(self._engine))

    def put_record(self, record: Any) -> None:
        """Gather a record for the other node."""
        self.channel.put(record)
        if record.type == lib.FTT_REC_OUTPUT:
            self.channel.flush()  # it is to be there before what it tells of leaves

    def emit(self, packet: bytes, to_client: bool) -> None:
        """Send a packet of our own."""
        if to_client and not self._may_leave():
            self.n["drop_lease"] += 1
        else:
            self._emitter.send(packet, to_client)

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
                self.intake.go_on_with_delayed(now_ns)
                for record in self.channel.receive():
                    self.intake.flows.record(record, now_ns)
                if now_ns >= next_tick_ns:
                    next_tick_ns = now_ns + _TICK_NS
                    self.intake.flows.tick(now_ns)
                if now_ns >= next_sweep_ns:
                    next_sweep_ns = now_ns + _SWEEP_NS
                    self.intake.flows.sweep(now_ns)
                    self.intake.udp.sweep(now_ns)
                self.intake.flows.flush()
                self.channel.flush()

    def _patience_ns(self) -> int:
        """How long the thread may sleep."""
        waits = self.intake.flows.waiting or self.intake.flows.held_now
        patience_ns = _TICK_NS if waits else _IDLE_TICK_NS
        due_ns = self.intake.next_due_ns
        return patience_ns if due_ns is None else min(patience_ns, max(0, due_ns - lib.ftt_now_ns()))

    def _follow_role(self) -> None:
        role = self._role
        lib.ftt_core_role(self._engine, role)
        if role.generation != self._generation and self.intake.flows.mode is EngineMode.BACKUP:
            for record in self.channel.receive():  # what the primary has told decides what goes on
                self.intake.flows.record(record, lib.ftt_now_ns())
        self.channel.follow(role.partner, role.commit_session, role.session)
        if role.generation == self._generation:
            return
        self._generation = role.generation
        taken_over = self.intake.flows.role(EngineMode(role.mode), role.session, lib.ftt_now_ns())
        if role.mode == EngineMode.IDLE:
            self.intake.udp.clear()
        lib.ftt_core_role_done(self._engine, taken_over, role.generation)

    def _arrived(self, direction: Direction, queued: QueuedPacket) -> None:
        leave = self._may_leave if direction is Direction.FROM_SERVER else _always
        waiting, data = Waiting(queued, leave, self.n), queued.get_payload()
        may_be = direction is Direction.FROM_CLIENT and len(data) in PROBE_LENGTH.values()
        if may_be and self._is_probe(data):
            self.n["mirror_probes"] += 1
            waiting.drop()
        else:
            self.intake.arrived(direction, waiting, data, lib.ftt_now_ns())

    def _is_probe(self, data: bytes) -> bool:
        """True for a probe of the mirror, which is told of by that: see mirror.h."""
        pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
        raw = ffi.from_buffer("uint8_t[]", data)
        if lib.ftt_core_parse(raw, len(data), len(data), pkt, seg) != lib.FTT_PARSED_TCP:
            return False
        return bool(lib.ftt_core_mirror_probe(self._engine, raw, len(data), pkt))

    # ---- observation, called by the daemon

    def status(self) -> EngineStatus:
        """Return a snapshot."""
        flows = self.intake.flows
        with self._lock:
            kinds = Counter(flow.state.protection for flow in flows.flows.values() if not flow.closed)
            now_ns = lib.ftt_now_ns()
            ending = [
                flow
                for flow in flows.flows.values()
                if not flow.closed
                and flow.state.protection != Protection.RESETTING
                and not flows.continues(flow, now_ns)
            ]
            lag_ns, held, sessions = sorted(flows.lag_ns), flows.held_now, len(self.intake.udp)
            ends_held = sum(bool(lib.ftt_core_end_held(flow.state)) for flow in flows.waiting)
        return dataclasses.replace(
            super().status(),
            flows_protected=kinds[Protection.PROTECTED] + kinds[Protection.DETACHING],
            flows_unprotected=kinds[Protection.UNPROTECTED] + sessions,
            flows_detached=kinds[Protection.DETACHED] + kinds[Protection.RESETTING],
            flows_opening=kinds[Protection.NEW] + kinds[Protection.OPENING],
            flows_ending=len(ending) + sessions,
            flows_unverified=sum(flow.state.protection == Protection.PROTECTED for flow in ending),
            udp_sessions=sessions,
            held_now=held,
            ends_held=ends_held,
            commit_lag_p50_ns=lag_ns[len(lag_ns) // 2] if lag_ns else 0,
            commit_lag_p99_ns=lag_ns[len(lag_ns) * 99 // 100] if lag_ns else 0,
        )

    def counters(self) -> dict[str, int]:
        """Return every counter: the C engine's, raised by ours, and those of experiments."""
        counters = super().counters() | dict.fromkeys(_EXTRA_COUNTERS, 0)
        with self._lock:
            for name, count in self.n.items():
                counters[name] += count
            counters["held_now"] = self.intake.flows.held_now
        return counters

    def flows(self, limit: int, with_closed: bool = True) -> Iterable[dict[str, Any]]:
        """See base.py; TCP comes first."""
        with self._lock:
            now_ns = lib.ftt_now_ns()  # not before: no flow is younger
            flows = self.intake.flows
            wanted = (flow for flow in flows.flows.values() if with_closed or not flow.closed)
            tcp: list[Flow] = list(itertools.islice(wanted, limit))
            rows = [views.tcp_info(flow, flows.continues(flow, now_ns), now_ns) for flow in tcp]
            udp = itertools.islice(self.intake.udp, limit - len(rows))
            rows += [views.udp_info(session, now_ns) for session in udp]
        return (self._flow(row) for row in rows)

    def clients(self, limit: int) -> set[bytes]:
        """See base.py."""
        return {address_bytes(flow["client"]) for flow in self.flows(limit, with_closed=False)}


def _always() -> bool:
    return True
