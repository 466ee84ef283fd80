"""The experiments that come with fttcp, and what experiments on records and ownership may do."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from fttcp._native import ffi, lib
from fttcp.explain.packets import Heard, Packet, RoleBegins, is_recording, recorded
from fttcp.ownership.model import EngineMode, Lease
from fttcp.planes.base import EngineEvent, EventKind
from fttcp.planes.error import EngineError
from fttcp.planes.experiment import (
    Action,
    Change,
    Delay,
    Drop,
    Flags,
    Modify,
    Pass,
    Record,
    RecordType,
    hooks_of,
    load_callback,
)
from fttcp.planes.nfqueue import NfqueueEngine
from fttcp.planes.programmable import ProgrammableEngine
from fttcp.planes.views import parse
from fttcp.wire.capture import records
from tests.replay import ROOT
from tests.unit.test_programmable import IN, OUT, Bench, closed, tcp

__all__ = ["closed"]

BACKUP, PAIRED = EngineMode.BACKUP, EngineMode.PAIRED


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load an experiment that comes with fttcp."""
    monkeypatch.syspath_prepend(str(ROOT / "lab/experiments"))
    return lambda name: load_callback(f"{name}:{name}")


def told(kind: RecordType, **fields: int) -> Any:
    """Return a record of the other node about the connection of `tcp`."""
    record = ffi.new("struct ftt_record *")
    record.type, record.irs = kind, 100
    for name, value in fields.items():
        setattr(record, name, value)
    _, pkt, _ = parse(tcp(IN, Flags.SYN, 100))
    key = ffi.new("struct ftt_key *")
    lib.ftt_core_key(pkt, True, key)
    record.key = key[0]
    return record


def paired(callback: Any) -> Bench:
    """Return a primary with a backup that follows one connection, and has committed all before byte 101."""
    bench = Bench(callback).role(PAIRED)
    bench.give(IN, tcp(IN, Flags.SYN, 100))
    bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, 101))
    assert bench.hear(told(RecordType.OPENED, rcv_nxt=101, edge=60000))[-1].startswith("accept")
    bench.give(IN, tcp(IN, Flags.ACK, 101, 901))
    return bench


def commit(up_to: int, said: int = 901) -> Any:
    """Return the backup's word that it has a client's bytes up to there, and what its server has said."""
    return told(RecordType.COMMIT, rcv_nxt=up_to, edge=60000, snd_nxt=said)


def ask(bench: Bench) -> list[str]:
    """A client asks 5 bytes, and the primary's server answers; return what is done then."""
    assert "accept" in bench.give(IN, tcp(IN, Flags.ACK, 101, 901, b"hello"))
    return bench.give(OUT, tcp(OUT, Flags.ACK, 901, 106, b"world"))


def leaves(done: list[str]) -> bool:
    """Does a packet go?"""
    return any(line.startswith("accept") for line in done)


def test_the_mirror_loses_each_tenth_packet(experiment: Any) -> None:
    lose = experiment("lose_mirrored")
    bench = Bench(lose).role(BACKUP)
    for number in range(40):
        bench.give(IN, tcp(IN, Flags.SYN, 100 + number))
    assert bench.n["callback_dropped"] == 4
    other = Bench(type(lose)(1)).role(EngineMode.SOLO)
    other.handshake()
    assert other.n["callback_dropped"] == 0


def test_commits_that_are_late_hold_answers_back(experiment: Any) -> None:
    bench = paired(experiment("late_commits"))
    assert not leaves(ask(bench))
    start_ns = bench.now_ns
    assert not leaves(bench.hear(commit(106)))
    assert not leaves(bench.wait(start_ns + 19_000_000))
    assert leaves(bench.wait(start_ns + 20_000_000))
    assert bench.n["callback_delayed"] == 1 and bench.n["callback_errors"] == 0


def test_by_the_stricter_rule_an_answer_waits_for_that_of_the_backups_server(experiment: Any) -> None:
    bench = paired(None)
    assert not leaves(ask(bench))
    assert leaves(bench.hear(commit(106)))
    bench = paired(experiment("stricter_output"))
    assert not leaves(ask(bench))
    assert not leaves(bench.hear(commit(106)))
    assert not leaves(bench.wait(bench.now_ns + 1_000_000))
    bench.hear(commit(106, 906))
    assert leaves(bench.wait(bench.now_ns + 1_000_000))
    assert bench.n["callback_errors"] == 0 and bench.n["callback_delayed"] == 2


def test_a_recording_has_roles_packets_and_records(experiment: Any, tmp_path: Path) -> None:
    file = tmp_path / "recording.pcapng"
    bench = paired(type(experiment("record_roles"))(file))
    ask(bench)
    bench.hear(commit(106))
    assert is_recording(records(file))
    steps = list(recorded(records(file)))
    assert [step.mode for step in steps if isinstance(step, RoleBegins)] == [PAIRED]
    packets = [step for step in steps if isinstance(step, Packet)]
    assert [step.direction for step in packets] == [IN, OUT, IN, IN, OUT]
    assert packets[-1].data == tcp(OUT, Flags.ACK, 901, 106, b"world")
    assert len([step for step in steps if isinstance(step, Heard)]) == 2
    assert "paired told" in {record.interface for record in records(file)}


def test_a_primary_dies_at_the_commit_that_lets_its_first_answer_go(experiment: Any) -> None:
    struck: list[bool] = []
    bench = paired(type(experiment("die_at_commit"))(lambda: struck.append(True)))
    ask(bench)
    bench.hear(commit(101))
    assert not struck
    bench.hear(commit(106))
    assert struck == [True]


# ---- records


class Watch:
    """Answers each record alike, and keeps it."""

    def __init__(self, action: Action) -> None:
        self.action = action
        self.seen: list[Record] = []

    def record(self, record: Record) -> Action:
        self.seen.append(record)
        return self.action


def test_records_are_shown_both_ways() -> None:
    watch = Watch(Pass())
    bench = paired(watch)
    assert [(one.kind, one.heard) for one in watch.seen] == [
        (RecordType.OPEN, False),
        (RecordType.OPENED, True),
    ]
    opened = watch.seen[1]
    assert (opened.number, opened.mode, opened.time_ns) == (2, PAIRED, bench.now_ns)
    assert str(opened.key) == "10.77.0.10:5000 > 10.77.0.100:80/tcp"
    assert opened.numbers == {"rcv_nxt": 101, "edge": 60000}


def test_a_record_that_is_dropped_is_lost() -> None:
    watch = Watch(Drop())
    bench = Bench(watch).role(PAIRED)
    bench.give(IN, tcp(IN, Flags.SYN, 100))
    assert not any(
        line.startswith("record") for line in bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, 101))
    )
    assert not leaves(bench.hear(told(RecordType.OPENED, rcv_nxt=101, edge=60000)))
    assert bench.plane.counter("held_now") == 1


@pytest.mark.parametrize("wrong", [Modify(b"x" * 40), Delay(0.1, again=True), None])
def test_what_cannot_be_done_with_a_record_is_counted_and_it_goes_on(wrong: Any) -> None:
    bench = paired(Watch(wrong))
    assert bench.n["callback_errors"] == 2


def test_a_record_that_is_told_cannot_be_late() -> None:
    watch = Watch(Delay(1))
    bench = Bench(watch).role(PAIRED)
    bench.give(IN, tcp(IN, Flags.SYN, 100))
    done = bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, 101))
    assert any(line.startswith("record 01") for line in done)
    assert bench.n["callback_errors"] == 1


def test_a_late_record_is_not_heard_in_another_role() -> None:
    bench = Bench(Watch(Delay(0.5))).role(PAIRED)
    bench.give(IN, tcp(IN, Flags.SYN, 100))
    bench.give(OUT, tcp(OUT, Flags.SYN | Flags.ACK, 900, 101))
    bench.hear(told(RecordType.OPENED, rcv_nxt=101, edge=60000))
    bench.role(EngineMode.SOLO)
    bench.role(PAIRED)
    bench.wait(bench.now_ns + 500_000_000)
    assert bench.n["drop_mode"] == 1


def test_a_packet_that_is_late_again_keeps_its_number() -> None:
    numbers: list[int] = []

    def twice(packet: Any) -> Action:
        numbers.append(packet.number)
        return Delay(0.25, again=True) if len(numbers) < 3 else Pass()

    bench = Bench(twice).role(EngineMode.SOLO)
    assert bench.give(IN, tcp(IN, Flags.SYN, 100)) == []
    assert bench.wait(bench.now_ns + 250_000_000) == []
    assert bench.wait(bench.now_ns + 250_000_000) == ["accept"]
    assert numbers == [1, 1, 1]


# ---- ownership


def test_changes_of_ownership_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Change] = []

    class Owns:
        def ownership(self, change: Change) -> None:
            seen.append(change)
            raise RuntimeError("told once, the daemon goes on")

    event = EngineEvent(EventKind.PEER_LOST, 7, 0, 0, 0, None, 0)
    monkeypatch.setattr(NfqueueEngine, "set_mode", lambda *_: None)
    monkeypatch.setattr(NfqueueEngine, "set_lease", lambda *_: None)
    monkeypatch.setattr(NfqueueEngine, "events", lambda _: [event])
    engine: Any = ProgrammableEngine.__new__(ProgrammableEngine)
    engine._experiment, engine._giving, engine.n = hooks_of(Owns()), threading.Lock(), Counter()
    engine.intake = Mock()
    engine.set_mode(EngineMode.SOLO, 1, 0)
    engine.set_lease(Lease.SELF, None, 0)
    assert engine.events() == [event]
    assert [change.mode for change in seen] == [EngineMode.SOLO, None, None]
    assert [change.lease for change in seen] == [None, Lease.SELF, None]
    assert seen[2].event is event and seen[2].time_ns == 7
    assert engine.n["callback_errors"] == engine.n["callback_calls"] == 3


def test_what_is_no_experiment_is_refused() -> None:
    with pytest.raises(EngineError, match="packet, record, ownership"):
        hooks_of(object())
