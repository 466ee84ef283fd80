"""Two groups whose servers are kept in step by their calls: who leads, who follows, what people are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fttcp.cli.calls import lines
from fttcp.config.words import of_status
from fttcp.group.group import GroupRuntime
from fttcp.ownership import events as ev
from fttcp.ownership.model import Cause, EngineMode, Phase, Role
from fttcp.planes.base import CallsNews, CallsPart, CallsShown, CallsState, EventKind
from fttcp.planes.fake import FakeEngine
from fttcp.report.events import History
from tests.groups import make_group
from tests.health import until


class Server:
    """Stands for a server that is up as soon as it starts; see ``Health``."""

    resting, reason, lacks, ours = False, "", "", True

    def __init__(self, group: GroupRuntime, engine: FakeEngine) -> None:
        self._group, self._engine = group, engine
        self.pids: list[int] = []
        self.parts: list[str] = []
        """Of its lives."""
        self.failed = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        task = asyncio.get_running_loop().create_task(self._begin())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self) -> None:
        environment = await self._group.calls.begin()
        self.parts.append(environment["FTTCP_CALLS_ROLE"])
        leads = self.parts[-1] == "leader"
        self._engine.calls_told = CallsShown(state=CallsState.LEADS if leads else CallsState.FOLLOWS)
        self.pids = [len(self.parts)]
        self._group.serving.known(len(self.parts), True)
        self._group.serving.changed(True, Cause.SERVER_DIED, "serving")

    def restart(self, failed: bool = False) -> None:
        if self.pids:
            self.pids = []
            self.failed += failed
            self._group.serving.changed(False, Cause.SERVER_DIED, "restarted")
            self.start()

    def role_changed(self, role: Role, epoch: int, cause: Cause) -> None:
        """Nothing depends on it here."""

    def shown(self) -> dict[str, Any]:
        return {}


class Node:
    """One of the two."""

    def __init__(self, name: str, peer: str, priority: int, folder: Path) -> None:
        self.group, self.engine, self.history = make_group(name, peer, priority)
        self.server = Server(self.group, self.engine)
        self.group.server = self.server  # type: ignore[assignment]
        self.group.calls.use(folder / f"{name}.calls")

    def start(self) -> None:
        self.group.start()
        self.group.feed(ev.CarrierChanged(True))
        self.server.start()

    def tell(self, state: CallsState, news: CallsNews, reason: int = 0, **more: Any) -> None:
        """The engine has this to tell."""
        self.engine.calls_told = replace(self.engine.calls_told, state=state, **more)
        self.engine.post(EventKind.CALLS, news, reason=reason)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return noted(self.history, kind)

    async def told(self, kind: str) -> list[dict[str, Any]]:
        """... once there are such events."""
        await until(lambda: bool(self.events(kind)))
        return self.events(kind)

    @property
    def reasons(self) -> set[str]:
        return {reason["why"] for reason in self.group.status()["not_ready"]}


def noted(history: History, kind: str) -> list[dict[str, Any]]:
    return [event for event in history.since(0) if event["event"] == kind]


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[Node, Node]]:
    """In step, the primary first; the backup's server has done all that the primary's has."""
    nodes = Node("alpha", "beta", 100, folder), Node("beta", "alpha", 50, folder)
    for node in nodes:
        node.start()
    nodes[0].engine.connect(nodes[1].engine)
    for node in nodes:
        node.engine.post(EventKind.LINK_UP, link=0)
    await until(lambda: all(node.group.machine.in_step for node in nodes))
    primary, backup = nodes if nodes[0].group.machine.role is Role.PRIMARY else reversed(nodes)
    primary.engine.calls_told = replace(primary.engine.calls_told, in_step=1)
    backup.tell(CallsState.CAUGHT_UP, CallsNews.CAUGHT_UP, log_bytes=4096)
    await backup.told("calls-in-step")
    try:
        yield primary, backup
    finally:
        for node in nodes:
            node.group.close()


def test_a_backup_s_server_follows_from_its_first_call_on(tmp_path: Path) -> None:
    """It began as a leader, since nobody was heard yet. Its log is its own, and told to the engine before."""

    async def test() -> None:
        async with pair(tmp_path) as (primary, backup):
            assert primary.server.parts == ["leader"]
            assert backup.server.parts[-1] == "follower" and backup.server.failed == 0
            orders = [order for order in backup.engine.orders if order[0] in ("calls", "set_mode")]
            begun = (
                "calls",
                tmp_path / f"{backup.group.machine.settings.name}.calls",
                CallsPart.FOLLOWS,
            )
            assert begun in orders and orders[-1][1] == EngineMode.BACKUP
            assert Path(begun[1]).stat().st_mode & 0o777 == 0o600
            assert backup.group.calls.follows and not primary.group.calls.follows
            assert not backup.reasons and not primary.reasons
            told = backup.group.status()["calls"]
            assert told["part"] == "follower" and told["state"] == "caught-up"
            assert told.keys() == of_status()["field of calls"].keys()
            assert lines(told) == ["calls        caught up with the primary's server, 4096 bytes of log"]

        assert not list(tmp_path.glob("*.calls")), "what is in it is secret"

    asyncio.run(test())


def test_a_follower_goes_on_by_itself_after_a_takeover(tmp_path: Path) -> None:
    """It is not ended, says that nobody can follow it, and people are told what to do."""

    async def test() -> None:
        async with pair(tmp_path) as (primary, backup):
            lives = len(backup.server.parts)
            primary.group.close()
            backup.engine.lose_peer()
            await until(lambda: backup.engine.mode is EngineMode.SOLO)
            backup.tell(CallsState.ALONE, CallsNews.ALONE)
            await until(lambda: "calls-alone" in backup.reasons)
            assert len(backup.server.parts) == lives and not backup.group._saying.leads
            (event,) = await backup.told("calls-alone")
            assert "fttcp switchover web" in event["todo"]
            assert "NOT PROTECTED" in lines(backup.group.status()["calls"])[0]

    asyncio.run(test())


def test_a_follower_that_was_told_nothing_leads_when_its_owner_is_gone(tmp_path: Path) -> None:
    """Else it would wait for a leader for ever."""

    async def test() -> None:
        async with pair(tmp_path) as (primary, backup):
            backup.engine.calls_told = CallsShown(state=CallsState.FOLLOWS)
            backup.group.calls._life = replace(backup.group.calls._life, given=False)  # type: ignore[type-var]
            primary.group.close()
            backup.engine.lose_peer()
            await until(lambda: backup.server.parts[-1] == "leader" and bool(backup.server.pids))
            assert backup.group.machine.phase is Phase.SOLO

    asyncio.run(test())


def test_a_follower_whose_log_broke_begins_anew_with_a_leader_that_is_whole(tmp_path: Path) -> None:
    """The first call that was not the leader's is told by name; the restart policy says when it begins."""

    async def test() -> None:
        async with pair(tmp_path) as (primary, backup):
            lives = len(backup.server.parts)
            broke = {"why": 1, "made": 2, "said": 5, "pid": 77, "thread": 3, "number": 9, "program": "redis"}
            backup.tell(CallsState.BROKEN, CallsNews.BROKEN, **broke)
            await until(lambda: len(backup.server.parts) > lives)
            (event,) = await backup.told("calls-broken")
            assert event["on"] == backup.group.machine.settings.name and event["program"] == "redis"
            assert (event["call"], event["leader_call"]) == ("getrandom", "clock_gettime")
            assert (event["pid"], event["thread"], event["nth"]) == (77, 3, 9)
            assert "another call" in event["why"]
            assert backup.server.parts[-1] == "follower" and backup.server.failed == 1
            await until(lambda: primary.group.machine.in_step and backup.group.machine.in_step)
            assert primary.server.parts == ["leader"], "the primary's goes on"

    asyncio.run(test())


def test_nobody_begins_to_follow_a_leader_that_is_not_whole(tmp_path: Path) -> None:
    """The log has become too long, or broke there: the backup's server leads itself, to be switched to."""

    async def test() -> None:
        async with pair(tmp_path) as (primary, backup):
            name = primary.group.machine.settings.name
            broke = {"why": 4, "made": 2, "pid": 7, "program": "redis"}
            primary.tell(CallsState.BROKEN, CallsNews.BROKEN, in_step=0, **broke)
            backup.tell(CallsState.BROKEN, CallsNews.BROKEN, reason=1, theirs=1, **broke)
            await until(lambda: backup.server.parts[-1] == "leader" and bool(backup.server.pids))
            for node in (primary, backup):
                (event,) = await node.told("calls-broken")
                assert (event["on"], event["call"], event["pid"]) == (name, "getrandom", 7)
            assert "calls-broken" in primary.reasons and primary.group._saying.leads is False
            assert primary.server.parts == ["leader"]
            told = lines(primary.group.status()["calls"])
            assert told[0].startswith("NOT PROTECTED") and "getrandom" in told[0] and "redis" in told[0]

    asyncio.run(test())


def test_a_log_that_became_too_long_ends_nobody(tmp_path: Path) -> None:
    """Who follows already goes on; a new one could not begin."""

    async def test() -> None:
        async with pair(tmp_path) as (primary, backup):
            lives = len(backup.server.parts)
            primary.tell(CallsState.CUT, CallsNews.TOO_LONG)
            await until(lambda: "calls-cut" in primary.reasons)
            await until(lambda: not backup.group._hearing.aside(primary.group.machine.settings.name).leads)
            backup.group.look()
            assert len(backup.server.parts) == lives and backup.group.machine.in_step
            assert "limits.calls_bytes" in lines(primary.group.status()["calls"])[1]

    asyncio.run(test())


def test_a_leader_whose_log_was_cut_is_followed_as_long_as_it_is() -> None:
    told = {"state": "cut", "in_step": True, "log_bytes": 9, "waits": 0, "broken": None}
    assert "another server follows" in lines(told)[0] and lines(told)[1].startswith("NOT AGAIN")
    assert lines(told | {"in_step": False})[0].startswith("NOT PROTECTED")
