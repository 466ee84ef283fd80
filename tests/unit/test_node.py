"""The composition root where something fails; else tests/integration/test_node_daemon.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fttcp.runtime.events import History
from fttcp.runtime.node import Node

PARTS = ["carrier", "reference", "frontend", "server one", "server two", "engine", "arbiter", "network"]


class Part:
    """Says when it is taken down, and fails if it is to."""

    def __init__(self, name: str, fails: str, ended: list[str]) -> None:
        self._name, self._fails, self._ended = name, fails, ended

    def close(self) -> None:
        self._ended.append(self._name)
        if self._fails == self._name:
            raise OSError(f"{self._name} cannot be ended")

    async def end(self) -> None:
        self.close()


@pytest.mark.parametrize("fails", ["", *PARTS])
def test_all_that_can_be_taken_down_is(fails: str) -> None:
    ended: list[str] = []
    part = {name: Part(name, fails, ended) for name in PARTS}
    node: Any = Node.__new__(Node)
    node._tasks, node._history, node._carrier = set(), History("alpha"), part["carrier"]
    for name in ("reference", "frontend", "arbiter"):
        setattr(node, f"_{name}", SimpleNamespace(close=part[name].end))
    node._network = SimpleNamespace(remove=part["network"].end)
    node._groups = {
        "one": SimpleNamespace(server=SimpleNamespace(stop=part["server one"].end), close=lambda: None),
        "two": SimpleNamespace(
            server=SimpleNamespace(stop=part["server two"].end), close=part["engine"].close
        ),
    }
    if fails:
        with pytest.raises(OSError, match=f"{fails} cannot be ended"):
            asyncio.run(node._take_down())
    else:
        asyncio.run(node._take_down())
    assert ended == PARTS, "in this order, whatever fails"
    assert [event["event"] for event in node._history.since(0)] == ([] if fails else ["stopped"])
