"""What a node looks after while it runs."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fttcp.runtime import node
from fttcp.runtime.node import Node


class Busy:
    """Changes of nftables without end: each look meets the next one."""

    told: Callable[[], None]

    def __init__(self, protocol: int, groups: int, tell: Callable[[], None]) -> None:
        Busy.told = staticmethod(tell)
        tell()

    def close(self) -> None:
        """Nothing is open."""


def test_changes_of_nftables_without_end_do_not_keep_it_from_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node, "Notices", Busy)
    monkeypatch.setattr(node, "_HOUSEKEEPING_S", 0.01)
    monkeypatch.setattr(node, "_NEWS_COLLECTED_S", 0.0)
    monkeypatch.setattr(node, "_BETWEEN_LOOKS_S", 0.001)
    looks: list[str] = []

    async def body() -> None:
        turns = asyncio.Semaphore(0)

        class Watched(Node):
            def __init__(self) -> None:
                """Only the loop is looked at."""

            async def _guard(self, work: Any) -> bool:
                await work
                return True

            async def _look_at_all_rules(self) -> None:
                looks.append("rules")
                Busy.told()

            async def _look_after_network(self) -> None:
                looks.append("network")
                turns.release()

        keeping = asyncio.create_task(Watched()._keep_house())
        async with asyncio.timeout(10):
            for _ in range(3):
                await turns.acquire()
        keeping.cancel()

    asyncio.run(body())
    assert "rules" in looks
