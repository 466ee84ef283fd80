"""What the programmable engine shows to experiments: packets, segments, flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import Protection
from fttcp.planes.experiment import Direction, Flags, FlowView, Packet, Record, RecordType, Segment
from fttcp.planes.nfqueue import key_of

_NUMBERS: dict[int, tuple[str, ...]] = {
    RecordType.OPEN: ("service_iss",),
    RecordType.OPENED: ("rcv_nxt", "edge"),
    RecordType.COMMIT: ("rcv_nxt", "edge", "snd_nxt", "verified"),
    RecordType.PROBE: ("client_acked",),
    RecordType.OUTPUT: ("snd_nxt", "point"),
    RecordType.EVENT: ("number",),
    RecordType.EVENT_ACK: ("number",),
    RecordType.SENT: ("number",),
}
"""What records tell, of struct ftt_record; of others nothing but their flow."""


def parse(data: bytes) -> tuple[int, Any, Any]:
    """Return what kind of packet it is (enum ftt_parsed), its struct ftt_pkt and struct ftt_seg."""
    pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
    kind = lib.ftt_core_parse(ffi.from_buffer("uint8_t[]", data), len(data), len(data), pkt, seg)
    return kind, pkt, seg


def packet(
    number: int, now_ns: int, direction: Direction, mode: EngineMode, data: bytes,
    flow_info: Callable[[Any], Any | None],
) -> Packet:  # fmt: skip
    """Return a packet as an experiment is shown it; ``flow_info`` looks a struct ftt_key up."""
    kind, pkt, seg = parse(data)
    tcp = kind == lib.FTT_PARSED_TCP
    key = ffi.new("struct ftt_key *")
    if tcp or kind == lib.FTT_PARSED_UDP:
        lib.ftt_core_key(pkt, direction is Direction.FROM_CLIENT, key)
    info = flow_info(key) if tcp else None
    return Packet(
        number,
        now_ns,
        direction,
        mode,
        data,
        key_of(key) if key.proto else None,
        _segment(seg) if tcp else None,
        _view(info) if info is not None else None,
    )


def _segment(seg: Any) -> Segment:
    stamps = (seg.tsval, seg.tsecr) if seg.options & lib.FTT_OPT_TS else (None, None)
    return Segment(seg.seq, seg.ack, seg.len, seg.wnd, Flags(seg.flags), *stamps)


def _view(info: Any) -> FlowView:
    return FlowView(
        Protection(info.protection),
        info.delta,
        info.client_acked,
        info.local_snd_nxt,
        info.local_rcv_nxt,
        info.committed,
        info.peer_snd_nxt,
        info.held,
        info.age_ns,
    )


def record(number: int, now_ns: int, mode: EngineMode, heard: bool, data: bytes) -> Record:
    """Return a record as an experiment is shown it."""
    found = ffi.new("struct ftt_record *")
    lib.ftt_core_record_get(ffi.from_buffer("uint8_t[]", data), len(data), found)
    kind = RecordType(found.type) if found.type in set(RecordType) else int(found.type)
    numbers = {name: int(getattr(found, name)) for name in _NUMBERS.get(kind, ())}
    return Record(number, now_ns, mode, heard, kind, key_of(found.key), numbers, data)
