"""A cold group whose node is to serve: what its server's health means for the engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from fttcp.group.group import GroupRuntime
from fttcp.group.recording import Recorder
from fttcp.ownership import events as ev
from fttcp.ownership.model import Cause, Phase, Role, Settings
from fttcp.ownership.pair import PairMachine
from fttcp.planes.fake import FakeEngine
from fttcp.report.events import History
from fttcp.wire import clock
from tests.groups import LEASE, Consent, engine_settings
from tests.health import until
from tests.unit.test_recording import section


class Busy(FakeEngine):
    """Its server is told for ever."""

    def promote(self) -> None:
        self.orders.append(("promote",))


class Server:
    """See ``Health``."""

    def __init__(self, group: GroupRuntime) -> None:
        self.group, self.pids = group, [1]
        self.resting, self.reason, self.lacks = True, "", ""
        self.held: list[str] = []

    def wake(self) -> None:
        self.resting = False
        self.group.serving.changed(False, Cause.SERVER_DIED, "it starts")

    def rest(self) -> None:
        self.resting = True

    def hold(self, why: str) -> None:
        self.held.append(why)

    def role_changed(self, role: Role, epoch: int, cause: Cause) -> None:
        return

    def shown(self) -> dict[str, Any]:
        return {}


def cold_group() -> tuple[GroupRuntime, Any, Busy]:
    wanted = replace(engine_settings("alpha"), cold=True)
    settings = Settings("web", "alpha", ("beta",), 100, LEASE, 1000, LEASE, boot_id=1, cold=True)
    engine = Busy(wanted)
    machine = PairMachine(settings, clock.now_ns())
    group = GroupRuntime(machine, engine, History("alpha"), Consent(), lambda backup: None)
    server: Any = Server(group)
    group.server = server
    return group, server, engine


def test_each_server_is_promoted_once() -> None:
    """What one was told of is given up for another one: not because a check failed for a moment."""

    async def test() -> None:
        group, server, engine = cold_group()
        machine = group.machine
        group.start()
        group.feed(ev.CarrierChanged(True))
        group.serving.changed(True, Cause.SERVER_DIED, "it rests")
        await until(lambda: machine.phase is Phase.PROMOTING and not server.resting)
        course = ((True, [1], 1), (False, [1], 1), (True, [1], 1), (False, [], 1), (True, [2], 2))
        for healthy, pids, orders in course:
            server.pids = pids
            group.serving.changed(healthy, Cause.SERVER_DIED, "")
            assert engine.orders.count(("promote",)) == orders
        group.close()

    asyncio.run(test())


def test_who_keeps_a_history_is_fit_when_its_file_is_open(tmp_path: Path) -> None:
    """And has one file for all the time that its server rests."""

    async def test() -> None:
        group, server, engine = cold_group()
        group.recorder = Recorder("alpha", section(tmp_path), engine, group.note)
        group.start()
        group.serving.rest()
        assert server.held and server.held[-1], "its file is not open yet"
        group.serving.rest()
        assert server.held[-1]
        await until(lambda: not server.held[-1])
        assert engine.orders[-1][0] == "record"
        told = len(server.held)
        group.serving.rest()
        await asyncio.sleep(0)
        assert len(server.held) == told and len(list(tmp_path.iterdir())) == 1
        await group.recorder.before_start()
        group.serving.rest()
        assert server.held[-1]
        await until(lambda: not server.held[-1])
        assert len(list(tmp_path.iterdir())) == 3
        group.close()

    asyncio.run(test())
