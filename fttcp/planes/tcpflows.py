"""The flows of the programmable engine: what the C engine's tcp.c and retain.c do, in Python.

Every decision is the C core's (native/core, through core_api.h); `act.FlowActions` carries out
what it decided. `flow.Surroundings` is all that this needs of the world, so that tests can feed recorded
packets to it. One thread owns a `TcpFlows`.
"""

from __future__ import annotations

from typing import Any

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.act import FlowActions
from fttcp.planes.base import EventKind, Protection, Reason
from fttcp.planes.compare import Output
from fttcp.planes.flow import Arrival, Flow
from fttcp.planes.retain import Retained

_OPENS = lib.TCP_SYN | lib.TCP_ACK | lib.TCP_RST | lib.TCP_FIN


class TcpFlows(FlowActions):
    """Decides on every TCP segment of a group."""

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
        if flow is not None and self.is_over(flow):
            if self.over_from_client(flow, seg, now_ns):
                self._drop(arrival, "drop_unknown_flow")
                return
            self.forget(flow, False)  # a new connection
            flow = None
        if flow is None and seg.flags & _OPENS == lib.TCP_SYN:
            flow = self._begin(key, name, seg, now_ns)
        if flow is None:
            if backup:
                self._meet_stranger(key, name, seg, now_ns)
                self._drop(arrival, "drop_unknown_flow")
            else:
                self._pass(arrival, "pass_unmatched")
            return
        edit = self._edit
        verdict = lib.ftt_core_segment_step(flow.state, seg, self.env(now_ns), edit)
        actions = edit.actions
        if seg.flags & (lib.TCP_SYN | lib.TCP_ACK) == lib.TCP_SYN:
            self._keep_syn(flow, arrival, edit)
        if verdict == lib.FTT_PASS:
            self._give(flow, arrival, edit)
        elif verdict == lib.FTT_HOLD:
            self._hold(flow, arrival, now_ns)
        else:
            self._drop_for(arrival, edit.drop)
        if actions & lib.FTT_ACT_DISCARD:
            self._discard(flow, seg)
        if backup and lib.ftt_core_output_settle(flow.state, flow.output.seen, now_ns):
            actions |= lib.FTT_ACT_COMMIT_LATER
        self._retain_acked(flow, seg if verdict == lib.FTT_PASS else None, now_ns)
        self.act(flow, actions, now_ns)

    def _meet_stranger(self, key: Any, name: bytes, seg: Any, now_ns: int) -> None:
        """Remember a connection that this backup has not seen begin: a takeover is to reset its client."""
        is_ack = seg.flags & (lib.TCP_SYN | lib.TCP_RST | lib.TCP_ACK) == lib.TCP_ACK
        if is_ack and len(self.flows) < self._settings.max_flows:
            flow = self.flows[name] = Flow(key, name, now_ns)
            lib.ftt_core_stranger_init(flow.state, seg, self.env(now_ns))

    def _pass(self, arrival: Arrival, counter: str) -> None:
        self.n[counter] += 1
        self.n["passed"] += 1
        self._accept(arrival, arrival.data if arrival.changed else None)

    def admit(self, key: Any, name: bytes, irs: int, now_ns: int) -> Flow | None:
        """A flow begins with the client's SYN ``irs``; None, and counted, when a table is full."""
        if self.half_open >= self._settings.max_half_open and not self.make_room(now_ns):
            self.n["syn_floods"] += 1
            return None
        if len(self.flows) >= self._settings.max_flows and not self.make_room(now_ns):
            self.n["flows_refused"] += 1
            return None
        flow = self.flows[name] = Flow(key, name, now_ns)
        lib.ftt_core_flow_init(flow.state, irs, now_ns)
        self._settle(flow)
        self.n["flows_opened"] += 1
        return flow

    def _begin(self, key: Any, name: bytes, seg: Any, now_ns: int) -> Flow | None:
        flow = self.admit(key, name, seg.seq, now_ns)
        if flow is None:
            return None
        if seg.options & lib.FTT_OPT_SIGNED:
            lib.ftt_core_unprotect(flow.state, Reason.UNSUPPORTED)
            self._world.post(EventKind.UNSUPPORTED, key, Reason.UNSUPPORTED, 0)
        elif self.mode is EngineMode.SOLO:
            lib.ftt_core_unprotect(flow.state, Reason.NO_BACKUP)
        return flow

    def _keep_syn(self, flow: Flow, arrival: Arrival, edit: Any) -> None:
        """Keep a SYN as our stack sees it: for the backup, whose own copy may be lost on the mirror, and on a
        backup for a takeover."""
        if self.mode is not EngineMode.SOLO and arrival.whole and arrival.length <= lib.FTT_SYN_MAX:
            syn = bytearray(arrival.data)
            lib.ftt_core_apply(ffi.from_buffer("uint8_t[]", syn), arrival.pkt, edit, True)
            flow.syn = bytes(syn)

    # ---- packets from the local stack

    def from_server(self, arrival: Arrival, now_ns: int) -> None:
        """Decide on a whole TCP segment from a port of the group."""
        seg, env = arrival.seg, self.env(now_ns)
        key, _, flow = self.find(arrival.pkt, False)
        if flow is not None and self.is_over(flow):
            self._silence(arrival, key)
            return
        if flow is None:
            self._unknown_from_server(arrival, key, now_ns)
            return
        if lib.ftt_core_is_last_word(flow.state, seg, env) and self._world.server_gone(now_ns):
            seg.orphan = True
            self.n["last_words"] += 1
        again = flow.state.bits & lib.FTT_F_SYN_AGAIN
        said = lib.ftt_core_output_end(flow.state)
        silent = self.emits and not env.lease
        edit = ffi.new("struct ftt_edit *")
        if flow.state.bits & lib.FTT_F_UNVERIFIED:  # does this one make it whole?
            self._suppressed(flow, arrival, now_ns)
        done = lib.ftt_core_output_done(flow.state)
        verdict = lib.ftt_core_segment_step(flow.state, seg, env, edit)
        if again and not flow.state.bits & lib.FTT_F_SYN_AGAIN:
            self._begin_again(flow, now_ns)
        actions = self._output(flow, arrival, said, edit.actions, now_ns)
        if verdict == lib.FTT_PASS and silent:  # not a word without a lease
            self._drop(arrival, "drop_lease")
        elif verdict == lib.FTT_PASS:
            if self.mode is EngineMode.PAIRED and actions & lib.FTT_ACT_COMMIT:
                flow.output.leaves(flow.state, flow.output.point)
            self._pass_edited(flow, arrival, edit)
        elif verdict == lib.FTT_HOLD:
            self._hold(flow, arrival, now_ns)
        else:
            self._drop_for(arrival, edit.drop)
        if edit.actions & lib.FTT_ACT_RESET:  # a connection of the past
            self._reset_stack(key, seg.ack)
        if done:
            self.retain_release(flow, now_ns)
        self.act(flow, actions, now_ns)

    def _unknown_from_server(self, arrival: Arrival, key: Any, now_ns: int) -> None:
        """The stack speaks for a flow that we do not know."""
        if self.emits:
            if self._world.may_emit(now_ns):
                self._pass(arrival, "pass_unmatched")
            else:
                self._drop(arrival, "drop_lease")
            return
        self._silence(arrival, key)

    def _silence(self, arrival: Arrival, key: Any) -> None:
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
        flow.difference_told = False
        self.n["flows_opened"] += 1

    # ---- output retained for a takeover

    def _retain_output(self, flow: Flow, arrival: Arrival) -> None:
        """Backup: keep what the client does not have, and what is not compared yet."""
        seg, state = arrival.seg, flow.state
        if (
            seg.len
            and arrival.whole
            and (state.protection == Protection.PROTECTED or state.bits & lib.FTT_F_UNVERIFIED)
            and not seg.flags & lib.TCP_RST
            and self._settings.max_retained
        ):
            seq, start = (seg.seq - state.hard.delta) & 0xFFFFFFFF, arrival.pkt.payload
            payload = arrival.data[start : start + seg.len]
            self.n["retained"] += bool(flow.retained.add(flow.output.needed(state), seq, payload))

    def _retain_acked(self, flow: Flow, seg: Any | None, now_ns: int) -> None:
        """Drop what the client has; after a takeover send more."""
        kept = flow.retained
        gone = kept.ack(flow.output.needed(flow.state))
        if seg and kept.state.window:
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
        more = lib.ftt_core_retained_tick(flow.retained.state, flow.state, now_ns)
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

    def _output(self, flow: Flow, arrival: Arrival, said: int, actions: int, now_ns: int) -> int:
        """What our server says is counted, summed, compared and retained; returns what is left to be done."""
        seg, state, output = arrival.seg, flow.state, flow.output
        summed = state.bits & lib.FTT_F_SUMS
        if seg.len:
            flow.bytes_out += (lib.ftt_core_output_end(state) - said) & 0xFFFFFFFF
        if summed and self.mode is EngineMode.PAIRED and state.protection == Protection.PROTECTED:
            output.add(state, self._fresh(flow, arrival))
            return actions
        if self.mode is EngineMode.BACKUP:
            return actions | self._suppressed(flow, arrival, now_ns)
        kept, seq = flow.retained, (seg.seq - state.hard.delta) & 0xFFFFFFFF
        if seg.len and lib.ftt_core_retained_superseded(kept.state, seq, now_ns):
            kept.stop()
        return actions

    def _suppressed(self, flow: Flow, arrival: Arrival, now_ns: int) -> int:
        """The backup, and after a takeover whoever has not come as far as the old primary's server had."""
        state, output = flow.state, flow.output
        new = self._fresh(flow, arrival)
        judged = output.directly(state, new)
        self._retain_output(flow, arrival)
        if self.mode is not EngineMode.BACKUP and not output.is_kept(state, flow.retained):
            state.bits |= lib.FTT_F_DIFFERS  # no room: it cannot be vouched for
        if new and state.bits & lib.FTT_F_SUMS:
            judged += output.without_room(state, new, flow.retained)
        return self._judged(flow, judged)

    def _fresh(self, flow: Flow, arrival: Arrival) -> bytes:
        seg, state = arrival.seg, flow.state
        if not seg.len or seg.flags & (lib.TCP_SYN | lib.TCP_RST) or not state.bits & lib.FTT_F_MAPPED:
            return b""
        offset = (seg.seq - state.hard.delta - state.hard.service_iss - 1) & 0xFFFFFFFF
        start = arrival.pkt.payload
        return flow.output.fresh(offset, arrival.data[start : start + seg.len], seg.len, self.n)

    def _judged(self, flow: Flow, judged: list[int]) -> int:
        """Count what comparing came to; returns what is to be done."""
        different = judged.count(lib.FTT_DIFFERENT)
        self.n["compared_blocks"] += len(judged)
        self.n["divergences"] += different
        flow.divergences += different
        if not judged or self.mode is not EngineMode.BACKUP:
            return 0
        equal = all(one == lib.FTT_EQUAL for one in judged)
        return int(lib.FTT_ACT_COMMIT_LATER if equal else lib.FTT_ACT_COMMIT)

    def output_record(self, flow: Flow, record: Any, now_ns: int) -> int:
        """Backup: take the primary's sum from an OUTPUT; returns what is to be done."""
        judged = flow.output.told(flow.state, record, flow.retained, self.n)
        self._retain_acked(flow, None, now_ns)
        return self._judged(flow, judged)

    def compare_commit(self, flow: Flow, record: Any, now_ns: int) -> None:
        """Primary: take what a COMMIT tells of differences, before it is taken into the flow."""
        state = flow.state
        more = (record.differences - flow.divergences) & 0xFFFFFFFF
        protected = state.protection == Protection.PROTECTED
        if not state.bits & lib.FTT_F_SUMS or not protected or more >= 1 << 30:
            return
        if record.flags & lib.FTT_REC_OFFER and not flow.output.broken:
            waiting = [held.point for held in flow.held]
            flow.output.offered(state, (record.point, record.crc), waiting)
        self.n["divergences"] += more
        flow.divergences += more
        differed = more or state.bits & lib.FTT_F_DIFFERS
        if differed and not record.flags & lib.FTT_REC_DIFFERS and not flow.difference_told:
            flow.difference_told = True  # of each flow's the first is news
            self._post_difference(flow, Reason.NONE)
        if more and self._settings.detach_divergent:
            self.act(flow, lib.ftt_core_flow_detach(state, Reason.DIVERGENCE, now_ns), now_ns)
