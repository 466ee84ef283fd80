"""The etcd backend against real etcd: one member and three, killed, frozen, with password and TLS."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fttcp.arbiter.etcd.client import EtcdClient
from fttcp.arbiter.etcd.gateway import EtcdError, tls_context
from fttcp.arbiter.settings import EtcdSettings, TlsFiles
from fttcp.ownership.ownership import Answer, Outcome, Ownership, Record
from fttcp.wire import clock
from tests.integration.etcd_cluster import Certificates, EtcdCluster, needs_etcd
from tests.ledger import Ledger

pytestmark = needs_etcd

KILLS, SEED = 25, 20260101
MS, LEASE_S = 1_000_000, 1
ALPHA1 = Record(1, "alpha", Ownership.SOLO)
PAIR2 = Record(2, "alpha", Ownership.PAIRED, "beta")
BETA3 = Record(3, "beta", Ownership.SOLO)


@pytest.fixture
def single(tmp_path: Path) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(tmp_path, 1)
    yield cluster
    cluster.close()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(tmp_path, 3)
    yield cluster
    cluster.close()


def client(cluster: EtcdCluster, node: str, timeout_ms: int = 10_000, **more: Any) -> EtcdClient:
    fields = {
        "endpoints": cluster.endpoints,
        "prefix": "/fttcp",
        "cluster": "lab",
        "node": node,
        "lease_s": LEASE_S,
        "drift_ppm": 1000,
        "timeout_ns": timeout_ms * MS,
    }
    return EtcdClient(EtcdSettings(**fields | more))


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 150))


async def close(*clients: EtcdClient) -> None:
    for each in clients:
        await each.close()


def test_a_group_changes_hands_by_the_rules(single: EtcdCluster) -> None:
    async def story() -> None:
        alpha, beta, gamma = (client(single, node) for node in ("alpha", "beta", "gamma"))
        assert await alpha.inquire("web") == Answer(Outcome.WON)
        sent_ns = clock.now_ns()
        won = await alpha.propose("web", None, ALPHA1)
        assert won.outcome is Outcome.WON and won.record == ALPHA1 and won.lease_until_ns is not None
        assert sent_ns + 900 * MS < won.lease_until_ns < clock.now_ns() + 1000 * MS
        assert await alpha.propose("web", ALPHA1, ALPHA1) != Answer(Outcome.UNREACHABLE)
        again = await alpha.propose("web", None, ALPHA1)
        assert again.outcome is Outcome.WON and again.lease_until_ns is not None
        assert again.lease_until_ns > won.lease_until_ns
        refused = await beta.propose("web", ALPHA1, Record(2, "beta", Ownership.SOLO))
        assert refused.outcome is Outcome.LOST and refused.record == ALPHA1 and refused.wait_ns > 0
        assert (await alpha.propose("web", ALPHA1, PAIR2)).outcome is Outcome.WON
        third = await gamma.propose("web", PAIR2, Record(3, "gamma", Ownership.SOLO))
        assert third == Answer(Outcome.LOST, PAIR2)
        assert (await beta.propose("web", PAIR2, BETA3)).outcome is Outcome.WON
        lost = await alpha.propose("web", PAIR2, Record(3, "alpha", Ownership.SOLO))
        assert lost.outcome is Outcome.LOST and lost.record == BETA3
        assert (await beta.renew("web", BETA3)).outcome is Outcome.WON
        assert (await alpha.renew("web", BETA3)).outcome is Outcome.LOST
        assert (await beta.inquire("web")).lease_until_ns is not None
        assert alpha.describe()["reachable"] is True
        await close(alpha, beta, gamma)

    run(story)


def test_only_the_end_of_the_lease_at_etcd_lets_another_node_take_over(single: EtcdCluster) -> None:
    async def story() -> None:
        alpha, beta = client(single, "alpha"), client(single, "beta")
        held = await alpha.propose("web", None, ALPHA1)
        for _ in range(5):  # longer than one lease in all
            held = await alpha.renew("web", ALPHA1)
            assert held.outcome is Outcome.WON
            taken = await beta.propose("web", ALPHA1, Record(2, "beta", Ownership.SOLO))
            assert taken.outcome is Outcome.LOST and taken.wait_ns > 0
            await asyncio.sleep(0.3)
        while taken.outcome is not Outcome.WON:
            await asyncio.sleep(taken.wait_ns / 1e9)
            taken = await beta.propose("web", ALPHA1, Record(2, "beta", Ownership.SOLO))
        assert held.lease_until_ns is not None and clock.now_ns() > held.lease_until_ns
        assert (await alpha.renew("web", ALPHA1)).outcome is Outcome.LOST
        await close(alpha, beta)

    run(story)


def test_a_lapsed_holder_may_go_on_while_nobody_took_over(single: EtcdCluster) -> None:
    async def story() -> None:
        alpha = client(single, "alpha")
        await alpha.propose("web", None, ALPHA1)
        while single.etcdctl("get", "/fttcp/lab/web/lease"):
            await asyncio.sleep(0.2)
        renewed = await alpha.renew("web", ALPHA1)
        assert renewed.outcome is Outcome.WON and renewed.lease_until_ns is not None
        reborn = client(single, "alpha")
        assert (await reborn.inquire("web")).record == ALPHA1
        assert (await reborn.renew("web", ALPHA1)).outcome is Outcome.WON
        assert (await alpha.renew("web", ALPHA1)).outcome is Outcome.WON
        await close(alpha, reborn)

    run(story)


class SlowWay:
    """A way to etcd on which requests wait while ``open`` is not set; they arrive later, come what may."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self._target = int(cluster.endpoints[0].rpartition(":")[2])
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0
        self.arrived = 0

    async def start(self) -> str:
        """Listen; return the endpoint for clients."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.partition(b":")[2]))
        self.waiting += 1
        await self.open.wait()
        there, onwards = await asyncio.open_connection("127.0.0.1", self._target)
        onwards.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + body)
        answer = await there.read()
        self.arrived += 1
        onwards.close()
        writer.write(answer)
        writer.close()


def test_a_proposal_that_arrives_after_an_inquiry_was_answered_changes_nothing(single: EtcdCluster) -> None:
    async def story() -> None:
        way = SlowWay(single)
        late = await way.start()
        alpha = client(single, "alpha", 300, endpoints=[late])
        while (await alpha.propose("web", None, ALPHA1)).outcome is not Outcome.WON:
            pass
        way.open.clear()
        arrived, way.waiting = way.arrived, 0
        assert (await alpha.propose("web", ALPHA1, PAIR2)).outcome is Outcome.UNREACHABLE
        alpha._gateway._endpoints = [single.endpoints[0]]  # another way, on which nothing waits
        assert (await alpha.inquire("web")).record == ALPHA1
        way.open.set()
        while way.arrived < arrived + way.waiting:
            await asyncio.sleep(0.01)
        assert way.waiting > 0 and (await alpha.inquire("web")).record == ALPHA1
        assert (await alpha.propose("web", ALPHA1, PAIR2)).outcome is Outcome.WON
        await close(alpha)

    run(story)


def test_a_frozen_member_leaves_one_truth(single: EtcdCluster) -> None:
    async def story() -> None:
        alpha = client(single, "alpha", timeout_ms=400)
        while (await alpha.propose("web", None, ALPHA1)).outcome is not Outcome.WON:
            pass
        known = ALPHA1
        for _ in range(4):
            single.members[0].signal(signal.SIGSTOP)
            wanted = Record(known.epoch + 1, "alpha", Ownership.SOLO)
            assert (await alpha.propose("web", known, wanted)).outcome is Outcome.UNREACHABLE
            single.members[0].signal(signal.SIGCONT)
            seen = await alpha.inquire("web")
            while seen.outcome is Outcome.UNREACHABLE:
                seen = await alpha.inquire("web")
            assert seen.record in (known, wanted)
            known = seen.record
        await close(alpha)

    run(story)


class Contender:
    """Proposes without end; after each UNREACHABLE it asks what stands."""

    def __init__(self, node: EtcdClient, me: str, other: str, ledger: Ledger) -> None:
        self._node, self._me, self._other, self._ledger = node, me, other, ledger
        self.wins = 0

    async def run(self) -> None:
        known: Record | None = None
        while True:
            wanted = Record((known.epoch if known else 0) + 1, self._me, Ownership.PAIRED, self._other)
            at = time.monotonic()
            answer = await self._node.propose("web", known, wanted)
            if answer.outcome is Outcome.WON:
                self._ledger.note_win(known, wanted)
                self.wins += 1
            while answer.outcome is Outcome.UNREACHABLE:
                at = time.monotonic()
                answer = await self._node.inquire("web")
            self._ledger.note(at, time.monotonic(), answer.record)
            known = answer.record


def test_killing_members_during_proposals_loses_and_forks_nothing(three: EtcdCluster) -> None:
    async def story() -> None:
        chance, ledger = random.Random(SEED), Ledger()
        nodes = [client(three, name, timeout_ms=700) for name in ("alpha", "beta")]
        contenders = [
            Contender(nodes[0], "alpha", "beta", ledger),
            Contender(nodes[1], "beta", "alpha", ledger),
        ]
        tasks = [asyncio.create_task(contender.run()) for contender in contenders]

        async def more_wins(count: int) -> None:
            goal = sum(contender.wins for contender in contenders) + count
            while sum(contender.wins for contender in contenders) < goal:
                assert not any(task.done() for task in tasks), [task.exception() for task in tasks]
                await asyncio.sleep(0.01)

        await more_wins(1)
        for _ in range(KILLS):
            member = chance.choice(three.members)
            await asyncio.sleep(chance.random() * 0.05)
            member.kill()
            await more_wins(1)  # two members are a majority
            member.start()
            await more_wins(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await close(*nodes)
        ledger.check()
        print(f"seed {SEED}: {KILLS} kills, {len(ledger.told)} answers, {len(ledger.wins)} won")
        assert len(ledger.wins) >= 2 * KILLS

    run(story)


def test_without_a_majority_nothing_is_answered_and_with_it_all_is_as_before(three: EtcdCluster) -> None:
    async def story() -> None:
        alpha = client(three, "alpha")
        assert (await alpha.propose("web", None, PAIR1)).outcome is Outcome.WON
        await close(alpha)
        alpha = client(three, "alpha", timeout_ms=600)
        for member in three.members[1:]:
            member.kill()
        assert await alpha.inquire("web") == Answer(Outcome.UNREACHABLE)
        assert alpha.describe()["reachable"] is False and alpha.describe()["last_error"]
        three.members[0].kill()
        refused = await alpha.propose("web", PAIR1, Record(2, "alpha", Ownership.SOLO))
        assert refused == Answer(Outcome.UNREACHABLE)
        for member in three.members:
            member.start()
        seen = await alpha.inquire("web")
        while seen.outcome is Outcome.UNREACHABLE:
            seen = await alpha.inquire("web")
        assert seen.record == PAIR1 and alpha.describe()["reachable"] is True
        await close(alpha)

    run(story)


PAIR1 = Record(1, "alpha", Ownership.PAIRED, "beta")


def test_password_tls_and_a_client_certificate(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    cluster = EtcdCluster(tmp_path, 1, certificates)

    async def story() -> None:
        home = certificates.home
        secure = TlsFiles(certificates.ca, home / "client.pem", home / "client.key")
        named = TlsFiles(certificates.ca, home / "server.pem", home / "server.key")
        unknown = TlsFiles(certificates.ca)
        first = client(cluster, "alpha", tls=secure)
        assert (await first.propose("web", None, PAIR1)).outcome is Outcome.WON
        for words in (
            ["user", "add", "root:secret"],
            ["user", "grant-role", "root", "root"],
            ["role", "add", "fttcp"],
            ["role", "grant-permission", "fttcp", "--prefix=true", "readwrite", "/fttcp/"],
            ["user", "add", "node:quiet"],
            ["user", "grant-role", "node", "fttcp"],
            ["auth", "enable"],
        ):
            cluster.etcdctl(*words)
        refusals = {
            "without a CN": client(cluster, "alpha", 5000, tls=named, login=("node", "quiet")),
            "user name is empty": client(cluster, "alpha", 5000, tls=secure),
            "login of user 'node' failed": client(cluster, "alpha", 5000, tls=secure, login=("node", "bad")),
            "permission denied": client(
                cluster, "alpha", 5000, tls=secure, login=("node", "quiet"), prefix="/other"
            ),
            "certificate": client(cluster, "alpha", 5000, tls=unknown, login=("node", "quiet")),
        }
        for why, refused in refusals.items():
            assert (await refused.inquire("web")).outcome is Outcome.UNREACHABLE
            assert why in refused.describe()["last_error"], refused.describe()
        good = client(cluster, "alpha", tls=secure, login=("node", "quiet"))
        solo = Record(2, "alpha", Ownership.SOLO)
        assert (await good.propose("web", PAIR1, solo)).outcome is Outcome.WON
        cluster.etcdctl("user", "add", "late:comer", user="root:secret")  # old tokens are void now
        assert (await good.renew("web", solo)).outcome is Outcome.WON
        cluster.members[0].kill()
        cluster.members[0].start()
        assert (await good.inquire("web")).record == solo
        await close(first, good, *refusals.values())

    try:
        run(story)
    finally:
        cluster.close()


def test_a_wrong_certificate_file_is_named(tmp_path: Path) -> None:
    nothing = tmp_path / "ca.pem"
    with pytest.raises(EtcdError, match="ca_file"):
        tls_context(TlsFiles(nothing))
    nothing.write_text("nothing")
    with pytest.raises(EtcdError, match="cert_file"):
        tls_context(TlsFiles(None, nothing, nothing))
