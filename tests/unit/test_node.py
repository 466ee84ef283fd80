"""The composition root where something fails; else tests/integration/test_node_daemon.py."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fttcp.group import lockstep
from fttcp.group.secrets import Secrets
from fttcp.node.node import Node
from fttcp.ownership import events as ev
from fttcp.report.events import History
from fttcp.wire.keyfile import KeyRing
from tests.unit.test_frontend import config_in

PARTS = [
    *("adapters", "frontend", "server one", "server two", "engine", "liveness", "arbiter"),
    "network",
]


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
    node._tasks, node._history = set(), History("alpha")
    for name in ("adapters", "frontend", "arbiter"):
        setattr(node, f"_{name}", SimpleNamespace(close=part[name].end))
    node._liveness, node._room = (
        SimpleNamespace(close=part["liveness"].close),
        SimpleNamespace(close=lambda: None),
    )
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


def test_a_group_that_comes_later_is_read_of_beside_the_loop() -> None:
    """The disk may not answer, and other groups serve. Nothing of the group runs before it is known."""
    steps: list[object] = []

    def load(name: str) -> int:
        steps.append(("load", threading.current_thread() is threading.main_thread()))
        return 3

    group = SimpleNamespace(
        server=SimpleNamespace(start=lambda: steps.append("server")),
        start=lambda *known: steps.extend(("engine", *known)),
        feed=steps.append,
        ground=None,
        machine=SimpleNamespace(settings=SimpleNamespace(cold=False)),
        serving=SimpleNamespace(shed=""),
    )
    node: Any = Node.__new__(Node)
    node._groups, node._maintenance = {"web": group}, SimpleNamespace(load=load)
    node._house = SimpleNamespace(know_neighbours=lambda name: None)
    node._adapters = SimpleNamespace(greet=lambda group: group.feed("how adapters stand"))
    node._room = SimpleNamespace(news=lambda: None)
    node._roster = SimpleNamespace(named="peers")
    node._members = SimpleNamespace(news=["members"], greet=lambda group: None)
    node._spawn = lambda work: None
    asyncio.run(node._start_group("web"))
    known = ["peers", "members"]
    assert steps == [
        *(("load", False), "server", "engine", *known, ev.MaintenanceChanged(3), "how adapters stand")
    ]


@pytest.mark.parametrize("ends", [False, True])
def test_a_group_that_had_to_wait_goes_by_the_file_as_it_is_then(ends: bool, tmp_path: Path) -> None:
    """What was read again while it waited it could not take in. A daemon that ends starts none any more."""
    steps: list[object] = []

    async def play() -> None:
        group = SimpleNamespace(
            name="web", stored=SimpleNamespace(read=asyncio.Event()), finished=asyncio.Event()
        )
        node: Any = Node.__new__(Node)
        node._config, node._secrets, node._groups = config_in(tmp_path), None, {"web": group}
        node._changing, waiting = asyncio.Lock(), []

        async def start(name: str) -> None:
            steps.append("started")

        node._spawn, node._start_group = waiting.append, start
        node._configure = lambda group, config, section, secrets: steps.append(section)
        await node._begin("web")
        assert waiting and not steps
        if ends:
            group.finished.set()
        node._config = config_in(tmp_path)
        group.stored.read.set()
        await waiting[0]
        assert steps == ([] if ends else ["started", node._config.group[0]])

    asyncio.run(play())


@pytest.mark.parametrize("fails", ["epochs", "lockstep"])
def test_no_engine_is_left_open_by_a_group_that_cannot_come(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would close it, and the next try would find its queues taken. The loop does not wait meanwhile:
    a file for lock step may have hundreds of MiB."""
    in_loop: list[bool] = []

    def prepare(*_: object) -> None:
        in_loop.append(threading.current_thread() is threading.main_thread())
        if fails == "lockstep":
            raise lockstep.LockstepError("lockstep: no room")

    def engine(_: object) -> None:
        pytest.fail("an engine was opened")

    async def end_connections(_: str) -> None:
        pass

    monkeypatch.setattr(lockstep, "prepare", prepare)
    node: Any = Node.__new__(Node)
    node._config, node._factory = config_in(tmp_path), engine
    node._network = SimpleNamespace(end_connections=end_connections)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "web.epoch").write_text("none" if fails == "epochs" else "7")
    with pytest.raises(OSError, match="no number" if fails == "epochs" else "no room"):
        asyncio.run(node._prepare(node._config.group[0], Secrets(KeyRing((bytes(32),)))))
    assert not any(in_loop)
