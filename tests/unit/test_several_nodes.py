"""Three groups with engines that have no packets, and an arbiter: what the runtime does about peers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from fttcp.arbiter import register
from fttcp.arbiter.register import Entry, Terms, Verdict
from fttcp.group.group import GroupRuntime
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, EngineMode, Phase, Refusal, Settings
from fttcp.ownership.ownership import Answer, Record
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import EventKind, LinkAddress, PeerSettings
from fttcp.planes.fake import FakeEngine
from fttcp.report.events import History
from fttcp.wire import clock
from tests.groups import LEASE, engine_settings
from tests.health import until

NAMES = ("alpha", "beta", "gamma")
SOLO_LEASE = 400 * NS_PER_MS


class Arbiter:
    """The register of one group, and one node's access to it; see ``ArbiterClient``."""

    def __init__(self, node: str, first: Arbiter | None = None) -> None:
        self.node, self.keeper = node, first or self
        self.entry, self.terms = Entry(), Terms(SOLO_LEASE, 1000)

    async def propose(self, group: str, expected: Record | None, wanted: Record) -> Answer:
        keeper, now_ns = self.keeper, clock.now_ns()
        keeper.entry, said = register.propose(keeper.entry, self.node, expected, wanted, now_ns, self.terms)
        return self._answer(said, now_ns)

    async def renew(self, group: str, record: Record) -> Answer:
        keeper, now_ns = self.keeper, clock.now_ns()
        keeper.entry, said = register.renew(keeper.entry, self.node, record, now_ns, self.terms)
        return self._answer(said, now_ns)

    async def inquire(self, group: str) -> Answer:
        now_ns = clock.now_ns()
        return self._answer(register.inquire(self.keeper.entry, self.node, now_ns, self.terms), now_ns)

    @staticmethod
    def _answer(said: Verdict, now_ns: int) -> Answer:
        until_ns = None if said.lease_ns is None else now_ns + said.lease_ns
        return Answer(said.outcome, said.record, until_ns, said.wait_ns)

    async def check(self) -> bool:
        return True

    async def close(self) -> None:
        return

    def describe(self) -> dict[str, Any]:
        shown = {"kind": "register", "endpoints": [], "reachable": True, "answered_s_ago": 0.0}
        return shown | {"last_error": "", "residual_risk": ""}


class Cluster:
    """Three groups that hear each other; alpha has the highest priority."""

    def __init__(self) -> None:
        self.mirrors: dict[str, list[int]] = {name: [] for name in NAMES}
        self.groups: dict[str, GroupRuntime] = {}
        self.engines: dict[str, FakeEngine] = {}
        self.histories: dict[str, History] = {}
        self.arbiter = Arbiter("alpha")
        for number, name in enumerate(NAMES):
            others = tuple(other for other in NAMES if other != name)
            links = (LinkAddress("peer0", "10.78.0.1", "10.78.0.2"),)
            peers = tuple(PeerSettings(NAMES.index(other) + 1, links) for other in others)
            wanted = replace(engine_settings("alpha"), node_id=number + 1, boot_id=number + 1, peers=peers)
            priority = 100 - number
            settings = Settings("web", name, others, priority, LEASE, 1000, 5 * LEASE, SOLO_LEASE)
            settings = replace(settings, boot_id=wanted.boot_id)
            self.engines[name] = FakeEngine(wanted)
            self.histories[name] = History(name)
            self.groups[name] = GroupRuntime(
                PairMachine(settings, clock.now_ns()),
                self.engines[name],
                self.histories[name],
                Arbiter(name, self.arbiter),
                lambda backup: None,
                self.mirrors[name].append,
            )

    def start(self) -> None:
        for group in self.groups.values():
            group.start()
            group.feed(ev.CarrierChanged(True))
            group.feed(ev.ServerRecovered())
        for i, name in enumerate(NAMES):
            for other in NAMES[i + 1 :]:
                self.engines[name].connect(self.engines[other])

    def phase(self, name: str) -> Phase:
        return self.groups[name].machine.phase

    def die(self, name: str) -> None:
        """This node is gone; the others notice."""
        self.groups[name].close()
        for other, engine in self.engines.items():
            if other != name and not engine.closed:
                engine.lose_peer(engine._index(self.engines[name]))

    def roles(self, name: str) -> dict[str, str]:
        return {node["name"]: node["role"] for node in self.groups[name].status()["nodes"]}


def run(test: Callable[[Cluster], Coroutine[Any, Any, None]]) -> None:
    async def body() -> None:
        cluster = Cluster()
        try:
            cluster.start()
            await until(lambda: cluster.phase("alpha") is Phase.PAIRED)
            await until(lambda: cluster.groups["beta"].machine.in_step)
            await until(lambda: cluster.phase("gamma") is Phase.JOINING)
            await test(cluster)
        finally:
            for group in cluster.groups.values():
                group.close()

    asyncio.run(body())


def test_everybody_knows_who_is_backup_and_who_is_spare() -> None:
    async def test(cluster: Cluster) -> None:
        wanted = {"alpha": "primary", "beta": "backup", "gamma": "spare"}
        await until(lambda: all(cluster.roles(name) == wanted for name in NAMES))
        spare = cluster.groups["gamma"]
        assert spare.status()["peer"] == "alpha" and not spare.status()["synced"]
        assert spare.request_switchover() is Refusal.IS_SPARE
        assert spare.request_failover() is Refusal.IS_SPARE

    run(test)


def test_the_mirror_follows_the_backup_before_anything_depends_on_it() -> None:
    async def test(cluster: Cluster) -> None:
        moved: list[EngineMode] = []
        alpha, engine = cluster.groups["alpha"], cluster.engines["alpha"]
        alpha._late._mirror_to = lambda peer: moved.append(engine.mode)
        cluster.die("beta")
        await until(lambda: cluster.phase("alpha") is Phase.PAIRED and alpha.machine.partner is not None
                    and alpha.machine.partner.name == "gamma")  # fmt: skip
        assert alpha.machine.mirrored == 1 and moved == [EngineMode.SOLO]
        assert engine.mode is EngineMode.PAIRED and engine.partner == 1
        await until(
            lambda: cluster.roles("alpha") == {"alpha": "primary", "beta": "absent", "gamma": "backup"}
        )

    run(test)


def test_the_spare_becomes_backup_of_the_node_that_took_over() -> None:
    async def test(cluster: Cluster) -> None:
        cluster.die("alpha")
        await until(lambda: cluster.phase("beta") is Phase.PAIRED and cluster.groups["gamma"].machine.in_step)
        assert cluster.mirrors["beta"] == [1] and cluster.mirrors["gamma"] == []
        record = cluster.arbiter.entry.record
        assert record is not None and (record.holder, record.backup) == ("beta", "gamma")
        up = [event for event in cluster.histories["beta"].since(0) if event["event"] == "peer-lost"]
        assert [event["peer"] for event in up] == ["alpha"]

    run(test)


def test_a_misunderstood_peer_is_told_once_though_another_one_is_understood() -> None:
    async def test(cluster: Cluster) -> None:
        alpha = cluster.engines["alpha"]
        for name in ("beta", "gamma"):
            cluster.engines[name]._body = f"nonsense of {name}".encode()
        for _ in range(3):
            for peer in (0, 1):
                alpha.post(EventKind.PEER_BODY, peer=peer)
        await asyncio.sleep(0.02)
        told = [e["why"] for e in cluster.histories["alpha"].since(0) if e["event"] == "peer-misunderstood"]
        assert 1 <= len(told) <= 2

    run(test)
