"""What groups are told of the other nodes, and of their record, when these change while the daemon runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fttcp.group.readiness import Hinders
from fttcp.node.members import MembersKeeper
from fttcp.node.roster import Roster
from fttcp.ownership import events as ev
from fttcp.ownership.members import Members
from fttcp.planes.base import EventKind, PeerSettings
from fttcp.planes.error import EngineError
from fttcp.report.events import History
from tests.groups import make_group
from tests.unit.test_arbiter_config import WITNESS
from tests.unit.test_config import GOOD
from tests.unit.test_pair import SETTINGS, Driver
from tests.unit.test_reload import config

RECORD = Members().tell("beta", ["alpha"]).tell("alpha", ["beta"])


def test_without_an_arbiter_no_other_node_comes_while_the_daemon_runs(tmp_path: Path) -> None:
    """The two draw epochs by both names, and each takes the first of its peers for the only other node."""
    for text, refused in ((GOOD, True), (GOOD + WITNESS, False)):
        before = config(tmp_path, text)
        gamma = msgspec.structs.replace(before.peer[0], name="gamma")
        objection = Roster(before, {}).objection(msgspec.structs.replace(before, peer=[gamma]), None)
        assert ("without an arbiter" in objection) is refused


class Links:
    """Stands for heartbeats: what cannot be opened, and what is heard."""

    def __init__(self) -> None:
        self.peers, self.closed, self.gone = 1, True, dict[int, bool]()

    def add_peer(self, peer: PeerSettings) -> None:
        if self.closed:
            raise EngineError("peer[1].link[0]: it cannot be opened")
        self.peers += 1

    def part_with(self, number: int, gone: bool) -> None:
        self.gone[number] = gone


def test_a_peer_whose_links_cannot_be_opened_takes_no_number(tmp_path: Path) -> None:
    """Else the next one has another number in heartbeats than in engines and machines."""

    async def play() -> None:
        group, engine, _ = make_group("alpha", "beta", 100)
        file = config(tmp_path, GOOD + WITNESS)
        roster, links = Roster(file, {"web": group}), Links()
        liveness: Any = links
        gamma = msgspec.structs.replace(file.peer[0], name="gamma")
        both = msgspec.structs.replace(file, peer=[*file.peer, gamma])
        group.start(roster.named)
        with pytest.raises(EngineError):
            roster.adopt(both, liveness, None)
        roster.adopt(file, liveness, None)  # as a reload that failed undoes it
        assert roster.named == ev.PeersNamed(("beta",)) and links.gone == {0: False}
        links.closed = False
        roster.adopt(both, liveness, None)
        assert roster.named == ev.PeersNamed(("beta", "gamma")) and links.gone == {0: False, 1: False}
        assert links.peers == len(engine.settings.peers) == len(group.machine.view.peers) == 2
        group.close()

    asyncio.run(play())


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


def test_what_was_said_of_links_before_the_record_was_known_is_read_by_it() -> None:
    """What has not changed is not said again."""
    driver = Driver(replace(SETTINGS, members=Members()))
    record = Members(1, ("beta", "alpha"), (0b10, 0b01))
    driver.hear(links=0b11 << 8 | 0b100)
    (beta,) = driver.machine.view.peers
    assert beta.said is not None and beta.said.links == 0 and not beta.beats, "it has no place yet"
    driver.step(ev.MembersKnown(record))
    assert beta.said.links == 0b11 and beta.beats
