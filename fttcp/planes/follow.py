"""What the other node says, what time does, and changes of role, for the flows of the programmable engine."""

from __future__ import annotations

from typing import Any

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import Protection
from fttcp.planes.flow import Flow
from fttcp.planes.tcpflows import TcpFlows

LINGER_NS = 60_000_000_000
"""A flow that ended is remembered as long as Linux's TIME-WAIT."""
SYN_LINGER_NS = 120_000_000_000
DETACHED_NS = 3_600_000_000_000
"""A backup's memory of a flow that it let go."""
ESTABLISHED_NS = 432_000_000_000_000
"""5 days, as nf_conntrack: the client may still come back."""

_CLOSING = lib.FTT_F_CLIENT_FIN | lib.FTT_F_LOCAL_FIN | lib.FTT_F_CLIENT_RST | lib.FTT_F_LOCAL_RST
_UDP = 17


class PairFlows(TcpFlows):
    """The flows of one node of a pair."""

    # ---- records of the other node

    def record(self, record: Any, now_ns: int) -> None:
        """Take a struct ftt_record of the other node."""
        if record.key.proto == _UDP:
            self._udp_record(record)
            return
        flow = self.flows.get(bytes(ffi.buffer(ffi.addressof(record, "key"))))
        begins = record.type == lib.FTT_REC_OPEN
        if flow is not None and (flow.state.hard.irs != record.irs or (begins and self._is_past(flow))):
            flow = None  # another connection with the same addresses and ports
        if self.mode is EngineMode.BACKUP:
            self._backup_record(record, flow, now_ns)
        elif self.mode is not EngineMode.PAIRED or flow is None:
            self.n["channel_stale"] += 1
        else:
            self.n["commits_received"] += record.type == lib.FTT_REC_COMMIT
            if record.type == lib.FTT_REC_COMMIT:
                self.compare_commit(flow, record, now_ns)
            self.act(flow, lib.ftt_core_primary_record(flow.state, record, self.env(now_ns)), now_ns)

    @staticmethod
    def _is_past(flow: Flow) -> bool:
        """One that has been, and is over: an OPEN is not about it."""
        return flow.closed and bool(flow.state.bits & lib.FTT_F_ESTABLISHED)

    def _udp_record(self, record: Any) -> None:
        """This engine follows no UDP session, and says so, that the primary need not wait for it."""
        if self.mode is EngineMode.BACKUP and record.type in (lib.FTT_REC_EVENT, lib.FTT_REC_DETACH):
            self._answer_detached(record)
        else:
            self.n["channel_stale"] += 1

    def _answer_detached(self, record: Any) -> None:
        answer = ffi.new("struct ftt_record *")
        answer.type, answer.key, answer.irs = lib.FTT_REC_DETACHED, record.key, record.irs
        self._world.put_record(answer)

    def _backup_record(self, record: Any, flow: Flow | None, now_ns: int) -> None:
        match record.type:
            case lib.FTT_REC_OPEN if flow is not None and flow.state.protection == Protection.DETACHED:
                self._answer_detached(record)  # an OPEN that was overtaken
            case lib.FTT_REC_OPEN:
                if flow is not None:
                    self.act(flow, lib.ftt_core_backup_open(flow.state, record, self.env(now_ns)), now_ns)
                if flow is None or not flow.state.bits & lib.FTT_F_SYNACK:
                    self._inject_syn(flow, record, now_ns)
            case lib.FTT_REC_PROBE if (
                flow is not None
                and flow.state.bits & lib.FTT_F_MAPPED
                and flow.state.protection != Protection.DETACHED
            ):
                self._probed(flow, record, now_ns)
            case lib.FTT_REC_PROBE:  # not held, and never will be: the primary must not wait in vain
                self._answer_detached(record)
            case lib.FTT_REC_OUTPUT:
                if flow is not None and flow.state.bits & lib.FTT_F_MAPPED:
                    actions = lib.ftt_core_backup_output(flow.state, record)
                    actions |= self.output_record(flow, record, now_ns)
                    self.act(flow, actions, now_ns)
            case lib.FTT_REC_DISCARD:
                if flow is not None and flow.state.bits & lib.FTT_F_MAPPED:
                    self.act(flow, lib.ftt_core_backup_discard(flow.state, record), now_ns)
            case lib.FTT_REC_DETACH:
                self._answer_detached(record)
                if flow is not None and flow.state.protection != Protection.DETACHED:
                    self.let_go(flow)
                    self._settle(flow)
            case lib.FTT_REC_CLOSE:
                if flow is not None:
                    self.aborted(flow, record, now_ns)
            case _:
                self.n["channel_malformed"] += 1

    def _probed(self, flow: Flow, record: Any, now_ns: int) -> None:
        state, delivered = flow.state, flow.state.delivered_ack
        lib.ftt_core_output_settle(state, flow.output.seen, now_ns)  # the COMMIT tells
        actions = lib.ftt_core_backup_probe(state, record, flow.retained.state)
        self.n["acked_ahead"] += state.delivered_ack != delivered
        self.act(flow, actions, now_ns)

    def _inject_syn(self, flow: Flow | None, record: Any, now_ns: int) -> None:
        """The primary told of a flow whose SYN we have not seen (the mirror lost it, or it is under way), or
        that our stack has not answered (it met a connection of the past)."""
        if record.attempt < 2 or not record.data_len:
            return
        syn = bytes(ffi.buffer(record.data, record.data_len))
        pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
        kind = lib.ftt_core_parse(ffi.from_buffer("uint8_t[]", syn), len(syn), len(syn), pkt, seg)
        is_syn = seg.flags & (lib.TCP_SYN | lib.TCP_ACK) == lib.TCP_SYN
        if kind != lib.FTT_PARSED_TCP or not is_syn or seg.seq != record.irs:
            return
        key, name, _ = self.find(pkt, True)
        if name != bytes(ffi.buffer(ffi.addressof(record, "key"))):
            return
        known = self.flows.get(name)
        if known is not None and known.state.protection == Protection.DETACHED:  # an earlier one, let go
            self.forget(known, False)
        flow = flow or self.flows.get(name) or self.admit(key, name, record.irs, now_ns)
        if flow is None:
            return
        seg.dir = lib.FTT_FROM_CLIENT
        lib.ftt_core_segment_step(flow.state, seg, self.env(now_ns), self._edit)
        flow.syn = syn
        self._world.emit(syn, False)
        self.n["injected"] += 1

    # ---- time

    def tick(self, now_ns: int) -> None:
        """Let time do what it does; without a lease nothing is decided on a primary."""
        if self.mode is not EngineMode.BACKUP and not self._world.may_emit(now_ns):
            return
        gone = bool(self.waiting) and self._world.server_gone(now_ns)
        for flow in list(self.waiting):
            if flow.state.protection == Protection.RESETTING:
                self.act(flow, lib.ftt_core_reset_tick(flow.state, self.env(now_ns)), now_ns)
                continue
            if lib.ftt_core_flow_hopeless(flow.state, self.env(now_ns)):
                self._end_unverified(flow, now_ns)
                continue
            if self.mode is EngineMode.PAIRED and not gone:  # who has died gives no flow up
                actions = lib.ftt_core_flow_tick(flow.state, self.env(now_ns))
                self.act(flow, actions, now_ns)
            self.retain_tick(flow, now_ns)
            self.act(flow, lib.FTT_ACT_RELEASE if flow.held else 0, now_ns)

    def sweep(self, now_ns: int) -> None:
        """Forget flows that ended, never began, or are silent for too long."""
        for flow in list(self.flows.values()):
            if now_ns - flow.state.last_ns > self._patience_ns(flow) and not flow.held:
                self.n["flows_expired"] += 1
                self.forget(flow, False)

    def _patience_ns(self, flow: Flow) -> int:
        if flow.closed:
            return LINGER_NS
        if self.is_over(flow) and flow.state.bits & lib.FTT_F_CLIENT_RST:
            return LINGER_NS
        if self.is_over(flow):
            return DETACHED_NS
        if not flow.state.bits & lib.FTT_F_ESTABLISHED:
            return SYN_LINGER_NS
        return self._settings.idle_timeout_ns if flow.state.bits & _CLOSING else ESTABLISHED_NS

    # ---- roles

    def role(self, mode: EngineMode, session: int, now_ns: int) -> int:
        """Become what the role says; returns the number of flows taken over."""
        old, same = self.mode, session == self.session
        self.mode, self.session = mode, session
        if mode is EngineMode.IDLE or (mode is EngineMode.BACKUP and not (old is EngineMode.BACKUP and same)):
            for flow in list(self.flows.values()):
                self.forget(flow, True)
        elif old is EngineMode.BACKUP and self.emits:
            return self._take_over(now_ns)
        elif old is EngineMode.PAIRED and (mode is EngineMode.SOLO or not same):
            for flow in list(self.flows.values()):
                self.act(flow, lib.ftt_core_flow_solo(flow.state), now_ns)
        return 0

    def _take_over(self, now_ns: int) -> int:
        kicked = 0
        for flow in list(self.flows.values()):
            if flow.state.protection == Protection.DETACHED:
                self.reset_client(flow, now_ns)
                continue
            if flow.closed:
                actions = lib.ftt_core_closed_takeover(flow.state, self.env(now_ns))
                kicked += bool(actions)
                self.act(flow, actions, now_ns)
                continue
            lib.ftt_core_output_settle(flow.state, flow.output.seen, now_ns)
            if not self._continues(flow):
                self._end_unverified(flow, now_ns)
                continue
            actions = lib.ftt_core_flow_takeover(flow.state, self.env(now_ns))
            kicked += bool(actions)
            if not flow.state.bits & lib.FTT_F_UNVERIFIED:
                self.retain_release(flow, now_ns)
            self.syn_again(flow)
            self.act(flow, actions, now_ns)
            if flow.held:  # what waited for our server does not any more
                self.act(flow, lib.FTT_ACT_RELEASE, now_ns)
        self.n["kicked"] += kicked
        return kicked

    def _continues(self, flow: Flow) -> bool:
        """True if all that the client may have of the old primary is what our server has said, too."""
        return self._goes_on(flow, bool(lib.ftt_core_output_continues(flow.state)))

    def _goes_on(self, flow: Flow, same: bool) -> bool:
        if self._settings.continue_unverified or not flow.state.bits & lib.FTT_F_ESTABLISHED:
            return True
        return same and not (self._settings.detach_divergent and flow.divergences)

    def continues(self, flow: Flow, now_ns: int) -> bool:
        """Would a takeover at this moment go on with it? A backup decides so; a primary knows as much as it
        has been told."""
        if flow.state.protection not in (Protection.NEW, Protection.OPENING, Protection.PROTECTED):
            return False
        if self.mode is not EngineMode.BACKUP:
            return self._goes_on(flow, bool(lib.ftt_core_output_covered(flow.state)))
        state = ffi.new("struct ftt_flow *", flow.state[0])
        lib.ftt_core_output_settle(state, flow.output.seen, now_ns)
        return self._goes_on(flow, bool(lib.ftt_core_output_continues(state)))

    def _end_unverified(self, flow: Flow, now_ns: int) -> None:
        self.n["unverified_resets"] += 1
        self.reset_client(flow, now_ns)
