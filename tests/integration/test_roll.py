"""The record of the nodes at a real etcd and a real witness: one by one, at once, and after a crash."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fttcp.arbiter.base import ArbiterClient
from fttcp.arbiter.settings import WitnessSettings
from fttcp.arbiter.witness.client import WitnessClient
from fttcp.ownership.members import Members
from fttcp.ownership.ownership import Outcome, Ownership, Record
from fttcp.wire import keyfile
from fttcp.wire.witness import Keys
from tests.integration.etcd_cluster import EtcdCluster, needs_etcd
from tests.integration.test_etcd import client as etcd_client
from tests.integration.witness_daemon import WitnessDaemon

MS = 1_000_000
NODES = ("alpha", "beta", "gamma")
Open = Callable[[str], Awaitable[ArbiterClient]]


class Etcd:
    """One member."""

    def __init__(self, home: Path) -> None:
        self.cluster = EtcdCluster(home, 1)

    async def open(self, node: str) -> ArbiterClient:
        return etcd_client(self.cluster, node)

    def crash(self) -> None:
        (member,) = self.cluster.members
        member.signal(signal.SIGKILL)
        member.start()

    def close(self) -> None:
        self.cluster.close()


class Witness:
    """The daemon."""

    def __init__(self, home: Path) -> None:
        self.daemon = WitnessDaemon(home)
        self.daemon.start()

    async def open(self, node: str) -> ArbiterClient:
        keys = Keys(keyfile.load(self.daemon.key_file))
        endpoints = [("127.0.0.1", self.daemon.port)]
        settings = WitnessSettings("lab", node, endpoints, keys, 10_000 * MS, 1000 * MS)
        return await WitnessClient(settings).open(watch=False)

    def crash(self) -> None:
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()

    def close(self) -> None:
        self.daemon.stop()


@pytest.fixture(params=[pytest.param(Etcd, marks=needs_etcd), Witness], ids=["etcd", "witness"])
def arbiter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcd | Witness]:
    made = request.param(tmp_path)
    yield made
    made.close()


def run(arbiter: Etcd | Witness, story: Callable[..., Awaitable[None]]) -> None:
    async def with_clients() -> None:
        clients = [await arbiter.open(node) for node in NODES]
        try:
            for each in clients:
                while not await each.check():
                    pass
            await story(*clients)
        finally:
            for each in clients:
                await each.close()

    asyncio.run(asyncio.wait_for(with_clients(), 100))


async def told(client: ArbiterClient, *peers: str) -> Members:
    """What stands after this node has told; it must not be refused."""
    roll = await client.tell(peers, True)
    assert roll.members is not None and not roll.why, roll
    return roll.members


def test_who_is_named_by_nobody_takes_nothing_however_late_it_hears(arbiter: Etcd | Witness) -> None:
    async def story(alpha: ArbiterClient, beta: ArbiterClient, gamma: ArbiterClient) -> None:
        await told(alpha, "beta")
        await told(beta, "alpha")
        refused = await gamma.tell(["alpha", "beta"], True)
        assert "no member's file names it" in refused.why
        solo = Record(1, "alpha", Ownership.SOLO)
        assert (await alpha.propose("web", None, solo)).outcome is Outcome.WON
        stranger = Record(1, "gamma", Ownership.SOLO)
        assert (await gamma.propose("mail", None, stranger)).outcome is Outcome.LOST
        assert (await told(alpha, "beta", "gamma")).names == NODES
        await told(gamma, "alpha", "beta")
        early = await gamma.propose("mail", None, stranger)
        assert early.outcome is Outcome.LOST, "beta may still leave its group to alpha"
        await told(beta, "alpha")
        assert (await gamma.propose("mail", None, stranger)).outcome is Outcome.WON
        blocked = await alpha.tell(["beta"], True)
        assert "gamma cannot be taken out" in blocked.why, "it has a group"
        pair = Record(2, "gamma", Ownership.PAIRED, "beta")
        assert (await gamma.propose("mail", stranger, pair)).outcome is Outcome.WON
        assert (await beta.propose("mail", pair, Record(3, "beta", Ownership.SOLO))).outcome is Outcome.WON
        assert (await told(alpha, "beta")).names == ("alpha", "beta", "")
        # gamma has not heard of that, and its next proposal would be a good one
        late = await gamma.propose("new", None, stranger)
        assert late.outcome is Outcome.LOST and late.record is None
        lost = await alpha.propose("web", solo, Record(2, "alpha", Ownership.PAIRED, "gamma"))
        assert lost.outcome is Outcome.LOST and lost.record == solo, "nor does anybody have it as a backup"

    run(arbiter, story)


def test_what_was_told_outlives_a_crash(arbiter: Etcd | Witness) -> None:
    async def story(alpha: ArbiterClient, beta: ArbiterClient, gamma: ArbiterClient) -> None:
        await told(alpha, "beta", "gamma")
        before = await told(gamma, "alpha", "beta")
        arbiter.crash()
        while (roll := await beta.roll()).members is None:
            pass
        assert roll.members == before
        after = await told(beta, "alpha", "gamma")
        assert after.version > before.version and after.named_by("beta") == {"alpha", "gamma"}
        stands = (
            await beta.roll()
        ).members  # the witness may have been told twice: the first answer was lost
        assert stands == await told(beta, "alpha", "gamma"), "what stands is not written again"
        reborn = await arbiter.open("beta")
        assert (await told(reborn, "alpha", "gamma")).version > after.version, "but in another life"
        await reborn.close()

    run(arbiter, story)


def test_all_tell_at_once_and_each_is_heard(arbiter: Etcd | Witness) -> None:
    async def story(*clients: ArbiterClient) -> None:
        first = await told(clients[0], *NODES[1:])
        lists = [[other for other in NODES if other != node] for node in NODES]
        rolls = await asyncio.gather(
            *(one.tell(peers, True) for one, peers in zip(clients, lists, strict=True) for _ in range(4))
        )
        assert not any(roll.why or roll.members is None for roll in rolls)
        stands = (await clients[0].roll()).members
        assert stands is not None and stands.version >= first.version + 2
        assert all(stands.named_by(node) == set(peers) for node, peers in zip(NODES, lists, strict=True))

    run(arbiter, story)


def test_a_dead_node_is_forgotten(arbiter: Etcd | Witness) -> None:
    async def story(alpha: ArbiterClient, beta: ArbiterClient, gamma: ArbiterClient) -> None:
        await told(alpha, "beta")
        await told(beta, "alpha", "gamma")
        await told(gamma, "alpha", "beta")
        roll = await alpha.forget("beta", "alpha")
        assert roll.members is not None and not roll.members.named_by("beta")
        assert roll.members.names == ("alpha", "beta", ""), "nobody but beta named gamma"
        assert "no member of the cluster" in (await alpha.forget("delta", "alpha")).why

    run(arbiter, story)


def test_a_data_file_of_a_witness_without_nodes_gets_a_record_of_them(tmp_path: Path) -> None:
    witness = WitnessDaemon(tmp_path)
    with sqlite3.connect(tmp_path / "witness.db") as db:  # as the release before left it
        db.executescript("DROP TABLE members; PRAGMA user_version=1")
    db.close()
    witness.start()
    try:
        assert witness.status()["registers"] == []
    finally:
        witness.stop()
    with sqlite3.connect(tmp_path / "witness.db") as db:
        assert db.execute("SELECT count(*) FROM members").fetchone() == (0,)
