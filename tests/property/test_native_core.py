"""Properties of the C core's bytes: parsing, editing, records of the commit channel, replay window."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fttcp._native import ffi, lib
from tests.property.packets import (
    FLAGS,
    U16,
    U32,
    at_the_edge,
    datagram,
    layers,
    options,
    parse,
    segment,
    sum_is_right,
)

FAMILIES = st.sampled_from((4, 6))
U8 = st.integers(0, 255)
U64 = st.integers(0, 2**64 - 1)
SEGMENTS = st.builds(
    segment,
    FAMILIES,
    st.binary(max_size=41),
    seq=U32,
    ack=U32,
    window=U16,
    flags=FLAGS,
    urgptr=U16,
    options=options(),
)
OPTION_BYTES = (
    st.lists(
        st.one_of(
            st.just(b"\1"),
            st.tuples(st.sampled_from((2, 3, 4, 5, 8, 19, 29)), st.sampled_from((0, 1, 2, 3, 4, 10, 18))).map(
                bytes
            ),
            st.binary(max_size=8),
        ),
        max_size=20,
    )
    .map(lambda pieces: b"".join(pieces)[:40])
    .map(lambda raw: raw[: len(raw) // 4 * 4])
)
PACKETS = st.one_of(
    st.binary(max_size=120),
    SEGMENTS,
    st.builds(datagram, FAMILIES, st.binary(max_size=20)),
    st.tuples(SEGMENTS, st.lists(st.tuples(st.integers(0, 120), U8), max_size=6)).map(
        lambda both: damaged(*both)
    ),
)
EDITS = {
    "seq": lib.FTT_EDIT_SEQ, "ack": lib.FTT_EDIT_ACK, "tsval": lib.FTT_EDIT_TSVAL,
    "tsecr": lib.FTT_EDIT_TSECR, "sack_add": lib.FTT_EDIT_SACK, "wnd": lib.FTT_EDIT_WND,
}  # fmt: skip
RECORDS = (
    lib.FTT_REC_OPEN, lib.FTT_REC_OPENED, lib.FTT_REC_REFUSED, lib.FTT_REC_COMMIT, lib.FTT_REC_PROBE,
    lib.FTT_REC_DETACH, lib.FTT_REC_DETACHED, lib.FTT_REC_CLOSE, lib.FTT_REC_OUTPUT, lib.FTT_REC_EVENT,
    lib.FTT_REC_EVENT_ACK, lib.FTT_REC_SENT,
)  # fmt: skip
CARRIED: dict[int, dict[str, st.SearchStrategy[int]]] = {
    lib.FTT_REC_OPEN: {
        "service_iss": U32, "tsval": U32, "age_ms": U32, "wscale": st.integers(0, 14), "tries": U8,
    },
    lib.FTT_REC_OPENED: {"rcv_nxt": U32, "edge": U32},
    lib.FTT_REC_COMMIT: {
        "rcv_nxt": U32, "edge": U32, "snd_nxt": U32, "hole_end": U32, "verified": U32, "differences": U32,
        "point": U32, "crc": U32,
    },
    lib.FTT_REC_PROBE: {"client_acked": U32, "client_wnd": U16},
    lib.FTT_REC_OUTPUT: {"snd_nxt": U32, "point": U32, "crc": U32},
    lib.FTT_REC_EVENT: {"number": U32, "outputs": U32, "port": U16},
    lib.FTT_REC_EVENT_ACK: {"number": U32, "outputs": U32},
    lib.FTT_REC_SENT: {"number": U32, "crc": U32},
}  # fmt: skip
"""What a record of each type carries besides its key; fields of other types do not travel."""
for one in set(RECORDS) - {lib.FTT_REC_OPEN, lib.FTT_REC_CLOSE, lib.FTT_REC_OUTPUT}:
    CARRIED[one] = CARRIED.get(one, {}) | {"attempt": U8}


def damaged(packet: bytes, changes: list[tuple[int, int]]) -> bytes:
    """The packet with some bytes replaced."""
    data = bytearray(packet)
    for at, value in changes:
        data[at % len(data)] = value
    return bytes(data)


# ---- parse


@given(PACKETS, st.integers(0, 140), st.integers(0, 2000))
def test_parse_reads_what_is_there_and_says_what_it_is(packet: bytes, cap: int, more: int) -> None:
    """Whatever the bytes are, and wherever they are cut: nothing behind them is read, and all that is
    promised of a TCP segment or a datagram lies within them."""
    shown = packet[:cap]
    length = len(packet) + (more if cap < len(packet) else 0)
    pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
    with at_the_edge() as put:
        kind = lib.ftt_core_parse(put(shown), len(shown), length, pkt, seg)
        assert lib.ftt_core_length(put(shown), len(shown)) <= 40 + 0xFFFF
    assert kind in range(lib.FTT_PARSED_TRUNCATED + 1)
    if kind in (lib.FTT_PARSED_TCP, lib.FTT_PARSED_UDP):
        assert pkt.l4 < pkt.payload <= len(shown)
        assert pkt.payload + pkt.payload_len <= pkt.l4 + pkt.l4_len <= length
    if kind == lib.FTT_PARSED_TCP:
        assert seg.len == pkt.payload_len
        for at, size in ((pkt.ts_at, 8), (pkt.sack_at, 8 * pkt.sack_blocks)):
            assert at == 0 or pkt.l4 + 20 < at <= pkt.payload - size


@given(SEGMENTS)
def test_parse_reads_a_segment_as_others_do(packet: bytes) -> None:
    kind, pkt, seg = parse(packet)
    _, tcp = layers(packet)
    assert kind == lib.FTT_PARSED_TCP and lib.ftt_core_length(packet, len(packet)) == len(packet)
    assert (seg.seq, seg.ack, seg.wnd, seg.len) == (tcp.seq, tcp.ack, tcp.window, len(tcp.payload))
    assert seg.flags == int(tcp.flags)
    assert (pkt.sport, pkt.dport) == (tcp.sport, tcp.dport)
    told = dict(tcp.options)
    assert bool(seg.options & lib.FTT_OPT_TS) == ("Timestamp" in told)
    assert not seg.options & lib.FTT_OPT_TS or (seg.tsval, seg.tsecr) == told["Timestamp"]
    assert pkt.sack_blocks == len(told.get("SAck", ())) // 2
    assert lib.ftt_core_sum_ok(packet, pkt)


@given(FAMILIES, OPTION_BYTES, st.binary(max_size=20))
def test_options_end_with_their_header(family: int, raw: bytes, payload: bytes) -> None:
    """Whatever the lengths in them say: the payload is not read as options."""
    packet = segment(family, raw + payload, dataofs=5 + len(raw) // 4, flags="SA")
    kind, pkt, seg = parse(packet)
    assert kind == lib.FTT_PARSED_TCP and seg.len == len(payload)
    assert pkt.ts_at == 0 or pkt.ts_at + 8 <= pkt.payload
    assert pkt.sack_at == 0 or pkt.sack_at + 8 * pkt.sack_blocks <= pkt.payload
    _, _, other = parse(segment(family, raw + bytes(len(payload)), dataofs=5 + len(raw) // 4, flags="SA"))
    assert bytes(ffi.buffer(seg)) == bytes(ffi.buffer(other))


# ---- edits


@given(
    SEGMENTS, st.sets(st.sampled_from(sorted(EDITS))), st.lists(U32, min_size=6, max_size=6), st.booleans()
)
def test_an_edit_changes_what_it_says_and_the_checksum_is_right(
    packet: bytes, wanted: set[str], numbers: list[int], ready: bool
) -> None:
    """With a checksum that is complete, and with one that hardware was to complete."""
    _, pkt, _ = parse(packet)
    before = layers(packet)[1]
    told = dict(before.options)
    if "Timestamp" not in told:
        wanted -= {"tsval", "tsecr"}
    if "SAck" not in told:
        wanted -= {"sack_add"}
    edit = ffi.new("struct ftt_edit *")
    values = dict(zip(sorted(EDITS), numbers, strict=True))
    values["wnd"] &= 0xFFFF
    for name in wanted:
        edit.change |= EDITS[name]
        setattr(edit, name, values[name])
    data = bytearray(packet)
    if not ready:
        data[pkt.l4 + 16 : pkt.l4 + 18] = b"\x12\x34"
    lib.ftt_core_apply(ffi.from_buffer("uint8_t[]", data), pkt, edit, ready)
    after = layers(bytes(data))[1]
    assert sum_is_right(bytes(data)) and lib.ftt_core_sum_ok(bytes(data), pkt)
    assert after.seq == (values["seq"] if "seq" in wanted else before.seq)
    assert after.ack == (values["ack"] if "ack" in wanted else before.ack)
    assert after.window == (values["wnd"] if "wnd" in wanted else before.window)
    assert dict(after.options) == told | edited_options(told, wanted, values)
    assert bytes(after.payload) == bytes(before.payload) and after.flags == before.flags
    assert data[: pkt.l4 + 4] == packet[: pkt.l4 + 4]


def edited_options(told: dict[str, Any], wanted: set[str], values: dict[str, int]) -> dict[str, Any]:
    """What the options that the edit is about must be afterwards."""
    changed: dict[str, Any] = {}
    if "Timestamp" in told:
        tsval, tsecr = told["Timestamp"]
        changed["Timestamp"] = (
            values["tsval"] if "tsval" in wanted else tsval,
            values["tsecr"] if "tsecr" in wanted else tsecr,
        )
    if "sack_add" in wanted:
        changed["SAck"] = tuple((edge + values["sack_add"]) % 2**32 for edge in told["SAck"])
    return changed


# ---- records


@st.composite
def records(draw: st.DrawFn) -> tuple[Any, bytes]:
    """A struct ftt_record of any type, and the data that it points to (which must be kept alive)."""
    record = ffi.new("struct ftt_record *")
    record.type = draw(st.sampled_from(RECORDS))
    family = draw(FAMILIES)
    for end in ("remote", "local"):
        address = (
            draw(st.binary(min_size=4, max_size=4))
            if family == 4
            else draw(st.binary(min_size=16, max_size=16))
        )
        full = b"\0" * 10 + b"\xff\xff" + address if family == 4 else b"\xfd" + address[1:]
        ffi.buffer(getattr(record.key, end))[:] = full
    record.key.remote_port, record.key.local_port = draw(U16), draw(U16)
    record.key.proto = draw(st.sampled_from((6, 17)))
    record.irs, record.flags = draw(U32), draw(U8)
    for name, values in CARRIED.get(record.type, {}).items():
        setattr(record, name, draw(values))
    data = b""
    if record.type == lib.FTT_REC_OPEN:
        data = draw(st.binary(max_size=lib.FTT_SYN_MAX))
    elif record.type == lib.FTT_REC_EVENT:
        data = draw(st.binary(max_size=200))
        record.total = draw(st.integers(len(data), 65507 if family == 4 else 65527))
        record.offset = draw(st.integers(0, record.total - len(data)))
    return record, data


def written(record: Any, data: bytes, room: int = 1024) -> bytes:
    """The record as it travels; empty when there is not room enough."""
    held = ffi.from_buffer("uint8_t[]", data)
    record.data, record.data_len = held, len(data)
    out = ffi.new("uint8_t[]", 1024)
    return bytes(ffi.buffer(out, lib.ftt_core_record_put(out, room, record)))


def fields(record: Any) -> dict[str, Any]:
    """What a record says, as plain data."""
    names = {"irs", "type", "flags", "total", "offset"}
    names |= {name for values in CARRIED.values() for name in values}
    told = {name: getattr(record, name) for name in names}
    data = bytes(ffi.buffer(record.data, record.data_len)) if record.data_len else b""
    return told | {"key": bytes(ffi.buffer(ffi.addressof(record, "key"))), "data": data}


@given(records(), st.binary(max_size=8))
def test_a_record_survives_the_wire(made: tuple[Any, bytes], behind: bytes) -> None:
    """Whatever follows it; and no part of it alone is taken for a record."""
    record, data = made
    wire = written(record, data)
    assert wire
    got = ffi.new("struct ftt_record *")
    with at_the_edge() as put:
        at = put(wire + behind)
        assert lib.ftt_core_record_get(at, len(wire + behind), got) == len(wire)
        assert fields(got) == fields(record)
        for cut in range(len(wire)):
            assert lib.ftt_core_record_get(put(wire[:cut]), cut, got) == 0
    assert written(record, data, len(wire) - 1) == b""


@given(records())
def test_an_address_has_one_spelling(made: tuple[Any, bytes]) -> None:
    """An IPv4 address in a record of the other family names no flow."""
    wire = bytearray(written(*made))
    got = ffi.new("struct ftt_record *")
    if wire[4] == 6:
        wire[10:22] = b"\0" * 10 + b"\xff\xff"
        assert lib.ftt_core_record_get(bytes(wire), len(wire), got) == 0


@cache
def can_be_written(kind: int) -> bool:
    """True if this release knows records of the type."""
    record = ffi.new("struct ftt_record *", {"type": kind})
    return written(record, b"") != b""


@given(
    st.one_of(
        st.binary(max_size=120),
        st.tuples(records(), st.lists(st.tuples(st.integers(0, 120), U8), max_size=3)).map(
            lambda both: damaged(written(*both[0]), both[1])
        ),
    )
)
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    """What is taken has one spelling: written again it is the same bytes. Of a type that another release has
    made only the head is taken, and nothing is written."""
    got = ffi.new("struct ftt_record *")
    with at_the_edge() as put:
        length = lib.ftt_core_record_get(put(data), len(data), got)
        assert length <= len(data)
        if length and not can_be_written(data[0]):
            assert got.type == data[0] and not got.data_len
            assert written(got, b"", length) == b""
        elif length:
            payload = bytes(ffi.buffer(got.data, got.data_len)) if got.data_len else b""
            assert written(got, payload, length) == data[:length]


COUNTERS = st.one_of(
    U64, st.integers(0, 3), st.integers(2**40, 2**40 + 130), st.integers(2**64 - 70, 2**64 - 1)
)


@given(st.lists(COUNTERS, max_size=80))
def test_a_counter_is_accepted_once(counters: list[int]) -> None:
    """And everything that is new and not 64 behind the highest is accepted."""
    window, seen, top = ffi.new("struct ftt_replay *"), set[int](), 0
    for counter in counters:
        new = counter > 0 and counter not in seen and counter + 64 > top
        assert lib.ftt_core_replay_accept(window, counter) == new
        if new:
            seen.add(counter)
            top = max(top, counter)
