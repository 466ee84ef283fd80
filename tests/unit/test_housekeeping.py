"""What a node looks after while it runs."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from fttcp.network import notices
from fttcp.network.notices import News
from fttcp.network.rtnetlink import Netlink
from fttcp.network.rules import RulesError
from fttcp.node import housekeeping
from fttcp.node.housekeeping import Housekeeper
from fttcp.planes import nfqueue
from fttcp.planes.nfqueue import NfqueueEngine
from fttcp.report.events import History


class Busy(News):
    """Changes without end: each look meets the next one."""

    def __init__(self, *_: Any) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""

    async def wait(self, timeout_s: float | None) -> bool:
        """There is always some."""
        return True


def test_changes_without_end_do_not_keep_it_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "News", Busy)
    monkeypatch.setattr(housekeeping, "ROUND_S", 0.01)
    monkeypatch.setattr(housekeeping, "_SHORTEST_S", 0.001)
    monkeypatch.setattr(housekeeping, "_LONGEST_S", 0.001)
    looks: list[str] = []

    async def body() -> None:
        turns = asyncio.Semaphore(0)

        class Watched(Housekeeper):
            def __init__(self) -> None:
                """Only the loop is looked at."""

            async def guard(self, work: Any) -> bool:
                await work
                return True

            async def _look_at_all_rules(self) -> bool:
                looks.append("rules")
                return True

            async def look_at_the_ground(self) -> bool:
                looks.append("ground")
                return True

            async def look_after_network(self) -> None:
                turns.release()

        keeping = asyncio.create_task(Watched().keep())
        async with asyncio.timeout(10):
            for _ in range(3):
                await turns.acquire()
        keeping.cancel()

    asyncio.run(body())
    assert {"rules", "ground"} <= set(looks)


class Endless:
    """A socket to a kernel that has always more to tell."""

    heard = 0

    def recv(self, _: int) -> bytes:
        self.heard += 1
        return b"news"


def test_the_loop_reads_a_few_messages_however_many_there_are() -> None:
    kernel = Endless()
    notices._drain(kernel)  # type: ignore[arg-type]
    assert kernel.heard <= 16


def test_rtnetlink_is_never_asked_in_the_thread_of_a_loop() -> None:
    async def body() -> None:
        with pytest.raises(RuntimeError):
            Netlink()
        await asyncio.to_thread(lambda: Netlink().close())

    asyncio.run(body())


def test_news_that_came_before_the_wait_are_heard_and_then_no_more() -> None:
    async def body() -> None:
        news = News((socket.NETLINK_ROUTE, 0))
        ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        (real,) = news._sockets
        real.close()
        news._sockets = [ours]
        kernel.send(b"one")
        kernel.send(b"two")
        async with asyncio.timeout(10):
            assert await news.wait(None)
        assert not await news.wait(0.0)
        news.close()
        kernel.close()

    asyncio.run(body())


def test_the_clients_of_many_flows_are_a_set_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {bytes(10) + b"\xff\xff" + bytes([10, 77, 0, last]) for last in (10, 11)} | {bytes(range(16))}

    class Native:
        @staticmethod
        def ftt_engine_flows(engine: object, table: Any, limit: int, with_closed: bool) -> int:
            assert not with_closed
            for index, address in enumerate([*wanted, *wanted]):
                table[index].key.remote = address
                table[index].key.local = bytes([1]) * 16
            return 2 * len(wanted)

    monkeypatch.setattr(nfqueue, "lib", Native)
    engine = NfqueueEngine.__new__(NfqueueEngine)
    engine._engine = None
    assert engine.clients(10) == wanted


def test_what_cannot_be_looked_after_keeps_nothing_else_from_its_turn() -> None:
    looked: list[tuple[str, str]] = []

    def look(kind: str) -> Any:
        async def looks(name: str) -> None:
            looked.append((kind, name))
            if (kind, name) == ("rules", "ill"):
                raise RulesError("it cannot be mended")

        return looks

    class Watched(Housekeeper):
        def __init__(self) -> None:
            """Only the rounds over all groups are looked at."""
            self._changing = asyncio.Lock()
            groups = [SimpleNamespace(name=name) for name in ("ill", "well")]
            self._config: Any = lambda: SimpleNamespace(group=groups)
            self._history = History("alpha")
            self._network: Any = SimpleNamespace(restored=dict)
            self._learn, self._look_at_rules, self._look_at_ground = map(look, ("learn", "rules", "ground"))
            self._keep_warm, self.know_neighbours = map(look, ("warm", "neighbours"))

    async def body() -> None:
        await Watched().look_after_network()
        kinds = ("learn", "rules", "ground", "warm", "neighbours")
        assert looked == [(kind, name) for name in ("ill", "well") for kind in kinds]
        looked.clear()
        assert not await Watched()._look_at_all_rules()  # what follows news waits for the next round
        assert await Watched().look_at_the_ground()
        assert looked == [(kind, name) for kind in ("rules", "ground") for name in ("ill", "well")]

    asyncio.run(body())
