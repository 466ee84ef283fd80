"""The flows of the programmable engine: what the C engine's tcp.c and follow.c do, in Python.

Every decision is the C core's (native/include/fttcp, through core_api.h); here its verdicts, edits
and actions are carried out. `flow.Surroundings` is all that this needs of the world, so that tests can
feed recorded packets to it. One thread owns a `TcpFlows`.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from fttcp._native import ffi, lib
from fttcp.core.model import EngineMode
from fttcp.datapath.base import EngineSettings, EventKind, Protection, Reason
from fttcp.datapath.compare import OURS, THEIRS, Output, ahead
from fttcp.datapath.flow import Arrival, Flow, Held, Surroundings
from fttcp.datapath.retain import Retained

LAG_SAMPLES = 1024
_DROPS = {
    lib.FTT_DROP_SUPPRESSED: "drop_suppressed",
    lib.FTT_DROP_ACKED: "drop_acked",
    lib.FTT_DROP_REPEATED: "drop_repeated",
}


class TcpFlows:
    """All TCP flows of a group on this node."""

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
        self._to_inject: dict[Flow, None] = {}
        self._half_open = 0
        self._edit = ffi.new("struct ftt_edit *")
        self._bare = ffi.new("uint8_t[]", lib.FTT_BARE_MAX)
        self._unshifted = ffi.new("struct ftt_shift *")
        self._shift = ffi.new("struct ftt_shift *")
        self._shift.on = settings.service_iss is not None or settings.service_ts is not None
        self._shift.iss, self._shift.ts = settings.service_iss or 0, settings.service_ts or 0
        self._limits = ffi.new(
            "struct ftt_limits *",
            [settings.detach_after_ns, settings.end_grace_ns, settings.open_timeout_ns],
        )

    @property
    def emits(self) -> bool:
        """True if this node is the primary."""
        return self.mode in (EngineMode.PAIRED, EngineMode.SOLO)

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
            arrival.waiting.accept(arrival.data if arrival.changed else None)
            return
        if not arrival.whole:
            self._pass_unedited(flow, arrival, edit)
            return
        data = bytearray(arrival.data)
        lib.ftt_core_apply(ffi.from_buffer("uint8_t[]", data), arrival.pkt, edit, True)
        self.n["translated"] += 1
        self.n["window_limited"] += bool(edit.change & lib.FTT_EDIT_WND)
        arrival.waiting.accept(bytes(data))

    def _pass_unedited(self, flow: Flow, arrival: Arrival, edit: Any) -> None:
        """A window may be left as it is (the commit rule does not depend on it); anything else may not."""
        if edit.change == lib.FTT_EDIT_WND:  # the client is promised more than was meant: that holds now
            state, seg = flow.state, arrival.seg
            edge = (seg.ack + (seg.wnd << state.hard.local_wscale)) & 0xFFFFFFFF
            if ahead(edge, state.advertised_edge):
                state.advertised_edge = edge
            self.n["passed"] += 1
            arrival.waiting.accept(arrival.data if arrival.changed else None)
        else:
            self._drop(arrival, "drop_truncated")

    def _drop(self, arrival: Arrival, counter: str) -> None:
        self.n[counter] += 1
        arrival.waiting.drop()

    def _drop_for(self, arrival: Arrival, why: int) -> None:
        self._drop(arrival, _DROPS.get(why, "drop_unknown_flow"))

    # ---- holding

    def _hold(self, flow: Flow, arrival: Arrival, now_ns: int) -> None:
        if len(flow.held) >= self._settings.max_held or self.held_now >= self._settings.max_held_total:
            self.n["hold_overflow"] += 1
            self._drop(arrival, "drop_bound")  # as if the network had: the stack sends it again
            flow.state.held_since_ns = flow.held[0].since_ns if flow.held else 0
            if flow.held and self.mode is EngineMode.PAIRED and flow.state.protection == Protection.PROTECTED:
                self.act(flow, lib.ftt_core_flow_detach(flow.state, Reason.BOUND, now_ns), now_ns)
            return
        flow.held.append(Held(arrival, now_ns))
        flow.state.held_since_ns = flow.held[0].since_ns
        self.held_now += 1
        self.n["held"] += 1

    def _take_held(self, flow: Flow, now_ns: int) -> Held:
        held = flow.held.popleft()
        self.held_now -= 1
        self.lag_ns.append(now_ns - held.since_ns)
        flow.state.held_since_ns = flow.held[0].since_ns if flow.held else 0
        return held

    def _release(self, flow: Flow, now_ns: int) -> None:
        actions = 0
        edit = ffi.new("struct ftt_edit *")
        while flow.held and self._world.may_emit(now_ns):
            held = flow.held[0]
            verdict = lib.ftt_core_gate(flow.state, held.arrival.seg, self.mode, now_ns, edit)
            if verdict == lib.FTT_HOLD:
                break
            actions |= edit.actions
            if verdict == lib.FTT_DROP:
                self._drop_for(held.arrival, edit.drop)
            else:
                self.n["released"] += 1
                self._pass_edited(flow, held.arrival, edit)
            self._take_held(flow, now_ns)
        self.act(flow, actions, now_ns)

    def _drop_held(self, flow: Flow) -> None:
        while flow.held:
            self._drop(self._take_held(flow, flow.held[0].since_ns).arrival, "drop_mode")

    # ---- what decisions ask for

    def _record(self, flow: Flow, kind: int) -> Any:
        record = ffi.new("struct ftt_record *")
        record.type, record.key, record.irs = kind, flow.key[0], flow.state.hard.irs
        record.rcv_nxt, record.edge = flow.state.local_rcv_nxt, flow.state.local_edge
        record.client_acked, record.client_wnd = flow.state.client_acked, flow.state.client_wnd
        return record

    def _send_open(self, flow: Flow, now_ns: int) -> None:
        record, state = self._record(flow, lib.FTT_REC_OPEN), flow.state
        record.service_iss = state.hard.service_iss
        record.tsval = (state.local_tsval - state.hard.ts_delta) & 0xFFFFFFFF
        record.age_ms = (now_ns - state.synack_ns) // 1_000_000
        record.wscale = state.hard.service_wscale
        record.attempt = min(state.tries, 255)
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
                self._world.put_record(self._record(flow, kind))
        self.n["probes_sent"] += bool(actions & lib.FTT_ACT_PROBE)
        if actions & lib.FTT_ACT_ABORT and flow.state.protection == Protection.PROTECTED:
            self._world.put_record(self._record(flow, lib.FTT_REC_CLOSE))
        if actions & lib.FTT_ACT_COMMIT:
            self._dirty[flow] = None

    def _inject(self, flow: Flow) -> None:
        length = lib.ftt_core_build_for_stack(
            flow.state, flow.retained.state, flow.key, self.mode, self._bare
        )
        self._world.emit(bytes(ffi.buffer(self._bare, length)), False)
        self.n["injected"] += 1

    def _ack_client(self, flow: Flow, now_ns: int) -> None:
        if not self._world.may_emit(now_ns):
            self.n["drop_lease"] += 1
            return
        length = lib.ftt_core_build_for_client(flow.state, flow.key, self.mode, self._bare)
        self._world.emit(bytes(ffi.buffer(self._bare, length)), True)
        self.n["emitted"] += 1

    def _fin(self, flow: Flow, now_ns: int) -> None:
        """Send the FIN that was kept back; without a lease the stack will send it again."""
        if not self._world.may_emit(now_ns):
            self.n["drop_lease"] += 1
            return
        length = lib.ftt_core_build_fin(flow.state, flow.key, self.mode, self._bare)
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
        self._send_records(flow, actions, now_ns)
        if actions & lib.FTT_ACT_INJECT:
            self._to_inject[flow] = None
        if actions & lib.FTT_ACT_ACK_CLIENT:
            self._ack_client(flow, now_ns)
        if actions & lib.FTT_ACT_NUDGE:
            self._nudge(flow, now_ns)
        if actions & lib.FTT_ACT_FIN:
            self._fin(flow, now_ns)
        if actions & lib.FTT_ACT_DETACHED:
            self.n["flows_detached"] += 1
            self._world.post(EventKind.FLOW_DETACHED, flow.key, state.reason, 0)
        if actions & lib.FTT_ACT_REPORT:
            self._world.post(EventKind.UNSUPPORTED, flow.key, state.reason, 0)
        if actions & lib.FTT_ACT_CLOSED and not flow.closed:
            flow.closed = True
            self.n["flows_closed"] += 1
        waits = not flow.closed and lib.ftt_core_flow_waits(state)
        kept = flow.retained.state
        if flow.held or waits or (kept.window and kept.n):
            self.waiting.setdefault(flow)
        else:
            self.waiting.pop(flow, None)
        if actions & lib.FTT_ACT_RELEASE:
            self._release(flow, now_ns)
        if (
            state.protection not in (Protection.NEW, Protection.OPENING)
            and not state.bits & lib.FTT_F_SYN_AGAIN
        ):
            flow.syn = b""

    def flush(self) -> None:
        """Do, at the end of a wake-up, what is cumulative: one acknowledgement for the stack, one COMMIT
        for the primary, for each flow that moved."""
        for flow in self._to_inject:
            self._inject(flow)
        self._to_inject.clear()
        for flow in self._dirty:
            record, state = self._record(flow, lib.FTT_REC_COMMIT), flow.state
            record.snd_nxt = state.local_snd_nxt
            record.flags = (lib.FTT_REC_FIN if state.bits & lib.FTT_F_LOCAL_FIN else 0) | (
                lib.FTT_REC_RST if state.bits & lib.FTT_F_LOCAL_RST else 0
            )
            if state.bits & lib.FTT_F_HOLE:
                record.flags |= lib.FTT_REC_HOLE
                record.hole_end = state.local_hole_end
            if self._settings.compare and not flow.output.broken:
                record.flags |= lib.FTT_REC_POINT
                record.point, record.point_crc = flow.output.next, flow.output.crc
            self._world.put_record(record)
            self.n["commits_sent"] += 1
        self._dirty.clear()

    def forget(self, flow: Flow, reset: bool) -> None:
        """Forget a flow; ``reset`` also ends it in the local stack."""
        self._drop_held(flow)
        if reset and not flow.closed and flow.state.bits & lib.FTT_F_SYNACK:
            self._reset_stack(flow.key, flow.state.local_rcv_nxt)
        self.waiting.pop(flow, None)
        self._dirty.pop(flow, None)
        self._to_inject.pop(flow, None)
        self._half_open -= not flow.state.bits & lib.FTT_F_ESTABLISHED
        del self.flows[flow.name]

    def _reset_stack(self, key: Any, rcv_nxt: int) -> None:
        length = lib.ftt_core_build_reset(key, rcv_nxt, self._bare)
        self._world.emit(bytes(ffi.buffer(self._bare, length)), False)

    # ---- packets from clients

    def from_client(self, arrival: Arrival, now_ns: int) -> None:
        """Decide on a whole TCP segment to a port of the group."""
        seg, backup = arrival.seg, self.mode is EngineMode.BACKUP
        if arrival.whole and not lib.ftt_core_sum_ok(arrival.raw(), arrival.pkt):
            if backup:
                self._drop(arrival, "drop_malformed")
            else:  # the stack will drop it; nothing may be learnt from it
                self._pass(arrival, "pass_malformed")
            return
        key, name, flow = self.find(arrival.pkt, True)
        if flow is None and seg.flags & (lib.TCP_SYN | lib.TCP_ACK | lib.TCP_RST) == lib.TCP_SYN:
            flow = self._begin(key, name, seg, now_ns)
        if flow is None:
            if backup:
                self._drop(arrival, "drop_unknown_flow")
            else:
                self._pass(arrival, "pass_unmatched")
            return
        established = flow.state.bits & lib.FTT_F_ESTABLISHED
        if seg.flags & (lib.TCP_SYN | lib.TCP_ACK) == lib.TCP_SYN:
            self._keep_syn(flow, arrival)
        edit = self._edit
        verdict = lib.ftt_core_segment_step(flow.state, seg, now_ns, self._unshifted, False, edit)
        actions = edit.actions
        if verdict == lib.FTT_PASS:
            flow.bytes_in += seg.len
            lib.ftt_core_retained_limit(flow.retained.state, flow.state, seg, edit)
            self._pass_edited(flow, arrival, edit)
        else:
            self._drop_for(arrival, edit.drop)
        self._track_half_open(flow, established)
        self._retain_acked(flow, seg, now_ns)
        self.act(flow, actions, now_ns)

    def _pass(self, arrival: Arrival, counter: str) -> None:
        self.n[counter] += 1
        self.n["passed"] += 1
        arrival.waiting.accept(arrival.data if arrival.changed else None)

    def _begin(self, key: Any, name: bytes, seg: Any, now_ns: int) -> Flow | None:
        """A SYN makes a flow; the half-open and the whole table are bounded."""
        if self._half_open >= self._settings.max_half_open:
            self.n["syn_floods"] += 1
            return None
        if len(self.flows) >= self._settings.max_flows:
            self.n["flows_refused"] += 1
            return None
        flow = self.flows[name] = Flow(key, name, now_ns)
        lib.ftt_core_flow_init(flow.state, seg.seq, now_ns)
        self._half_open += 1
        self.n["flows_opened"] += 1
        if seg.options & lib.FTT_OPT_SIGNED:
            lib.ftt_core_unprotect(flow.state, Reason.UNSUPPORTED)
            self._world.post(EventKind.UNSUPPORTED, key, Reason.UNSUPPORTED, 0)
        elif self.mode is EngineMode.SOLO:
            lib.ftt_core_unprotect(flow.state, Reason.NO_BACKUP)
        return flow

    def _keep_syn(self, flow: Flow, arrival: Arrival) -> None:
        """Keep a SYN for the backup, whose own copy of it may be lost on the mirror."""
        if self.mode is EngineMode.PAIRED and arrival.whole and arrival.length <= lib.FTT_SYN_MAX:
            flow.syn = arrival.data

    def _track_half_open(self, flow: Flow, before: int) -> None:
        self._half_open += bool(before) - bool(flow.state.bits & lib.FTT_F_ESTABLISHED)

    # ---- packets from the local stack

    def from_server(self, arrival: Arrival, now_ns: int) -> None:
        """Decide on a whole TCP segment from a port of the group."""
        seg = arrival.seg
        key, _, flow = self.find(arrival.pkt, False)
        if flow is None:
            self._unknown_from_server(arrival, key, now_ns)
            return
        established, irs = flow.state.bits & lib.FTT_F_ESTABLISHED, flow.state.hard.irs
        silent = self.emits and not self._world.may_emit(now_ns)
        edit = ffi.new("struct ftt_edit *")
        behind = bool(flow.held) or silent
        verdict = lib.ftt_core_segment_step(flow.state, seg, now_ns, self._shift, behind, edit)
        if flow.state.hard.irs != irs:
            self._begin_again(flow, now_ns)
        if self._settings.compare and (
            self.mode is EngineMode.BACKUP or flow.state.protection == Protection.PROTECTED
        ):
            self._compare_output(flow, arrival, now_ns)
        self._retain_output(flow, arrival, now_ns)
        flow.bytes_out += seg.len
        if verdict == lib.FTT_PASS and silent:  # not a word without a lease
            self._drop(arrival, "drop_lease")
        elif verdict == lib.FTT_PASS:
            self._pass_edited(flow, arrival, edit)
        elif verdict == lib.FTT_HOLD:
            self._hold(flow, arrival, now_ns)
        else:
            self._drop_for(arrival, edit.drop)
        if edit.actions & lib.FTT_ACT_RESET:  # a connection of the past
            self._reset_stack(key, seg.ack)
        self._track_half_open(flow, established)
        self.act(flow, edit.actions, now_ns)

    def _unknown_from_server(self, arrival: Arrival, key: Any, now_ns: int) -> None:
        """The stack speaks for a flow that we do not know."""
        if self.emits:
            if self._world.may_emit(now_ns):
                self._pass(arrival, "pass_unmatched")
            else:
                self._drop(arrival, "drop_lease")
            return
        self._drop(arrival, "drop_suppressed")
        if arrival.seg.flags & lib.TCP_ACK and not arrival.seg.flags & lib.TCP_RST:
            # a connection that this node will not carry on: end it in the stack, or it lingers for minutes
            self._reset_stack(key, arrival.seg.ack)

    def _begin_again(self, flow: Flow, now_ns: int) -> None:
        """The stack took a new connection under an old key: what belonged to the old one goes."""
        self._drop_held(flow)
        flow.output, flow.retained = Output(), Retained()
        flow.closed = False
        flow.created_ns = now_ns
        flow.bytes_in = flow.bytes_out = flow.divergences = 0
        self.n["flows_opened"] += 1

    # ---- output retained for a takeover

    def _retain_output(self, flow: Flow, arrival: Arrival, now_ns: int) -> None:
        """Backup: keep what the client does not have. Later, when the stack repairs itself: no more."""
        seg, state, kept = arrival.seg, flow.state, flow.retained
        seq = (seg.seq - state.hard.delta) & 0xFFFFFFFF
        if self.mode is not EngineMode.BACKUP:
            if seg.len and lib.ftt_core_retained_superseded(kept.state, seq, now_ns):
                kept.stop()
        elif (
            seg.len
            and arrival.whole
            and state.protection == Protection.PROTECTED
            and not seg.flags & lib.TCP_RST
            and self._settings.max_retained
        ):
            start = arrival.pkt.payload
            self.n["retained"] += bool(
                kept.add(state.client_acked, seq, arrival.data[start : start + seg.len])
            )

    def _retain_acked(self, flow: Flow, seg: Any | None, now_ns: int) -> None:
        """Drop what the client has; after a takeover send more."""
        kept = flow.retained
        gone = kept.ack(flow.state.client_acked)
        if gone and seg:
            more = lib.ftt_core_retained_more(kept.state, flow.state, seg, gone, now_ns)
            self._send_retained(flow, more, now_ns)

    def retain_release(self, flow: Flow, now_ns: int) -> None:
        """A takeover: begin to send what is retained."""
        self._retain_acked(flow, None, now_ns)
        kept, state = flow.retained.state, flow.state
        if kept.n:
            first = lib.ftt_core_retained_begin(kept, state, now_ns)
            self._send_retained(flow, first, now_ns)

    def retain_tick(self, flow: Flow, now_ns: int) -> None:
        """Time passed: send again to a client that has fallen silent."""
        more = lib.ftt_core_retained_tick(flow.retained.state, now_ns)
        self._send_retained(flow, more, now_ns)

    def _send_retained(self, flow: Flow, count: int, now_ns: int) -> None:
        mss = flow.state.mss
        if not count or not mss or not self._world.may_emit(now_ns):
            return
        out = ffi.new("uint8_t[]", lib.FTT_BARE_MAX + mss)
        while count:
            seq, payload = flow.retained.take(min(count, mss))
            length = lib.ftt_core_build_data(
                flow.state, flow.key, self.mode, seq, payload, len(payload), now_ns, out
            )
            self._world.emit(bytes(ffi.buffer(out, length)), True)
            self.n["retained_released"] += 1
            count -= len(payload)

    # ---- comparison of outputs

    def _compare_output(self, flow: Flow, arrival: Arrival, now_ns: int) -> None:
        seg, state = arrival.seg, flow.state
        if not seg.len or seg.flags & (lib.TCP_SYN | lib.TCP_RST) or not state.bits & lib.FTT_F_MAPPED:
            return
        offset = (seg.seq - state.hard.delta - state.hard.service_iss - 1) & 0xFFFFFFFF
        start = arrival.pkt.payload
        for block, crc, broken in flow.output.add(offset, arrival.data[start : start + seg.len], seg.len):
            if broken:
                self.n["uncompared_blocks"] += 1
            elif self.mode is EngineMode.BACKUP:
                record = self._record(flow, lib.FTT_REC_BLOCK)
                record.block, record.crc = block, crc
                self._world.put_record(record)
            elif flow.output.meet(block, crc, OURS, self.n):
                self._diverged(flow, block * lib.FTT_BLOCK, now_ns)
        if self.mode is not EngineMode.BACKUP and flow.output.meet_point(self.n):
            self._diverged(flow, flow.output.next, now_ns)

    def compare_record(self, flow: Flow, record: Any, now_ns: int) -> None:
        """Take the other node's checksums from a record."""
        if not self._settings.compare or flow.state.protection != Protection.PROTECTED:
            return
        if record.type == lib.FTT_REC_BLOCK:
            if flow.output.meet(record.block, record.crc, THEIRS, self.n):
                self._diverged(flow, record.block * lib.FTT_BLOCK, now_ns)
        elif record.flags & lib.FTT_REC_POINT:
            flow.output.set_point(record.point, record.point_crc)
            if flow.output.meet_point(self.n):
                self._diverged(flow, flow.output.next, now_ns)

    def _diverged(self, flow: Flow, offset: int, now_ns: int) -> None:
        self.n["divergences"] += 1
        flow.divergences += 1
        if flow.divergences == 1:  # the first of each flow is news
            self._world.post(EventKind.DIVERGENCE, flow.key, 0, offset)
        if (
            self._settings.detach_divergent
            and flow.state.protection == Protection.PROTECTED
            and self.mode is EngineMode.PAIRED
        ):
            self.act(flow, lib.ftt_core_flow_detach(flow.state, Reason.DIVERGENCE, now_ns), now_ns)
