"""A cold group whose node is to serve: what its server's health means for the engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from fttcp.group.group import GroupRuntime
from fttcp.ownership import events as ev
from fttcp.ownership.model import Cause, Phase, Role, Settings
from fttcp.ownership.pair import PairMachine
from fttcp.planes.fake import FakeEngine
from fttcp.report.events import History
from fttcp.wire import clock
from tests.health import until
from tests.unit.test_group_runtime import LEASE, Consent, engine_settings


class Busy(FakeEngine):
    """Its server is told for ever."""

    def promote(self) -> None:
        self.orders.append(("promote",))


class Server:
    """See ``Health``."""

    def __init__(self, group: GroupRuntime) -> None:
        self.group, self.pids = group, [1]
        self.resting, self.reason, self.lacks = True, "", ""

    def wake(self) -> None:
        self.resting = False
        self.group.server_changed(False, Cause.SERVER_DIED, "it starts")

    def rest(self) -> None:
        self.resting = True

    def role_changed(self, role: Role, epoch: int, cause: Cause) -> None:
        return

    def shown(self) -> dict[str, Any]:
        return {}


def test_each_server_is_promoted_once() -> None:
    """What one was told of is given up for another one: not because a check failed for a moment."""

    async def test() -> None:
        wanted = replace(engine_settings("alpha"), cold=True)
        settings = Settings("web", "alpha", ("beta",), 100, LEASE, 1000, LEASE, boot_id=1, cold=True)
        engine = Busy(wanted)
        machine = PairMachine(settings, clock.now_ns())
        group = GroupRuntime(machine, engine, History("alpha"), Consent(), lambda backup: None)
        server: Any = Server(group)
        group.server = server
        group.start()
        group.feed(ev.CarrierChanged(True))
        group.server_changed(True, Cause.SERVER_DIED, "it rests")
        await until(lambda: machine.phase is Phase.PROMOTING and not server.resting)
        course = ((True, [1], 1), (False, [1], 1), (True, [1], 1), (False, [], 1), (True, [2], 2))
        for healthy, pids, orders in course:
            server.pids = pids
            group.server_changed(healthy, Cause.SERVER_DIED, "")
            assert engine.orders.count(("promote",)) == orders
        group.close()

    asyncio.run(test())
