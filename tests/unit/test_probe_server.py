"""What `fttcp probe-server` makes of packets, streams and recordings."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.probe import recording, scripts
from lab.probe.cli import FITS, NOT_TRIED, PARTLY, UNFIT, WITH_CALLS, WITH_LOCKSTEP, Advice, advise, told
from lab.probe.judge import Compared, Verdict, compare, excerpt, first_difference, judge
from lab.probe.run import Run
from lab.probe.segments import parse
from lab.probe.streams import Stream, streams

CLIENT, SERVICE = {4: "10.0.0.1", 6: "fd00::1"}, {4: "10.0.0.9", 6: "fd00::9"}
KEY = (CLIENT[4], 40000, 80, 1000)
FIN, SYN, RST, ACK = 1, 2, 4, 16


def packet(
    sequence: int, flags: int, payload: bytes = b"", *, ack: int = 0, family: int = 4,
    to_service: bool = False, client_port: int = 40000,
) -> bytes:  # fmt: skip
    """An IP packet from the service to the client, or the other way."""
    ends = [(SERVICE[family], 80), (CLIENT[family], client_port)]
    (source, source_port), (target, target_port) = reversed(ends) if to_service else ends
    tcp = struct.pack(
        "!HHIIBBHHH", source_port, target_port, sequence % 2**32, ack % 2**32, 5 << 4, flags, 0, 0, 0
    )
    tcp += payload
    addresses = ip_address(source).packed + ip_address(target).packed
    if family == 4:
        return struct.pack("!BBHIBBH", 0x45, 0, 20 + len(tcp), 0, 64, 6, 0) + addresses + tcp
    return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + addresses + tcp


def stream(data: bytes, end: str = "fin") -> Stream:
    return Stream(KEY, 0, bytearray(data), end)


# ---- packets and streams


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("begin", [7, 2**32 - 3])
def test_a_stream_in_any_order_and_twice(family: int, begin: int) -> None:
    text = bytes(range(200))
    pieces = [packet(begin + 1 + at, ACK, text[at : at + 7], family=family) for at in range(0, 200, 5)]
    pieces.append(packet(begin + 201, FIN | ACK, family=family))
    chance = random.Random(3)
    for _ in range(20):
        chance.shuffle(pieces)
        first = packet(begin, SYN | ACK, ack=1001, family=family)
        found = streams([first, *pieces, first, *pieces[:5]])
        assert list(found) == [(CLIENT[family], 40000, 80, 1000)]
        (one,) = found.values()
        assert bytes(one.data) == text and one.end == "fin"


def test_a_port_that_comes_again_is_another_connection() -> None:
    found = streams(
        [packet(5, SYN | ACK, ack=1001), packet(6, ACK, b"one"), packet(9, RST),
         packet(500, SYN | ACK, ack=2001), packet(501, FIN | ACK, b"two")]
    )  # fmt: skip
    assert [(key[3], bytes(one.data), one.end) for key, one in found.items()] == [
        (1000, b"one", "reset"), (2000, b"two", "fin"),
    ]  # fmt: skip


def test_a_hole_ends_what_can_be_compared() -> None:
    (one,) = streams(
        [packet(5, SYN | ACK, ack=1), packet(6, ACK, b"abc"), packet(12, FIN | ACK, b"xyz")]
    ).values()
    assert bytes(one.data) == b"abc" and one.end == ""


def test_a_keepalive_is_no_byte() -> None:
    (one,) = streams([packet(5, SYN | ACK, ack=1), packet(5, ACK, b"?"), packet(6, ACK, b"abc")]).values()
    assert bytes(one.data) == b"abc"


def test_what_is_no_segment() -> None:
    chance = random.Random(1)
    whole = packet(5, ACK, b"abc", family=6)
    for _ in range(2000):
        data = bytearray(whole[: chance.randrange(len(whole) + 1)])
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
        parse(bytes(data))
    assert parse(b"") is None and parse(whole[:59]) is None


# ---- judging


def test_the_first_difference() -> None:
    chance = random.Random(2)
    for _ in range(300):
        one = bytearray(chance.randbytes(chance.randrange(1, 3000)))
        other, at = bytearray(one), chance.randrange(len(one))
        assert first_difference(one, other) is None
        other[at] ^= 1
        for place in range(at + 1, len(other), 7):
            other[place] ^= chance.randrange(2)
        assert first_difference(one, other) == first_difference(other, one) == at
        assert first_difference(one[:at], other) is None


OPEN, DETACHED = {"protection": "protected", "reason": "none"}, {"protection": "detached"}


@pytest.mark.parametrize(
    ("primary", "backup", "flow", "wanted"),
    [
        (stream(b"same"), stream(b"same"), OPEN, (Verdict.SAME, None)),
        (stream(b"same"), stream(b"same"), None, (Verdict.SAME, None)),
        (stream(b"same more", ""), stream(b"same", ""), OPEN, (Verdict.SAME, None)),
        (stream(b"some"), stream(b"same"), OPEN, (Verdict.CONTENT, 1)),
        (stream(b"some more", ""), stream(b"same", ""), OPEN, (Verdict.CONTENT, 1)),
        (stream(b"some more"), stream(b"same"), OPEN, (Verdict.LENGTH, 1)),
        (stream(b"some"), stream(b"same"), {**DETACHED, "reason": "divergence"}, (Verdict.LENGTH, 1)),
        (stream(b"same more"), stream(b"same"), OPEN, (Verdict.LENGTH, 4)),
        (
            stream(b"same more", ""),
            stream(b"same", ""),
            {**DETACHED, "reason": "output-lag"},
            (Verdict.LENGTH, 4),
        ),
        (
            stream(b"same more"),
            stream(b"same", ""),
            {**DETACHED, "reason": "commit-lag"},
            (Verdict.LOST, None),
        ),
        (stream(b"same"), stream(b"same", ""), {**DETACHED, "reason": "end"}, (Verdict.LOST, None)),
        (stream(b"same"), None, {**DETACHED, "reason": "refused"}, (Verdict.LOST, None)),
    ],
)
def test_what_becomes_of_a_connection(
    primary: Stream, backup: Stream | None, flow: dict[str, Any] | None, wanted: tuple[Verdict, int | None]
) -> None:
    assert judge(primary, backup, flow)[:2] == wanted


def test_connections_are_compared_by_their_own() -> None:
    again = (*KEY[:3], 2000)
    primaries = {KEY: stream(b"abcdefghijklmnopqrstuvwxyz"), again: stream(b"x")}
    backups = {again: stream(b"x"), KEY: stream(b"abcdefghijklmnopqrsTuvwxyz")}
    one, other = compare(primaries, backups, {}, [again])
    assert (one.number, one.verdict, one.at, one.later) == (1, Verdict.CONTENT, 19, False)
    assert (other.verdict, other.later) == (Verdict.SAME, True)
    assert one.excerpt[0] == "00000010  71 72 73 74 75 76 77 78 79 7a                    qrstuvwxyz"
    assert one.excerpt[1].endswith("qrsTuvwxyz")


def test_an_excerpt_of_what_is_not_there() -> None:
    assert excerpt(b"", 5) == "" and excerpt(b"\x00A\xff", 0, 1).endswith(".A.")


def run_of(*verdicts: Verdict, lockstep: str = "off", later: tuple[Verdict, ...] = ()) -> Run:
    both = [(verdict, False) for verdict in verdicts] + [(verdict, True) for verdict in later]
    made = [Compared(n, KEY, v, (5, 5), 3, "divergence", behind) for n, (v, behind) in enumerate(both, 1)]
    return Run(lockstep, made)


S, C, L, X = Verdict.SAME, Verdict.CONTENT, Verdict.LENGTH, Verdict.LOST


@pytest.mark.parametrize(
    ("plain", "stepped", "status", "word"),
    [
        (((S,), (S,)), None, FITS, "as it is"),
        (((S, C), ()), None, PARTLY, "at such a place"),
        (((S,), (C,)), None, PARTLY, "at such a place"),
        (((C, L), ()), None, UNFIT, "unfit"),
        (((X, X, S), ()), None, UNFIT, "keep up"),
        (((L, S, S), ()), None, PARTLY, "as it is: 2 of 3 connections are the same"),
        (((L, L, S), ()), ((S, L, S), ()), PARTLY, 'with lockstep = "connection": 2 of 3'),
        (((L,), (L,)), ((S,), (S,)), WITH_LOCKSTEP, 'lockstep = "connection"'),
        (((C,), ()), ((S,), (S,)), WITH_LOCKSTEP, 'lockstep = "connection"'),
        (((L,), (L,)), ((S,), (L,)), PARTLY, 'with lockstep = "connection", if both copies run side by side'),
        (((S,), (C,)), ((S,), (L,)), PARTLY, "Lock step does not help"),
        (((S,), (L,)), None, PARTLY, "as it is, if both copies run side by side"),
        (((C,), ()), ((L,), ()), PARTLY, "Lock step does not help"),
        (((L,), ()), ((L,), ()), UNFIT, "unfit"),
    ],
)
def test_what_to_do(plain: Any, stepped: Any, status: int, word: str) -> None:
    runs = [run_of(*plain[0], later=plain[1])]
    runs += [run_of(*stepped[0], lockstep="connection", later=stepped[1])] if stepped else []
    advice = advise(runs)
    assert advice.status == status and word in advice.sentence


def test_with_lock_step_only() -> None:
    advice = advise([run_of(S, lockstep="connection")])
    assert advice.status == WITH_LOCKSTEP and "as it is" not in advice.sentence


def test_a_log_of_calls_is_told_beside_what_groups_can_have() -> None:
    off, stepped, joined = run_of(L), run_of(L, lockstep="connection"), run_of(S, lockstep="calls")
    advice = advise([off, stepped, joined])
    assert (advice.status, advice.verdict) == (UNFIT, "length")
    assert "A log of calls keeps both copies alike; no group can have one yet." in advice.sentence
    assert "does not keep them alike" in advise([off, stepped, run_of(C, lockstep="calls")]).sentence
    assert advise([joined]).status == WITH_CALLS
    joined.log = {"broken": None, "calls": 7, "threads": 1, "bytes": 300}
    assert told(joined)[-1] == "   log of calls: 7 calls of 1 threads, 300 bytes of log"
    joined.statuses = [1]
    assert advise([off, stepped, joined]).sentence == advise([off, stepped]).sentence
    assert advise([joined]).status == NOT_TRIED


def test_what_a_client_that_failed_has_shown_does_not_count() -> None:
    """It said something else than it should, or nothing: that both copies answered the same is no proof."""
    failed, differs = run_of(S), run_of(L)
    failed.statuses, differs.statuses = [35, 35], [0, 0]
    assert advise([failed]) == Advice(
        NOT_TRIED, "not-tried", "Not tried: the client failed (35, 35) with both copies."
    )
    stepped = run_of(S, lockstep="connection")
    stepped.statuses = [0, 28]
    advice = advise([differs, stepped])
    assert advice.verdict == "length" and "Lock step does not help" in advice.sentence
    assert advise([stepped]).status == NOT_TRIED


def test_a_run_is_told() -> None:
    lines = told(run_of(S, L, L, C))
    assert "side by side" not in " ".join(lines)
    assert "side by side all were the same" in told(run_of(S, later=(C,)))[-1]
    assert lines[0].startswith("without lock step: 4 connections, 1 the same, 1 differ in content")
    assert "connection 2 from 10.0.0.1:40000: differ in length at byte 3" in lines[1]
    shown = run_of(S, L).as_json()
    assert (shown["verdict"], shown["same"], shown["length"], shown["first"]["connection"]) == (
        "length",
        1,
        1,
        2,
    )


# ---- what is said


@pytest.mark.parametrize("port", [80, 443, 21, 25, 110, 143, 6379, 11211, 4711])
def test_generated_input_ends_by_itself_and_differs_by_connection(port: int) -> None:
    first, second = scripts.turns(port, 1), scripts.turns(port, 2)
    assert all(turn.endswith(b"\r\n") for turn in first)
    last = first[-1].lower()
    assert b"close" in last or b"quit" in last or b"logout" in last
    assert first != second or port in (21, 25, 110, 143)


def pcap(
    path: Path, packets: list[bytes], link: int = 101, magic: int = 0xA1B2C3D4, order: str = "<"
) -> Path:
    with path.open("wb") as file:
        file.write(struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link))
        for data in packets:
            data = {1: b"\0" * 12 + b"\x81\0\0\5\x08\0", 113: bytes(16)}.get(link, b"") + data
            file.write(struct.pack(f"{order}IIII", 1, 1, len(data), len(data)) + data)
    return path


def conversation() -> list[bytes]:
    """A client asks twice, the second time when it had 10 bytes, and ends; some is doubled, some late."""
    return [
        packet(99, SYN, to_service=True),
        packet(500, SYN | ACK, ack=100),
        packet(100, ACK, ack=501, to_service=True),
        packet(100, ACK, b"first", ack=501, to_service=True),
        packet(100, ACK, b"first", ack=501, to_service=True),
        packet(501, ACK, b"0123456789", ack=105),
        packet(108, ACK, b"ond", ack=511, to_service=True),
        packet(103, ACK, b"stsec", ack=511, to_service=True),
        packet(111, FIN | ACK, b"", ack=511, to_service=True),
    ]


WANTED = [
    (0, "open", 0, ""), (0, "say", 0, b"first".hex()), (0, "say", 10, b"sec".hex()),
    (0, "say", 10, b"ond".hex()), (0, "end", 10, ""),
]  # fmt: skip


@pytest.mark.parametrize("link", [1, 101, 113])
@pytest.mark.parametrize(("magic", "order"), [(0xA1B2C3D4, "<"), (0xA1B23C4D, ">")])
def test_a_recording_is_read(tmp_path: Path, link: int, magic: int, order: str) -> None:
    file = pcap(tmp_path / "pcap", conversation(), link, magic, order)
    assert recording.steps(file, frozenset({80})) == WANTED


def test_a_recording_that_begins_in_the_middle(tmp_path: Path) -> None:
    file = pcap(tmp_path / "pcap", conversation()[2:])
    assert recording.steps(file, frozenset({80})) == WANTED


def test_recorded_connections_are_kept_apart_in_their_order(tmp_path: Path) -> None:
    packets = [packet(9, SYN, to_service=True, client_port=port) for port in (40000, 40001)] + [
        packet(10, ACK, text, to_service=True, client_port=port)
        for port, text in ((40001, b"b"), (40000, b"a"))
    ]
    packets += [packet(700, SYN, to_service=True), packet(701, FIN | ACK, b"c", to_service=True)]
    found = recording.steps(pcap(tmp_path / "pcap", packets), frozenset({80}))
    assert [(step[0], step[1], bytes.fromhex(step[3])) for step in found] == [
        (0, "open", b""), (1, "open", b""), (1, "say", b"b"), (0, "say", b"a"),
        (2, "open", b""), (2, "say", b"c"), (2, "end", b""),
    ]  # fmt: skip


def test_what_is_no_recording_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no client speaks to TCP port 81"):
        recording.steps(pcap(tmp_path / "pcap", conversation()), frozenset({81}))
    with pytest.raises(LabError, match="link type 147 is not known"):
        recording.steps(pcap(tmp_path / "pcap", conversation(), 147), frozenset({80}))
    (tmp_path / "text").write_text("no pcap at all, but long enough for a header")
    with pytest.raises(LabError, match="not a file of packets"):
        recording.steps(tmp_path / "text", frozenset({80}))
    with pytest.raises(LabError, match="cannot be read"):
        recording.steps(tmp_path / "missing", frozenset({80}))
    cut = bytearray(pcap(tmp_path / "cut", conversation()).read_bytes())
    struct.pack_into("<I", cut, 24 + 12, 1500)
    (tmp_path / "cut").write_bytes(cut)
    with pytest.raises(LabError, match="cut to 40 bytes"):
        recording.steps(tmp_path / "cut", frozenset({80}))
