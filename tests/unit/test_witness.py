"""Witness and client, joined by a network that loses, doubles, delays and records."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fttcp.arbiter.register import Terms
from fttcp.arbiter.settings import WitnessSettings
from fttcp.arbiter.witness.client import WitnessClient
from fttcp.arbiter.witness.server import MAX_PENDING, Witness
from fttcp.arbiter.witness.store import Store, StoreError
from fttcp.ownership.ownership import Answer, Outcome, Ownership, Record
from fttcp.wire import clock
from fttcp.wire import witness as wire
from fttcp.wire.keyfile import KeyRing
from fttcp.wire.witness import Keys, Kind, Request
from tests.ledger import Ledger

KEY, OTHER = bytes(range(32)), bytes(32)
MS = 1_000_000
ALPHA1 = Record(1, "alpha", Ownership.SOLO)
PAIR2 = Record(2, "alpha", Ownership.PAIRED, "beta")
BETA3 = Record(3, "beta", Ownership.SOLO)


class Wire:
    """Carries datagrams between clients and whichever witness stands now."""

    def __init__(self, witness: Witness, seed: int = 0, trouble: bool = False) -> None:
        self.witness, self.trouble = witness, trouble
        self.chance = random.Random(seed)
        self.recorded: list[bytes] = []
        self.cut = False

    def carry(self, deliver: Callable[[bytes], None], data: bytes) -> None:
        if self.cut:
            return
        loop = asyncio.get_running_loop()
        if not self.trouble:
            loop.call_soon(deliver, data)
            return
        for _ in range(self.chance.choice((0, 1, 1, 1, 2))):
            loop.call_later(self.chance.choice((0, 0, 0.001, 0.005, 0.03)), deliver, data)


class Transport(asyncio.DatagramTransport):
    def __init__(self, wire: Wire, client: WitnessClient) -> None:
        super().__init__()
        self.wire, self.client = wire, client

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.wire.recorded.append(data)
        back = lambda reply: self.wire.carry(self.client.heard, reply)  # noqa: E731
        self.wire.carry(lambda sent: self.wire.witness.take(sent, back), data)

    def close(self) -> None:
        pass


class Events(list[tuple[str, dict[str, Any]]]):
    def __call__(self, kind: str, level: str, **fields: Any) -> None:
        self.append((kind, fields))


def run(work: Callable[[Path], Awaitable[None]], path: Path) -> None:
    asyncio.run(asyncio.wait_for(work(path), 60))


def make(path: Path, lease_ms: float = 1000, events: Events | None = None) -> Witness:
    if not path.exists():
        Store.create(path)
    terms = Terms(int(lease_ms * MS), 1000)
    return Witness(
        Store(path), terms, {"lab": Keys(KeyRing((KEY,)))}, events if events is not None else Events()
    )


def client(
    link: Wire, node: str, timeout_ms: int = 500, key: bytes = KEY, cluster: str = "lab",
    lease_ms: int = 1000, strict: bool = False,
) -> WitnessClient:  # fmt: skip
    endpoints = [("192.0.2.1", 1)]
    settings = WitnessSettings(
        cluster, node, endpoints, Keys(KeyRing((key,))), timeout_ms * MS, lease_ms * MS, lambda: strict
    )
    made = WitnessClient(settings)
    made._transports[4] = Transport(link, made)
    return made


def test_a_group_changes_hands_by_the_rules(tmp_path: Path) -> None:
    async def story(path: Path) -> None:
        link = Wire(make(path))
        alpha, beta, gamma = (client(link, node) for node in ("alpha", "beta", "gamma"))
        assert await alpha.inquire("web") == Answer(Outcome.WON)
        before_ns = clock.now_ns()
        won = await alpha.propose("web", None, ALPHA1)
        assert won.outcome is Outcome.WON and won.record == ALPHA1 and won.lease_until_ns is not None
        assert before_ns + 1000 * MS <= won.lease_until_ns <= clock.now_ns() + 1000 * MS
        refused = await beta.propose("web", ALPHA1, Record(2, "beta", Ownership.SOLO))
        assert refused.outcome is Outcome.LOST and refused.record == ALPHA1 and refused.wait_ns > 0
        assert (await alpha.propose("web", ALPHA1, PAIR2)).outcome is Outcome.WON
        assert (await alpha.propose("web", ALPHA1, PAIR2)).outcome is Outcome.WON  # the same again
        assert (await gamma.propose("web", PAIR2, Record(3, "gamma", Ownership.SOLO))).wait_ns == 0
        assert (await beta.propose("web", PAIR2, BETA3)).outcome is Outcome.WON
        lost = await alpha.propose("web", PAIR2, Record(3, "alpha", Ownership.SOLO))
        assert lost.outcome is Outcome.LOST and lost.record == BETA3
        assert (await beta.renew("web", BETA3)).outcome is Outcome.WON
        assert (await alpha.renew("web", BETA3)).outcome is Outcome.LOST
        link.cut = True
        assert await beta.inquire("web") == Answer(Outcome.UNREACHABLE)
        assert beta.describe()["reachable"] is False

    run(story, tmp_path / "w.db")


def test_another_lease_than_the_witness_has_is_told(tmp_path: Path) -> None:
    async def story(path: Path) -> None:
        link = Wire(make(path))
        assert await (same := client(link, "alpha")).check() and same.describe()["mismatch"] == ""
        assert await (other := client(link, "alpha", lease_ms=3000)).check()
        assert "lease_ms is 1000, this node counts with 3000" in other.describe()["mismatch"]

    run(story, tmp_path / "w.db")


def test_a_lease_that_lapsed_gives_the_group_to_who_asks(tmp_path: Path) -> None:
    async def story(path: Path) -> None:
        link = Wire(make(path, lease_ms=60))
        alpha, beta = client(link, "alpha"), client(link, "beta")
        held = await alpha.propose("web", None, ALPHA1)
        taken = Answer(Outcome.LOST)
        while taken.outcome is not Outcome.WON:
            taken = await beta.propose("web", ALPHA1, Record(2, "beta", Ownership.SOLO))
            await asyncio.sleep(taken.wait_ns / 1e9)
        assert held.lease_until_ns is not None and clock.now_ns() > held.lease_until_ns
        assert (await alpha.renew("web", ALPHA1)).outcome is Outcome.LOST

    run(story, tmp_path / "w.db")


def test_a_restart_keeps_the_record_and_begins_the_lease_anew(tmp_path: Path) -> None:
    async def story(path: Path) -> None:
        link = Wire(make(path, lease_ms=300))
        alpha, beta = client(link, "alpha"), client(link, "beta")
        await alpha.propose("web", None, ALPHA1)
        await asyncio.sleep(0.31)
        link.witness._store.close()
        link.witness = make(path, lease_ms=300)
        refused = await beta.propose("web", ALPHA1, Record(2, "beta", Ownership.SOLO))
        assert refused.outcome is Outcome.LOST and refused.wait_ns > 200 * MS

    run(story, tmp_path / "w.db")


def test_recorded_datagrams_are_worth_nothing(tmp_path: Path) -> None:
    """Neither in the same session, nor after a restart of the client, nor after one of the witness."""

    async def story(path: Path) -> None:
        link = Wire(make(path))
        alpha = client(link, "alpha")
        await alpha.propose("web", None, ALPHA1)
        await alpha.renew("web", ALPHA1)
        recorded, served = list(link.recorded), link.witness.counters["propose"]

        async def replay() -> None:
            said: list[wire.Reply] = []
            for data in recorded:
                link.witness.take(
                    data, lambda reply: said.append(wire.decode_reply(reply, Keys(KeyRing((KEY,)))))
                )
            await link.witness.close()
            assert all(reply.kind is wire.ReplyKind.SESSION for reply in said)
            assert link.witness.counters["propose"] == served and link.witness.counters["renew"] <= 1

        await replay()
        assert link.witness.counters["dropped_replay"] == len(recorded) - 1  # the first had no session yet
        again = client(link, "alpha")
        assert (await again.inquire("web")).record == ALPHA1
        await replay()
        link.witness._store.close()
        link.witness, served = make(path), 0
        await replay()
        assert (await again.renew("web", ALPHA1)).outcome is Outcome.WON

    run(story, tmp_path / "w.db")


def test_after_an_answer_no_earlier_request_takes_effect(tmp_path: Path) -> None:
    async def story(path: Path) -> None:
        link = Wire(make(path))
        alpha = client(link, "alpha", timeout_ms=30)
        await alpha.check()
        link.cut = True
        start = len(link.recorded)
        assert (await alpha.propose("web", None, ALPHA1)).outcome is Outcome.UNREACHABLE
        link.cut = False
        assert (await alpha.inquire("web")).record is None
        for late in link.recorded[start:-1]:
            link.witness.take(late, lambda reply: None)
        await link.witness.close()
        assert (await alpha.inquire("web")).record is None

    run(story, tmp_path / "w.db")


def test_strangers_are_dropped_counted_and_reported_once(tmp_path: Path) -> None:
    async def story(path: Path) -> None:
        events = Events()
        link = Wire(make(path, events=events))
        wrong_key, wrong_cluster = (
            client(link, "alpha", 60, key=OTHER),
            client(link, "alpha", 60, cluster="x"),
        )
        assert not await wrong_key.check() and not await wrong_cluster.check()
        newer = bytearray(link.recorded[0])
        newer[3] = 9
        link.witness.take(bytes(newer), lambda reply: None)
        forged = bytearray(link.recorded[-1])
        forged[-1] ^= 1
        link.witness.take(bytes(forged), lambda reply: None)
        counters = link.witness.counters
        dropped = {name for name in counters if name.startswith("dropped_")}
        assert dropped == {f"dropped_{why}" for why in ("unknown-key", "other-cluster", "version", "bad-mac")}
        assert counters["dropped_unknown-key"] > 1
        assert sorted(fields["reason"] for kind, fields in events if kind == "dropped") == [
            "bad-mac",
            "other-cluster",
            "unknown-key",
            "version",
        ]

    run(story, tmp_path / "w.db")


def test_a_full_disk_is_not_answered_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(path: Path) -> None:
        events = Events()
        link = Wire(make(path, events=events))
        alpha = client(link, "alpha", timeout_ms=100)
        with monkeypatch.context() as patch:

            def full(*_: object) -> None:
                raise StoreError("database or disk is full")

            patch.setattr(link.witness._store, "put", full)
            assert (await alpha.propose("web", None, ALPHA1)).outcome is Outcome.UNREACHABLE
        assert link.witness.counters["storage_errors"] > 0 and "storage-failed" in dict(events)
        assert await alpha.inquire("web") == Answer(Outcome.WON)
        assert (await alpha.propose("web", None, ALPHA1)).outcome is Outcome.WON

    run(story, tmp_path / "w.db")


def test_memory_is_bounded_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(path: Path) -> None:
        link = Wire(make(path))
        alpha = client(link, "alpha")
        await alpha.check()
        opened = asyncio.Event()

        async def hang(*_: object) -> bool:
            await opened.wait()
            return False

        monkeypatch.setattr(link.witness, "_stored", hang)
        for counter in range(1000, 1000 + 2 * MAX_PENDING):
            asked = Request(
                cluster="lab", node="alpha", boot=alpha._boot, counter=counter, kind=Kind.PROPOSE,
                session=alpha._session, group="web", wanted=ALPHA1,
            )  # fmt: skip
            link.witness.take(wire.encode_request(asked, Keys(KeyRing((KEY,)))), lambda reply: None)
        assert len(link.witness._tasks) == MAX_PENDING
        assert link.witness.counters["dropped_busy"] == MAX_PENDING
        opened.set()
        await link.witness.close()

    run(story, tmp_path / "w.db")


@pytest.mark.parametrize("seed", range(6))
def test_any_history_over_a_bad_network_is_linearizable(tmp_path: Path, seed: int) -> None:
    """Two nodes contend for one record; each asks what stands after it got no answer."""

    async def contend(me: str, other: str, link: Wire, ledger: Ledger) -> None:
        node = client(link, me, timeout_ms=120)
        known: Record | None = None
        for _ in range(25):
            wanted = Record((known.epoch if known else 0) + 1, me, Ownership.PAIRED, other)
            asked = time.monotonic()
            answer = await node.propose("web", known, wanted)
            if answer.outcome is Outcome.WON:
                ledger.note_win(known, wanted)
            while answer.outcome is Outcome.UNREACHABLE:
                asked = time.monotonic()
                answer = await node.inquire("web")
            ledger.note(asked, time.monotonic(), answer.record)
            known = answer.record

    async def story(path: Path) -> None:
        ledger = Ledger()
        link = Wire(make(path), seed, trouble=True)
        await asyncio.gather(contend("alpha", "beta", link, ledger), contend("beta", "alpha", link, ledger))
        await link.witness.close()
        ledger.check()
        assert len(ledger.told) == 50 and len({wanted for _, wanted in ledger.wins}) > 10

    run(story, tmp_path / "w.db")


def test_a_data_file_is_never_replaced_and_never_shared(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    with pytest.raises(StoreError, match="--init"):
        Store(path)
    Store.create(path)
    with pytest.raises(StoreError, match="never overwritten"):
        Store.create(path)
    store = Store(path)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    store.put(("lab", "web"), PAIR2)
    with pytest.raises(StoreError, match="another witness"):
        Store(path)
    store.put(("lab", "web"), BETA3)
    store.close()
    again = Store(path)
    assert again.load() == {("lab", "web"): BETA3} and again.get(("lab", "mail")) is None
    again.close()
    other = tmp_path / "other.db"
    other.write_bytes(b"this is no database, and long enough to be told from one that is empty" * 20)
    with pytest.raises(StoreError, match="not a database"):
        Store(other)
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(StoreError, match="not a witness's data file"):
        Store(empty)


def test_with_more_than_two_nodes_a_witness_with_a_shorter_lease_is_not_used(tmp_path: Path) -> None:
    async def story(path: Path) -> None:
        link = Wire(make(path, lease_ms=1000))
        good, bad = (client(link, "alpha", lease_ms=ms, strict=True) for ms in (1000, 1500))
        assert (await good.propose("web", None, ALPHA1)).outcome is Outcome.WON
        assert await bad.inquire("web") == Answer(Outcome.UNREACHABLE)
        assert not await bad.check() and bad.describe()["reachable"] is False
        assert "lease_ms is 1000, this node counts with 1500" in bad.describe()["last_error"]
        link.witness = make(tmp_path / "other.db", lease_ms=2000)
        assert await bad.check() and (await bad.inquire("web")).outcome is Outcome.WON

    run(story, tmp_path / "w.db")
