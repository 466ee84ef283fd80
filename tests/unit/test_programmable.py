"""The programmable engine without a kernel: a worker on Python's data plane, and experiments."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import EventKind
from fttcp.planes.error import EngineError
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
    hooks_of,
    load_callback,
)
from fttcp.planes.nfqueue import NfqueueEngine
from fttcp.planes.programmable import ProgrammableEngine
from fttcp.planes.queues import check_mtu
from fttcp.planes.views import parse
from tests.replay import CONFIG, PythonPlane, settings

CLIENT, SERVICE = socket.inet_aton("10.77.0.10"), socket.inet_aton("10.77.0.100")
_open: list[PythonPlane] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close the planes of a test."""
    yield
    while _open:
        _open.pop().close()


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
    """A worker on Python's plane."""

    def __init__(self, callback: Callback | None = None, **changes: int) -> None:
        options = " ".join(f"{name}={value}" for name, value in (CONFIG | changes).items())
        self.plane = PythonPlane(f"config {options}", callback, settings(**changes))
        self.intake, self.n = self.plane.intake, self.plane.n
        self.now_ns = 1_000_000_000
        _open.append(self.plane)

    def role(self, mode: EngineMode) -> Bench:
        """Take a role."""
        self.took = self._step("role", int(mode), 1)
        return self

    def give(self, direction: Direction, data: bytes) -> list[str]:
        """Give a packet; return what was done, verdicts as `accept HEX` and `drop`."""
        return self._step("in" if direction is IN else "out", data.hex())

    def hear(self, record: Any) -> list[str]:
        """Give a record of the other node."""
        room = ffi.new("uint8_t[]", 1024)
        length = lib.ftt_core_record_put(room, 1024, record)
        return self._step("record", bytes(ffi.buffer(room, length)).hex())

    def wait(self, now_ns: int) -> list[str]:
        """Let time pass: what was delayed up to then goes on."""
        self.now_ns = now_ns
        return self._step("in")

    def lease(self, has: bool) -> None:
        """Give the lease, or take it."""
        self.plane.step(f"lease {int(has)}")

    def _step(self, what: str, *words: object) -> list[str]:
        done = self.plane.step(" ".join(map(str, (what, self.now_ns, *words))))
        return [" ".join(line.split()[2:] if line.startswith("verdict") else [line]) for line in done]

    def handshake(self) -> None:
        """Let a client connect to a solo primary."""
        assert self.give(IN, tcp(IN, Flags.SYN, 100)) == ["accept"]
        assert self.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, 101)) == ["accept"]
        assert self.give(IN, tcp(IN, Flags.ACK, 101, 901)) == ["accept"]


def test_a_solo_primary_passes_a_connection() -> None:
    bench = Bench().role(EngineMode.SOLO)
    bench.handshake()
    assert bench.give(OUT, tcp(OUT, Flags.ACK, 901, 101, b"hello")) == ["accept"]
    assert bench.plane.flows() == 1


def test_a_paired_primary_holds_the_handshake_until_the_backup_has_it() -> None:
    bench = Bench().role(EngineMode.PAIRED)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == ["accept"]
    (record,) = bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, 101))
    assert record.startswith("record 01")
    assert bench.plane.counter("held_now") == 1
    opened = ffi.new("struct ftt_record *")
    opened.type, opened.irs, opened.rcv_nxt, opened.edge = lib.FTT_REC_OPENED, 100, 101, 60000
    _, pkt, _ = parse(tcp(IN, Flags.SYN, 100))
    key = ffi.new("struct ftt_key *")
    lib.ftt_core_key(pkt, True, key)
    opened.key = key[0]
    assert bench.hear(opened)[-1].startswith("accept")
    assert bench.plane.counter("held_now") == 0


def test_who_takes_over_answers_a_handshake_at_once() -> None:
    bench = Bench().role(EngineMode.BACKUP)
    syn, answer = tcp(IN, Flags.SYN, 100), tcp(OUT, Flags.SYN | Flags.ACK, 900, 101)
    assert bench.give(IN, syn) == ["accept"]
    assert bench.give(OUT, answer) == ["drop"]
    assert bench.role(EngineMode.SOLO).took == [f"emit stack {syn.hex()}"]
    assert bench.give(OUT, answer) == ["accept"]


def test_without_a_lease_nothing_leaves() -> None:
    bench = Bench().role(EngineMode.SOLO)
    bench.handshake()
    bench.lease(False)
    assert bench.give(OUT, tcp(OUT, Flags.ACK, 901, 101, b"hello")) == []  # held, for the lease may come back
    assert bench.give(OUT, udp(OUT)) == ["drop"]
    assert "drop" in bench.role(EngineMode.IDLE).took


@pytest.mark.parametrize("mode", [EngineMode.IDLE, EngineMode.BACKUP])
def test_who_is_no_primary_says_nothing(mode: EngineMode) -> None:
    bench = Bench().role(mode)
    for data in (tcp(OUT, Flags.RST, 1), udp(OUT), ip(OUT, 1, b"\0" * 8), b"\x45"):
        assert bench.give(OUT, data) == ["drop"]


def test_a_host_with_one_initial_sequence_number_connects_again() -> None:
    bench = Bench().role(EngineMode.SOLO)
    for iss in (900, 77_000):
        assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == ["accept"]
        assert bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, iss, 101)) == ["accept"]
        assert bench.give(IN, tcp(IN, Flags.FIN | Flags.ACK, 101, iss + 1)) == ["accept"]
        assert bench.give(OUT, tcp(OUT, Flags.FIN | Flags.ACK, iss + 1, 102)) == ["accept"]
        assert bench.give(IN, tcp(IN, Flags.ACK, 102, iss + 2)) == ["accept"]
    assert bench.plane.flows() == bench.plane.counter("flows_closed") == 2


def test_a_lease_that_ends_while_verdicts_are_carried_out_lets_nothing_more_go() -> None:
    """Python may wait for its turn between the decision and that."""
    bench = Bench().role(EngineMode.SOLO)
    bench.handshake()
    bench.plane.has_lease = False
    assert bench.give(OUT, tcp(OUT, Flags.ACK, 901, 101, b"hello")) == ["drop"]
    assert bench.n["drop_lease"] == 1
    assert bench.give(IN, tcp(IN, Flags.ACK, 101, 901, b"hello")) == ["accept"]


@pytest.mark.parametrize("what", ["set_lease", "set_mode"])
def test_a_lease_that_is_taken_back_is_told_when_all_has_left(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The peer takes over as soon as it is told."""
    order: list[str] = []
    giving, withdrawn = threading.Event(), threading.Event()

    class Slow:
        def give(self, *_: object) -> None:
            giving.set()
            assert withdrawn.wait(10)
            order.append("left")

        def role_begins(self) -> None:
            """There is nothing late."""

    def withdraw(*_: object) -> None:
        order.append("withdrawn")
        withdrawn.set()

    engine: Any = ProgrammableEngine.__new__(ProgrammableEngine)
    engine.intake, engine._giving = Slow(), threading.Lock()
    engine._experiment = hooks_of(None)
    monkeypatch.setattr(NfqueueEngine, what, withdraw)
    worker = threading.Thread(target=engine.give, args=(None, 0))
    worker.start()
    assert giving.wait(10)
    getattr(engine, what)(0, 0, 0)
    order.append("returned")
    worker.join()
    assert order == ["withdrawn", "left", "returned"]


@pytest.mark.parametrize(
    ("error", "number"), [(OSError(errno.ENODEV, "gone"), errno.ENODEV), (KeyError(7), errno.EIO)]
)
def test_what_goes_wrong_in_python_is_told_to_the_daemon(
    monkeypatch: pytest.MonkeyPatch, error: Exception, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise error

    bench = Bench().role(EngineMode.SOLO)
    monkeypatch.setattr(bench.plane, "take", fail)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == [f"event {EventKind.ERROR:d} 1 {number}"]
    assert "cannot go on" in caplog.text


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
    assert bench.plane.flows() == 0
    assert bench.n["callback_dropped"] == 1


def test_delay() -> None:
    bench = Bench(lambda packet: Delay(0.25), max_held_total=1).role(EngineMode.SOLO)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == []
    due_ns = bench.now_ns + 250_000_000
    assert bench.intake.next_due_ns == due_ns
    assert bench.wait(due_ns - 1) == []
    assert bench.give(IN, udp(IN)) == ["drop"]  # the bound is reached
    assert bench.wait(due_ns) == ["accept"]
    assert bench.intake.next_due_ns == 0


def test_what_our_stack_said_late_in_another_role_is_lost() -> None:
    """Its flow may be forgotten by then, and strangers of a primary's stack pass."""
    bench = Bench(lambda packet: Delay(0.25)).role(EngineMode.BACKUP)
    assert bench.give(OUT, tcp(OUT, Flags.ACK, 901, 101, b"hello")) == []
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == []
    bench.role(EngineMode.IDLE)
    bench.role(EngineMode.SOLO)
    assert bench.wait(bench.now_ns + 250_000_000) == ["drop", "accept"]
    assert bench.n["drop_mode"] == 1


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


@pytest.mark.parametrize(
    "wrong",
    [None, "drop", Delay(-1), Delay(float("nan")), Delay("1"), Modify(b"short"), Modify(bytearray(40))],
)
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


def test_an_interface_whose_packets_are_not_shown_whole_is_refused() -> None:
    with pytest.raises(EngineError, match="MTU 65536"):
        check_mtu(settings())


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("nothing", "module:function"),
        ("no_such_module_at_all:f", "importable"),
        ("tests.replay:no_such_function", "no function"),
        ("tests.replay:ROOT", "neither a function"),
    ],
)
def test_a_callback_that_cannot_be_had(place: str, complaint: str) -> None:
    with pytest.raises(EngineError, match=complaint):
        load_callback(place)
