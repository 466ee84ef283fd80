"""What the programmable engine shows: rows for `fttcp connections`, packets for experiments, UDP sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import Protection, Reason
from fttcp.planes.experiment import Direction, Flags, FlowView, Packet, Segment
from fttcp.planes.flow import Flow
from fttcp.planes.nfqueue import key_of

_STATE_FIELDS = ("client_acked", "local_snd_nxt", "local_rcv_nxt", "committed", "peer_snd_nxt")


@dataclass(slots=True)
class UdpSession:
    """One client address and port that was heard; never protected."""

    key: Any
    created_ns: int
    last_ns: int
    bytes_in: int = 0
    bytes_out: int = 0


class UdpSessions:
    """UDP sessions, for the record only; bounded, the longest silent one makes room."""

    def __init__(self, limit: int, idle_ns: int) -> None:
        self._limit, self.idle_ns = limit, idle_ns
        self._sessions: dict[bytes, UdpSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[UdpSession]:
        return iter(self._sessions.values())

    def clear(self) -> None:
        """Forget all."""
        self._sessions.clear()

    def note(self, pkt: Any, from_client: bool, now_ns: int) -> None:
        """A datagram passed."""
        key = ffi.new("struct ftt_key *")
        lib.ftt_core_key(pkt, from_client, key)
        key.service_port = 0  # a server may answer from a port of its own
        name = bytes(ffi.buffer(key))
        session = self._sessions.pop(name, None) or UdpSession(key, now_ns, now_ns)
        if len(self._sessions) >= self._limit:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[name] = session  # the latest are at the end
        session.last_ns = now_ns
        session.bytes_in += pkt.payload_len if from_client else 0
        session.bytes_out += 0 if from_client else pkt.payload_len

    def sweep(self, now_ns: int) -> None:
        """Forget those that are silent for too long."""
        while self._sessions:
            name, oldest = next(iter(self._sessions.items()))
            if now_ns - oldest.last_ns <= self.idle_ns:
                return
            del self._sessions[name]


def tcp_info(flow: Flow, continues: bool, now_ns: int) -> Any:
    """Return a struct ftt_flow_info of a TCP flow."""
    info, state = ffi.new("struct ftt_flow_info *"), flow.state
    info.key, info.protection, info.reason = flow.key[0], state.protection, state.reason
    info.delta, info.ts_delta = state.hard.delta, state.hard.ts_delta
    for name in _STATE_FIELDS:
        setattr(info, name, getattr(state, name))
    info.held, info.divergences, info.closed = len(flow.held), flow.divergences, flow.closed
    info.continues = continues
    if state.bits & lib.FTT_F_SUMS:
        info.verified = flow.bytes_out - ((lib.ftt_core_output_end(state) - state.verified) & 0xFFFFFFFF)
    info.bytes_in, info.bytes_out = flow.bytes_in, flow.bytes_out
    info.age_ns, info.idle_ns = now_ns - flow.created_ns, now_ns - state.last_ns
    return info


def udp_info(session: UdpSession, now_ns: int) -> Any:
    """Return a struct ftt_flow_info of a UDP session."""
    info = ffi.new("struct ftt_flow_info *")
    info.key, info.protection, info.reason = session.key[0], Protection.UNPROTECTED, Reason.UNSUPPORTED
    info.bytes_in, info.bytes_out = session.bytes_in, session.bytes_out
    info.age_ns, info.idle_ns = now_ns - session.created_ns, now_ns - session.last_ns
    return info


def view(flow: Flow, now_ns: int) -> FlowView:
    """Return what an experiment is shown of a flow."""
    state = flow.state
    return FlowView(
        Protection(state.protection),
        state.hard.delta,
        state.client_acked,
        state.local_snd_nxt,
        state.local_rcv_nxt,
        state.committed,
        len(flow.held),
        now_ns - flow.created_ns,
    )


def segment(seg: Any) -> Segment:
    """Return a struct ftt_seg as an experiment is shown it."""
    stamps = (seg.tsval, seg.tsecr) if seg.options & lib.FTT_OPT_TS else (None, None)
    return Segment(seg.seq, seg.ack, seg.len, seg.wnd, Flags(seg.flags), *stamps)


def packet(
    number: int, now_ns: int, direction: Direction, mode: EngineMode, data: bytes,
    kind: int, key: Any, seg: Any, flow: Flow | None,
) -> Packet:  # fmt: skip
    """Return a packet as an experiment is shown it; ``kind`` is what parsing it said."""
    tcp = kind == lib.FTT_PARSED_TCP
    return Packet(
        number,
        now_ns,
        direction,
        mode,
        data,
        key_of(key) if tcp or kind == lib.FTT_PARSED_UDP else None,
        segment(seg) if tcp else None,
        view(flow, now_ns) if flow is not None else None,
    )
