"""The programmable engine without a kernel: experiments, UDP, what is no flow's, and the commit channel."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

import pytest

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import EngineError
from fttcp.planes.commit import Channel
from fttcp.planes.experiment import (
    Action,
    Callback,
    Delay,
    Direction,
    Drop,
    Flags,
    Modify,
    Packet,
    Pass,
    load_callback,
)
from fttcp.planes.follow import PairFlows
from fttcp.planes.intake import Intake
from fttcp.planes.queues import check_mtu
from tests.replay import ROOT, Recorder, Verdict, peer, settings

CLIENT, SERVICE = socket.inet_aton("10.77.0.10"), socket.inet_aton("10.77.0.100")
IN, OUT = Direction.FROM_CLIENT, Direction.FROM_SERVER


def ip(direction: Direction, proto: int, l4: bytes) -> bytes:
    """Return an IPv4 packet between client and service."""
    ends = (CLIENT + SERVICE) if direction is IN else (SERVICE + CLIENT)
    length = (20 + len(l4)).to_bytes(2, "big")
    return b"\x45\0" + length + b"\0\0\x40\0\x40" + bytes([proto]) + b"\0\0" + ends + l4


def tcp(direction: Direction, flags: int, seq: int, ack: int = 0, payload: bytes = b"") -> bytes:
    """Return a segment between the client's port 5000 and the service's port 80, its checksum right."""
    ports = (5000, 80) if direction is IN else (80, 5000)
    head = b"".join(port.to_bytes(2, "big") for port in ports)
    head += seq.to_bytes(4, "big") + ack.to_bytes(4, "big") + bytes([0x50, flags]) + b"\xff\xff\0\0\0\0"
    data = bytearray(ip(direction, 6, head + payload))
    pkt, seg, raw = (
        ffi.new("struct ftt_pkt *"),
        ffi.new("struct ftt_seg *"),
        ffi.from_buffer("uint8_t[]", data),
    )
    assert lib.ftt_core_parse(raw, len(data), len(data), pkt, seg) == lib.FTT_PARSED_TCP
    lib.ftt_core_apply(raw, pkt, ffi.new("struct ftt_edit *"), False)
    return bytes(data)


def udp(direction: Direction, payload: bytes = b"x") -> bytes:
    """Return a datagram between the client's port 6000 and the service's port 69."""
    ports = (6000, 69) if direction is IN else (69, 6000)
    head = b"".join(number.to_bytes(2, "big") for number in (*ports, 8 + len(payload), 0))
    return ip(direction, 17, head + payload)


class Bench:
    """An intake with surroundings that write down what happens."""

    def __init__(self, callback: Callback | None = None, **changes: Any) -> None:
        self.world, self.n = Recorder(), Counter[str]()
        self.flows = PairFlows(settings(**changes), self.world, self.n)
        self.world.flows = self.flows
        self.intake = Intake(settings(**changes), self.flows, self.world, callback, self.n)
        self.now_ns = 1_000_000_000
        self._number = 0

    def role(self, mode: EngineMode) -> Bench:
        """Take a role."""
        self.flows.role(mode, 1, self.now_ns)
        return self

    def give(self, direction: Direction, data: bytes) -> list[str]:
        """Give a packet; return what was done, verdicts as `accept HEX` and `drop`."""
        self.world.log.clear()
        self.intake.arrived(direction, Verdict(self._number, self.world.log), data, self.now_ns)
        self._number += 1
        return self.done()

    def done(self) -> list[str]:
        """Return what was written down."""
        self.flows.flush()
        return [
            " ".join(line.split()[2:] if line.startswith("verdict") else [line]) for line in self.world.log
        ]

    def handshake(self) -> None:
        """Let a client connect to a solo primary."""
        assert self.give(IN, tcp(IN, Flags.SYN, 100)) == ["accept"]
        assert self.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, 101)) == ["accept"]
        assert self.give(IN, tcp(IN, Flags.ACK, 101, 901)) == ["accept"]


def test_a_solo_primary_passes_a_connection() -> None:
    bench = Bench().role(EngineMode.SOLO)
    bench.handshake()
    assert bench.give(OUT, tcp(OUT, Flags.ACK, 901, 101, b"hello")) == ["accept"]
    assert bench.n["flows_opened"] == 1


def test_a_paired_primary_holds_the_handshake_until_the_backup_has_it() -> None:
    bench = Bench().role(EngineMode.PAIRED)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == ["accept"]
    (record,) = bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, 101))
    assert record.startswith("record 01")
    assert bench.flows.held_now == 1
    opened = ffi.new("struct ftt_record *")
    (flow,) = bench.flows.flows.values()
    opened.type, opened.key, opened.irs = lib.FTT_REC_OPENED, flow.key[0], 100
    opened.rcv_nxt, opened.edge = 101, 60000
    bench.flows.record(opened, bench.now_ns)
    assert bench.done()[-1].startswith("accept")
    assert bench.flows.held_now == 0


def test_who_takes_over_answers_a_handshake_at_once() -> None:
    bench = Bench().role(EngineMode.BACKUP)
    syn, answer = tcp(IN, Flags.SYN, 100), tcp(OUT, Flags.SYN | Flags.ACK, 900, 101)
    assert bench.give(IN, syn) == ["accept"]
    assert bench.give(OUT, answer) == ["drop"]
    bench.world.log.clear()
    bench.role(EngineMode.SOLO)
    assert bench.done() == [f"emit stack {syn.hex()}"]
    assert bench.give(OUT, answer) == ["accept"]


def test_without_a_lease_nothing_leaves() -> None:
    bench = Bench().role(EngineMode.SOLO)
    bench.handshake()
    bench.world.lease = False
    assert bench.give(OUT, tcp(OUT, Flags.ACK, 901, 101, b"hello")) == []  # held, for the lease may come back
    assert bench.give(OUT, udp(OUT)) == ["drop"]
    bench.role(EngineMode.IDLE)
    assert "drop" in bench.done()


@pytest.mark.parametrize("mode", [EngineMode.IDLE, EngineMode.BACKUP])
def test_who_is_no_primary_says_nothing(mode: EngineMode) -> None:
    bench = Bench().role(mode)
    for data in (tcp(OUT, Flags.RST, 1), udp(OUT), ip(OUT, 1, b"\0" * 8), b"\x45"):
        assert bench.give(OUT, data) == ["drop"]
    assert bench.give(IN, udp(IN)) == ["drop"]


def test_a_handshake_that_a_probe_completes_is_not_half_open() -> None:
    bench = Bench(max_half_open=1).role(EngineMode.BACKUP)
    for irs in (100, 300):  # the second is refused as long as the first counts
        assert bench.give(IN, tcp(IN, Flags.SYN, irs)) == ["accept"]
        assert bench.flows.half_open == 1
        bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, irs + 1))
        (flow,) = bench.flows.flows.values()
        for kind in (lib.FTT_REC_OPEN, lib.FTT_REC_PROBE):
            record = ffi.new("struct ftt_record *")
            record.type, record.key, record.irs = kind, flow.key[0], irs
            record.service_iss, record.client_acked = 5000, 5001
            bench.flows.record(record, bench.now_ns)
        assert bench.flows.half_open == 0
        record.type = lib.FTT_REC_CLOSE
        bench.flows.record(record, bench.now_ns)
        assert flow.closed and bench.flows.half_open == 0
        bench.give(IN, tcp(IN, Flags.ACK, irs + 1, 5001))  # was under way: no stranger's
        assert not bench.flows.is_over(flow)
        bench.now_ns += 61_000_000_000
        bench.flows.sweep(bench.now_ns)
        assert not bench.flows.flows
    assert bench.n["syn_floods"] == 0


def test_a_host_with_one_initial_sequence_number_connects_again() -> None:
    bench = Bench().role(EngineMode.SOLO)
    for iss in (900, 77_000):
        assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == ["accept"]
        assert bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, iss, 101)) == ["accept"]
        (flow,) = bench.flows.flows.values()
        assert not flow.closed
        assert bench.give(IN, tcp(IN, Flags.FIN | Flags.ACK, 101, iss + 1)) == ["accept"]
        assert bench.give(OUT, tcp(OUT, Flags.FIN | Flags.ACK, iss + 1, 102)) == ["accept"]
        assert bench.give(IN, tcp(IN, Flags.ACK, 102, iss + 2)) == ["accept"]
        assert flow.closed
    assert bench.n["flows_opened"] == 2


def test_udp_passes_and_is_shown_as_unprotected() -> None:
    bench = Bench().role(EngineMode.SOLO)
    assert bench.give(IN, udp(IN, b"abc")) == ["accept"]
    assert bench.give(OUT, udp(OUT, b"defgh")) == ["accept"]
    (session,) = bench.intake.udp
    assert (session.bytes_in, session.bytes_out, session.key.client_port) == (3, 5, 6000)
    bench.intake.udp.sweep(bench.now_ns + 61_000_000_000)
    assert len(bench.intake.udp) == 0


def test_udp_sessions_are_bounded() -> None:
    bench = Bench(max_flows=16).role(EngineMode.SOLO)
    for port in range(40):
        bench.give(IN, ip(IN, 17, port.to_bytes(2, "big") + b"\0\x45\0\x08\0\0"))
    assert len(bench.intake.udp) == 16


def test_a_backup_lets_go_of_a_udp_session_at_once() -> None:
    bench = Bench().role(EngineMode.BACKUP)
    event = ffi.new("struct ftt_record *")
    event.type, event.irs, event.key.proto = lib.FTT_REC_EVENT, 7, 17
    bench.flows.record(event, bench.now_ns)
    (answer,) = bench.done()
    assert answer.startswith(f"record {lib.FTT_REC_DETACHED:02x}")


# ---- experiments


def test_the_callback_sees_the_packet() -> None:
    seen: list[Packet] = []

    def watch(packet: Packet) -> Action:
        seen.append(packet)
        return Pass()

    bench = Bench(watch).role(EngineMode.SOLO)
    bench.handshake()
    bench.give(OUT, tcp(OUT, Flags.PSH | Flags.ACK, 901, 101, b"hello"))
    assert [packet.number for packet in seen] == [1, 2, 3, 4]
    last = seen[-1]
    assert (last.direction, last.mode, last.payload) == (OUT, EngineMode.SOLO, b"hello")
    assert last.segment is not None and last.segment.flags == Flags.PSH | Flags.ACK
    assert (last.segment.seg_seq, last.segment.seg_ack, last.segment.tsval) == (901, 101, None)
    assert str(last.key) == "10.77.0.10:5000 > 10.77.0.100:80/tcp"
    assert seen[0].flow is None
    assert last.flow is not None and last.flow.local_snd_nxt == 901
    assert bench.n["callback_calls"] == 4


def test_drop() -> None:
    bench = Bench(lambda packet: Drop()).role(EngineMode.SOLO)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == ["drop"]
    assert not bench.flows.flows
    assert bench.n["callback_dropped"] == 1


def test_delay() -> None:
    bench = Bench(lambda packet: Delay(0.25), max_held_total=1).role(EngineMode.SOLO)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == []
    assert bench.intake.next_due_ns == bench.now_ns + 250_000_000
    bench.intake.go_on_with_delayed(bench.now_ns + 249_999_999)
    assert bench.done() == []
    assert bench.give(IN, udp(IN)) == ["drop"]  # the bound is reached
    bench.intake.go_on_with_delayed(bench.now_ns + 250_000_000)
    assert bench.done()[-1] == "accept"
    assert bench.intake.next_due_ns is None


def test_modify() -> None:
    def shout(packet: Packet) -> Action:
        return Modify(packet.with_payload(packet.payload.upper())) if packet.payload else Pass()

    bench = Bench(shout).role(EngineMode.SOLO)
    bench.handshake()
    assert bench.give(OUT, tcp(OUT, Flags.ACK, 901, 101, b"hello")) == [
        "accept " + tcp(OUT, Flags.ACK, 901, 101, b"HELLO").hex()
    ]


def test_a_payload_of_another_length_is_refused() -> None:
    def grow(packet: Packet) -> Action:
        return Modify(packet.with_payload(packet.payload + b"!"))

    bench = Bench(grow).role(EngineMode.SOLO)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == ["accept"]
    assert bench.n["callback_errors"] == 1


@pytest.mark.parametrize("wrong", [None, "drop", Delay(-1), Delay(float("nan")), Modify(b"short")])
def test_a_wrong_answer_is_counted_and_the_packet_goes_on(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(lambda packet: wrong).role(EngineMode.SOLO)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == ["accept"]
    assert bench.n["callback_errors"] == 1
    assert "callback failed" in caplog.text


def test_an_experiment_cannot_make_a_backup_speak() -> None:
    forged = tcp(OUT, Flags.ACK, 901, 101, b"hello")
    bench = Bench(lambda packet: Modify(forged)).role(EngineMode.BACKUP)
    done = bench.give(OUT, tcp(OUT, Flags.ACK, 1, 2))
    assert "drop" in done and not any(line.startswith("accept") for line in done)
    assert not any(line.startswith("emit client") for line in done)


def test_the_example_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "lab/experiments"))
    bench = Bench(load_callback("drop_every:drop_every")).role(EngineMode.SOLO)
    bench.handshake()
    segments = (tcp(OUT, Flags.ACK, 901 + i, 101, b"x") for i in range(100))
    assert [bench.give(OUT, data)[0] for data in segments].count("drop") == 2
    assert bench.n["callback_dropped"] == 2


def test_an_interface_whose_packets_are_not_shown_whole_is_refused() -> None:
    with pytest.raises(EngineError, match="MTU 65536"):
        check_mtu(settings())


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("nothing", "module:function"),
        ("no_such_module_at_all:f", "importable"),
        ("tests.replay:no_such_function", "no function"),
        ("tests.replay:ROOT", "no function"),
    ],
)
def test_a_callback_that_cannot_be_had(place: str, complaint: str) -> None:
    with pytest.raises(EngineError, match=complaint):
        load_callback(place)


# ---- the commit channel


def ends() -> tuple[Channel, Channel, Counter[str]]:
    """Return two ends with the same key, and the counters of the second."""
    counters = Counter[str]()
    one = Channel(settings(node_id=2, peers=(peer(3),)), Counter())
    other = Channel(settings(node_id=3, peers=(peer(2),)), counters)
    for end in (one, other):
        end.follow(0, 77, 5)
    return one, other, counters


def probe() -> bytes:
    """Return the bytes of a PROBE record."""
    record, room = ffi.new("struct ftt_record *"), ffi.new("uint8_t[]", 256)
    record.type, record.irs, record.key.proto = lib.FTT_REC_PROBE, 9, 6
    return bytes(ffi.buffer(room, lib.ftt_core_record_put(room, 256, record)))


def test_records_arrive_once() -> None:
    one, other, counters = ends()
    datagram = one.seal(probe() * 3, 3)
    assert [record.irs for record in other.unseal(datagram)] == [9, 9, 9]
    assert not list(other.unseal(datagram))
    assert counters["channel_replay"] == 1


def test_what_is_not_authentic_or_not_of_this_pairing_is_dropped() -> None:
    one, other, counters = ends()
    datagram = one.seal(probe(), 1)
    for i in range(len(datagram)):
        assert not list(other.unseal(datagram[:i] + bytes([datagram[i] ^ 1]) + datagram[i + 1 :]))
    assert counters["channel_bad_mac"] + counters["channel_malformed"] == len(datagram)
    for length in range(len(datagram)):
        assert not list(other.unseal(datagram[:length]))
    one.follow(0, 77, 6)
    assert not list(other.unseal(one.seal(probe(), 1)))
    assert counters["channel_stale"] == 1
    one.follow(0, 78, 5)
    assert not list(other.unseal(one.seal(probe(), 1)))
    assert counters["channel_datagrams_received"] == 0


def test_a_malformed_record_ends_a_datagram() -> None:
    one, other, counters = ends()
    assert len(list(other.unseal(one.seal(probe() + b"\xff" * 12, 2)))) == 1
    assert counters["channel_malformed"] == 1


def test_over_a_real_socket() -> None:
    settings_of = [
        settings(node_id=a, peers=(peer(b, f"127.0.0.{a}", f"127.0.0.{b}"),)) for a, b in ((2, 3), (3, 2))
    ]
    one, other = (Channel(each, Counter()) for each in settings_of)
    for end in (one, other):
        end.open()
        end.follow(0, 77, 5)
    try:
        record = ffi.new("struct ftt_record *")
        record.type, record.irs, record.key.proto = lib.FTT_REC_PROBE, 9, 6
        one.put(record)
        one.flush()
        assert [got.irs for got in other.receive()] == [9]
    finally:
        one.close()
        other.close()
