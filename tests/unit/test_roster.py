"""What groups are told of the other nodes, and of their record, when these change while the daemon runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from fttcp.group.readiness import Hinders
from fttcp.node.members import MembersKeeper
from fttcp.node.roster import Roster
from fttcp.ownership import events as ev
from fttcp.ownership.members import Members
from fttcp.planes.base import EventKind
from fttcp.report.events import History
from tests.groups import make_group
from tests.unit.test_arbiter_config import WITNESS
from tests.unit.test_config import GOOD
from tests.unit.test_reload import config

RECORD = Members().tell("beta", ["alpha"]).tell("alpha", ["beta"])


def test_without_an_arbiter_no_other_node_comes_while_the_daemon_runs(tmp_path: Path) -> None:
    """The two draw epochs by both names, and each takes the first of its peers for the only other node."""
    for text, refused in ((GOOD, True), (GOOD + WITNESS, False)):
        before = config(tmp_path, text)
        gamma = msgspec.structs.replace(before.peer[0], name="gamma")
        objection = Roster(before, {}).objection(msgspec.structs.replace(before, peer=[gamma]), None)
        assert ("without an arbiter" in objection) is refused


def test_a_group_that_starts_late_knows_what_was_told_before(tmp_path: Path) -> None:
    async def play() -> None:
        group, engine, _ = make_group("alpha", "beta", 100)
        file = config(tmp_path, GOOD + WITNESS)
        roster, keeper = Roster(file, {"web": group}), MembersKeeper(file, {"web": group}, History("alpha"))
        keeper._learn(RECORD)
        assert roster.named == ev.PeersNamed(("beta",))
        engine.post(EventKind.LINK_UP, peer=1, link=0)
        group.start(ev.PeersNamed(("beta", "gamma")), *keeper.news)
        try:
            assert group.machine.settings.members == RECORD and not group.machine.settings.pair
            assert group.machine.view.peers[1].links == 1, "heard as soon as the engine ran"
        finally:
            group.close()

    asyncio.run(play())


def test_a_member_whose_word_is_refused_is_ready_as_long_as_it_serves(tmp_path: Path) -> None:
    keeper = MembersKeeper(config(tmp_path, GOOD + WITNESS), {}, History("alpha"))
    keeper._settle("gamma cannot be taken out")
    assert [reason.hinders for reason in keeper._reasons()] == [Hinders.SERVICE], (
        "nobody has told who may own"
    )
    keeper._learn(RECORD)
    assert [reason.hinders for reason in keeper._reasons()] == [Hinders.BACKUP]
