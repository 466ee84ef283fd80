"""What the programmable engine does to a TCP flow: what the C engine's act.c and hold.c do, in Python.

The flows of a group, the packets that wait, and the carrying out of what the C core decided
(native/core, through core_api.h): verdicts, edits, records, packets of our own.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import TUNABLE, EngineSettings, EventKind, Protection, Reason
from fttcp.planes.compare import ahead
from fttcp.planes.flow import Arrival, Flow, Held, Surroundings
from fttcp.planes.nfqueue import fill_policy
from fttcp.planes.retain import Retained

LAG_SAMPLES = 1024
HANDSHAKE_NS = 1_000_000_000
_DROPS = {
    lib.FTT_DROP_SUPPRESSED: "drop_suppressed",
    lib.FTT_DROP_ACKED: "drop_acked",
    lib.FTT_DROP_REPEATED: "drop_repeated",
    lib.FTT_DROP_REFUSED: "drop_refused",
    lib.FTT_DROP_UNVERIFIED: "drop_unverified",
}


class FlowActions:
    """All TCP flows of a group on this node, and what is done to them."""

    def __init__(self, settings: EngineSettings, surroundings: Surroundings, counters: Counter[str]) -> None:
        self._settings = settings
        self._world = surroundings
        self.n = counters
        self.mode = EngineMode.IDLE
        self.session = 0
        self.flows: dict[bytes, Flow] = {}
        self.waiting: dict[Flow, None] = {}
        """Flows that only time will move, in the order in which they began to wait."""
        self.lag_ns: deque[int] = deque(maxlen=LAG_SAMPLES)
        self.held_now = 0
        self._dirty: dict[Flow, None] = {}
        self._verdicts: list[Callable[[], None]] = []
        self._to_inject: dict[Flow, None] = {}
        self._half_open: dict[Flow, None] = {}
        self._edit = ffi.new("struct ftt_edit *")
        self._bare = ffi.new("uint8_t[]", lib.FTT_BARE_MAX)
        self._policy = ffi.new("struct ftt_policy *")
        self._env = ffi.new("struct ftt_env *", {"policy": self._policy})
        self.tune(settings)

    def tune(self, settings: EngineSettings) -> None:
        """Use other times and bounds from now on."""
        now = {name: getattr(settings, name) for name in TUNABLE}
        self._settings = dataclasses.replace(self._settings, **now)
        fill_policy(self._policy, self._settings)

    def env(self, now_ns: int) -> Any:
        """What the core is to know of this node, now."""
        env, world = self._env, self._world
        env.now_ns, env.mode, env.lease = now_ns, self.mode, world.may_emit(now_ns)
        env.vouched = world.vouched() and not world.server_gone(now_ns)
        env.watched = world.watches()
        return env

    @property
    def emits(self) -> bool:
        """True if this node is the primary."""
        return self.mode in (EngineMode.PAIRED, EngineMode.SOLO)

    @property
    def half_open(self) -> int:
        """How many handshakes are not complete, or never were."""
        return len(self._half_open)

    def find(self, pkt: Any, from_client: bool) -> tuple[Any, bytes, Flow | None]:
        """Return the key of a packet's flow, its bytes, and the flow if it is known."""
        key = ffi.new("struct ftt_key *")
        lib.ftt_core_key(pkt, from_client, key)
        name = bytes(ffi.buffer(key))
        return key, name, self.flows.get(name)

    # ---- verdicts

    def _pass_edited(self, flow: Flow, arrival: Arrival, edit: Any) -> None:
        if not edit.change:
            self.n["passed"] += 1
            self._accept(arrival, arrival.data if arrival.changed else None)
            return
        if not arrival.whole:
            self._pass_unedited(flow, arrival, edit)
            return
        data = bytearray(arrival.data)
        lib.ftt_core_apply(ffi.from_buffer("uint8_t[]", data), arrival.pkt, edit, True)
        self.n["translated"] += 1
        self.n["window_limited"] += bool(edit.change & lib.FTT_EDIT_WND)
        self._accept(arrival, bytes(data))

    def _pass_unedited(self, flow: Flow, arrival: Arrival, edit: Any) -> None:
        """A window may be left as it is (the commit rule does not depend on it); anything else may not."""
        if edit.change == lib.FTT_EDIT_WND:  # the client is promised more than was meant: that holds now
            state, seg = flow.state, arrival.seg
            edge = (seg.ack + (seg.wnd << state.hard.local_wscale)) & 0xFFFFFFFF
            if ahead(edge, state.advertised_edge):
                state.advertised_edge = edge
            self.n["passed"] += 1
            self._accept(arrival, arrival.data if arrival.changed else None)
        else:
            self._drop(arrival, "drop_truncated")

    def _accept(self, arrival: Arrival, data: bytes | None) -> None:
        self._verdicts.append(partial(arrival.waiting.accept, data))

    def _drop(self, arrival: Arrival, counter: str) -> None:
        self.n[counter] += 1
        self._verdicts.append(arrival.waiting.drop)

    def _drop_for(self, arrival: Arrival, why: int) -> None:
        self._drop(arrival, _DROPS.get(why, "drop_unknown_flow"))

    # ---- holding

    def _hold(self, flow: Flow, arrival: Arrival, now_ns: int) -> None:
        if len(flow.held) >= self._settings.max_held or self.held_now >= self._settings.max_held_total:
            self.n["hold_overflow"] += 1
            self._drop(arrival, "drop_bound")  # as if the network had: it is sent again
            flow.state.held_since_ns = flow.held[0].since_ns if flow.held else 0
            protected = self.mode is EngineMode.PAIRED and flow.state.protection == Protection.PROTECTED
            if flow.held and protected and not arrival.seg.orphan:
                self.act(flow, lib.ftt_core_flow_detach(flow.state, Reason.BOUND, now_ns), now_ns)
            return
        flow.held.append(Held(arrival, now_ns, flow.output.point))
        flow.state.held_since_ns = flow.held[0].since_ns
        self.held_now += 1
        self.n["held" if arrival.seg.dir == lib.FTT_FROM_SERVER else "ordered"] += 1

    def _take_held(self, flow: Flow, now_ns: int, at: int = 0) -> Held:
        held = flow.held[at]
        del flow.held[at]
        self.held_now -= 1
        if held.arrival.seg.dir == lib.FTT_FROM_SERVER:
            self.lag_ns.append(now_ns - held.since_ns)
        flow.state.held_since_ns = flow.held[0].since_ns if flow.held else 0
        return held

    def _release(self, flow: Flow, now_ns: int) -> None:
        """What may go goes; a server's segments in order, a client's each by itself."""
        actions = at = 0
        edit = ffi.new("struct ftt_edit *")
        while at < len(flow.held):
            held = flow.held[at]
            from_client = held.arrival.seg.dir == lib.FTT_FROM_CLIENT
            if not from_client and not self._world.may_emit(now_ns):
                break
            if held.arrival.seg.orphan and not self._world.server_gone(now_ns):  # no takeover came
                held.arrival.seg.orphan = False
            verdict = lib.ftt_core_gate(flow.state, held.arrival.seg, self.env(now_ns), edit)
            if verdict == lib.FTT_HOLD and not from_client:
                break
            if verdict == lib.FTT_HOLD and now_ns - held.since_ns <= self._policy.detach_after_ns:
                at += 1
                continue
            if verdict == lib.FTT_HOLD:  # the primary has given the flow up, or nobody sent it but a forger
                self._drop(held.arrival, "drop_bound")
            elif verdict == lib.FTT_DROP:
                self._drop_for(held.arrival, edit.drop)
            elif from_client:
                self._give(flow, held.arrival, edit)
            else:
                self.n["released"] += 1
                if edit.actions & lib.FTT_ACT_COMMIT:
                    flow.output.leaves(flow.state, held.point)
                self._pass_edited(flow, held.arrival, edit)
            actions |= edit.actions
            self._take_held(flow, now_ns, at)
        self.act(flow, actions, now_ns)

    def _give(self, flow: Flow, arrival: Arrival, edit: Any) -> None:
        """A client's segment, for our stack."""
        flow.bytes_in += arrival.seg.len
        lib.ftt_core_retained_limit(flow.retained.state, flow.state, arrival.seg, edit)
        self._pass_edited(flow, arrival, edit)

    def _drop_held(self, flow: Flow) -> None:
        while flow.held:
            self._drop(self._take_held(flow, flow.held[0].since_ns).arrival, "drop_mode")

    # ---- what decisions ask for

    def _record(self, flow: Flow, kind: int) -> Any:
        record = ffi.new("struct ftt_record *")
        record.type, record.key, record.irs = kind, flow.key[0], flow.state.hard.irs
        lib.ftt_core_flow_tell(flow.state, record)
        return record

    def _send_open(self, flow: Flow, now_ns: int) -> None:
        record = self._record(flow, lib.FTT_REC_OPEN)
        lib.ftt_core_open_tell(flow.state, record, self.env(now_ns))
        syn = ffi.from_buffer("uint8_t[]", flow.syn)
        record.data, record.data_len = syn, len(flow.syn)
        self._world.put_record(record)
        self.n["opens_sent"] += 1

    def _send_records(self, flow: Flow, actions: int, now_ns: int) -> None:
        if actions & lib.FTT_ACT_OPEN:
            self._send_open(flow, now_ns)
        for action, kind in (
            (lib.FTT_ACT_OPENED, lib.FTT_REC_OPENED),
            (lib.FTT_ACT_REFUSED, lib.FTT_REC_REFUSED),
            (lib.FTT_ACT_PROBE, lib.FTT_REC_PROBE),
            (lib.FTT_ACT_DETACH, lib.FTT_REC_DETACH),
        ):
            if actions & action:
                if kind == lib.FTT_REC_PROBE:
                    self._send_output(flow)
                record = self._record(flow, kind)
                if kind == lib.FTT_REC_PROBE:
                    self.n["order_waits"] += bool(record.flags)
                self._world.put_record(record)
        self.n["probes_sent"] += bool(actions & lib.FTT_ACT_PROBE)
        if actions & lib.FTT_ACT_ABORT and flow.state.protection == Protection.PROTECTED:
            self._world.put_record(self._record(flow, lib.FTT_REC_CLOSE))
        if actions & (lib.FTT_ACT_COMMIT | lib.FTT_ACT_COMMIT_LATER):
            self._dirty[flow] = None

    def _inject(self, flow: Flow) -> None:
        length = lib.ftt_core_build_for_stack(
            flow.state, flow.retained.state, flow.key, self.mode, self._bare
        )
        self._world.emit(bytes(ffi.buffer(self._bare, length)), False)
        self.n["injected"] += 1

    def _tell_client(self, flow: Flow, build: Any, now_ns: int) -> None:
        """Send our acknowledgement, or the FIN that was kept back (which our stack sends again)."""
        if self._may_speak(now_ns):
            self._to_client(build(flow.state, flow.key, self.mode, self._bare))

    def _may_speak(self, now_ns: int) -> bool:
        may = self._world.may_emit(now_ns)
        self.n["drop_lease"] += not may
        return may

    def _to_client(self, length: int) -> None:
        self._world.emit(bytes(ffi.buffer(self._bare, length)), True)
        self.n["emitted"] += 1

    def _nudge(self, flow: Flow, now_ns: int) -> None:
        """Make the client send again; three duplicates are what one without SACK goes by (RFC 5681 3.2)."""
        if not self._world.may_emit(now_ns):
            return
        length = lib.ftt_core_build_nudge(flow.state, flow.key, self._bare)
        for _ in range(1 if flow.state.bits & lib.FTT_F_SACK else 3):
            self._world.emit(bytes(ffi.buffer(self._bare, length)), True)
        self.n["nudges"] += 1

    def act(self, flow: Flow, actions: int, now_ns: int) -> None:
        """Carry out what a decision asked for."""
        state = flow.state
        if self.mode is EngineMode.PAIRED:
            actions |= lib.ftt_core_flow_part(state, self.env(now_ns))
        self._send_records(flow, actions, now_ns)
        if actions & lib.FTT_ACT_INJECT:
            self._to_inject[flow] = None
        if actions & lib.FTT_ACT_ACK_CLIENT:
            self._tell_client(flow, lib.ftt_core_build_for_client, now_ns)
        if actions & lib.FTT_ACT_ASK_CLIENT:
            self._tell_client(flow, lib.ftt_core_build_ask, now_ns)
        if actions & lib.FTT_ACT_NUDGE:
            self._nudge(flow, now_ns)
        if actions & lib.FTT_ACT_FIN:
            self._tell_client(flow, lib.ftt_core_build_fin, now_ns)
        if actions & lib.FTT_ACT_DETACH and state.reason == Reason.DIVERGENCE and state.tries == 1:
            self._post_difference(flow, Reason.DIVERGENCE)
        if actions & lib.FTT_ACT_DETACHED:
            self.n["flows_detached"] += 1
            self._world.post(EventKind.FLOW_DETACHED, flow.key, state.reason, 0)
        if actions & lib.FTT_ACT_REPORT:
            self._world.post(EventKind.UNSUPPORTED, flow.key, state.reason, 0)
        if actions & lib.FTT_ACT_CLOSED and not flow.closed:
            flow.closed = True
            self.n["flows_closed"] += 1
        if actions & lib.FTT_ACT_LET_GO:
            self.let_go(flow)
        if actions & lib.FTT_ACT_ASK_PLACE:
            self._ask_place(flow, now_ns)
        self.n["resets_unanswered"] += bool(actions & lib.FTT_ACT_UNREACHED)
        self._settle(flow)
        if actions & lib.FTT_ACT_RELEASE:
            self._release(flow, now_ns)
        if not self._needs_syn(flow):
            flow.syn = b""

    def _needs_syn(self, flow: Flow) -> bool:
        """A primary's backup may not have it yet; who takes over may have to have it answered."""
        state = flow.state
        if state.bits & lib.FTT_F_SYN_AGAIN:
            return True
        if self.mode is EngineMode.BACKUP:
            return not state.bits & lib.FTT_F_ESTABLISHED and not flow.closed
        return state.protection in (Protection.NEW, Protection.OPENING)

    def syn_again(self, flow: Flow) -> None:
        """After a takeover: let our stack repeat its answer to a handshake that may have got none."""
        if flow.syn and not flow.closed and not flow.state.bits & lib.FTT_F_ESTABLISHED:
            self._world.emit(flow.syn, False)
            self.n["injected"] += 1

    def _settle(self, flow: Flow) -> None:
        """Take up what a flow has become: the one place where flows are counted, by what they are."""
        state = flow.state
        waits = not flow.closed and lib.ftt_core_flow_waits(state)
        kept = flow.retained.state
        if flow.held or waits or (kept.window and kept.n):
            self.waiting.setdefault(flow)
        else:
            self.waiting.pop(flow, None)
        if state.bits & lib.FTT_F_ESTABLISHED:
            self._half_open.pop(flow, None)
        else:
            self._half_open.setdefault(flow)

    def _post_difference(self, flow: Flow, how: Reason) -> None:
        left = (lib.ftt_core_output_end(flow.state) - flow.state.verified) & 0xFFFFFFFF
        self._world.post(EventKind.DIVERGENCE, flow.key, how, flow.bytes_out - left)

    def flush(self) -> None:
        """Do, at the end of a wake-up, what is cumulative: one COMMIT for the primary, or OUTPUT for the
        backup, then the verdicts, then one acknowledgement for the stack, for each flow that moved."""
        for flow in self._dirty:
            if self.mode is EngineMode.BACKUP:
                self._send_commit(flow)
            elif self.mode is EngineMode.PAIRED and flow.state.protection == Protection.PROTECTED:
                self._send_output(flow)
        self._dirty.clear()
        for verdict in self._verdicts:
            verdict()
        self._verdicts.clear()
        for flow in self._to_inject:
            self._inject(flow)
        self._to_inject.clear()

    def _send_commit(self, flow: Flow) -> None:
        record, state = self._record(flow, lib.FTT_REC_COMMIT), flow.state
        if ahead(state.local_rcv_nxt, state.committed) or state.bits & lib.FTT_F_SERVICE:
            flow.output.offer(state, record, flow.retained)
        record.differences = flow.divergences
        lib.ftt_core_commit_tell(state, record)
        self._world.put_record(record)
        self.n["commits_sent"] += 1

    def _discard(self, flow: Flow, seg: Any) -> None:
        """Tell the backup not to take a segment that our stack refuses."""
        record = self._record(flow, lib.FTT_REC_DISCARD)
        record.seq, record.ack = seg.seq, seg.ack
        record.tsval = seg.tsval if seg.options & lib.FTT_OPT_TS else 0
        self._world.put_record(record)

    def _send_output(self, flow: Flow) -> None:
        """Tell how much has left, and the sum."""
        record, state = self._record(flow, lib.FTT_REC_OUTPUT), flow.state
        record.flags = lib.FTT_REC_SUM if state.bits & lib.FTT_F_SUMS and not flow.output.broken else 0
        record.snd_nxt, record.point, record.crc = state.sent, state.told, flow.output.told_crc
        self._world.put_record(record)

    def make_room(self, now_ns: int) -> bool:
        """Forget what is needed least, for a flow that begins: one that has ended, or a handshake that has
        not got on for longer than an honest client needs, which asks again after a second (RFC 6298)."""
        spare: dict[int, Flow] = {}
        for flow in self.flows.values():
            age = self._spare_age(flow, now_ns)
            if age is not None and (age not in spare or flow.state.last_ns < spare[age].state.last_ns):
                spare[age] = flow
        if not spare:
            return False
        self.n["flows_expired"] += 1
        self.forget(spare[min(spare)], self.mode is EngineMode.BACKUP)
        return True

    def _spare_age(self, flow: Flow, now_ns: int) -> int | None:
        """Return how soon a flow is to make room: 0 first; None if it is not to."""
        established = flow.state.bits & lib.FTT_F_ESTABLISHED
        if flow.held:
            return None
        if flow.closed:
            crowded = self.half_open >= self._settings.max_half_open
            return 0 if not established else None if crowded else 1
        if self.is_over(flow):
            return 3 if self.half_open < self._settings.max_half_open else None
        return 2 if not established and now_ns - flow.state.last_ns >= HANDSHAKE_NS else None

    def forget(self, flow: Flow, reset: bool) -> None:
        """Forget a flow; ``reset`` also ends it in the local stack."""
        self._drop_held(flow)
        if reset and not flow.closed and flow.state.bits & lib.FTT_F_SYNACK:
            self._reset_stack(flow.key, flow.state.local_rcv_nxt)
        self.waiting.pop(flow, None)
        self._dirty.pop(flow, None)
        self._to_inject.pop(flow, None)
        self._half_open.pop(flow, None)
        del self.flows[flow.name]

    # ---- flows that are over: see native/core/tcp/reset.h

    def is_over(self, flow: Flow) -> bool:
        """Whether nothing of it reaches our stack, and nothing of our stack its client."""
        kind = flow.state.protection
        let_go = kind == Protection.DETACHED and self.mode is EngineMode.BACKUP
        return let_go or kind == Protection.RESETTING

    def _end_in_stack(self, flow: Flow) -> None:
        self._drop_held(flow)
        flow.retained = Retained()
        state = flow.state
        if not flow.closed and state.protection != Protection.DETACHED and state.bits & lib.FTT_F_SYNACK:
            self._reset_stack(flow.key, state.local_rcv_nxt)

    def let_go(self, flow: Flow) -> None:
        """Backup: let a flow go for good. Where its client stands is still followed."""
        self._end_in_stack(flow)
        flow.state.protection = Protection.DETACHED
        self.n["flows_detached"] += 1

    def aborted(self, flow: Flow, record: Any, now_ns: int) -> None:
        """Backup: the flow was reset; its client's last segments may still be under way on the mirror."""
        self._end_in_stack(flow)
        self.act(flow, lib.ftt_core_backup_close(flow.state, record), now_ns)

    def reset_client(self, flow: Flow, now_ns: int) -> None:
        """After a takeover: the flow is over; its client is asked where it stands, and reset there."""
        if flow.state.protection == Protection.RESETTING:
            return
        self._end_in_stack(flow)
        self._drop_held(flow)
        flow.retained = Retained()
        self.act(flow, lib.ftt_core_reset_begin(flow.state, self.env(now_ns)), now_ns)

    def over_from_client(self, flow: Flow, seg: Any, now_ns: int) -> bool:
        """Take a segment for a flow that is over; False for a SYN that begins another one."""
        if flow.state.protection == Protection.DETACHED:
            followed = bool(lib.ftt_core_detached_step(flow.state, seg, self.env(now_ns)))
            self._settle(flow)
            return followed
        if seg.flags & (lib.TCP_SYN | lib.TCP_ACK) == lib.TCP_SYN:
            return False
        actions = lib.ftt_core_reset_step(flow.state, seg, self.env(now_ns))
        if actions & lib.FTT_ACT_RST_CLIENT and self._may_speak(now_ns):
            self._to_client(lib.ftt_core_build_reset_client(flow.key, seg.ack, self._bare))
            self.n["resets_sent"] += 1
        self.act(flow, actions, now_ns)
        return True

    def _ask_place(self, flow: Flow, now_ns: int) -> None:
        if self._may_speak(now_ns):
            self._to_client(lib.ftt_core_build_ask_place(flow.state, flow.key, self._bare))
            self.n["resets_asked"] += 1

    def _reset_stack(self, key: Any, rcv_nxt: int) -> None:
        length = lib.ftt_core_build_reset(key, rcv_nxt, self._bare)
        self._world.emit(bytes(ffi.buffer(self._bare, length)), False)
