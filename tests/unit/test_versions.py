"""Nodes of two releases speak the newest version that both know, or form no pair and say why."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from fttcp._native import lib
from fttcp.cli.questions import _group_lines
from fttcp.ownership import events as ev
from fttcp.ownership.model import Body, Cause, Mode, Phase, Role, Unfit
from fttcp.ownership.versions import Versions, common, shown
from fttcp.planes.fake import FakeEngine
from fttcp.wire import body as codec
from fttcp.wire.errors import WireError
from tests.groups import LEASE, make_group, run
from tests.health import until
from tests.unit.test_pair import SETTINGS, Driver

OURS: Versions = (3, 4)
BODY = Body("web", "beta", Role.BACKUP, Mode.IDLE, 0, 0, True, True, 50, 0xFFFF, lease_ns=LEASE)


@pytest.mark.parametrize(
    ("theirs", "spoken"),
    [((3, 4), 4), ((4, 9), 4), ((1, 3), 3), ((3, 3), 3), ((4, 4), 4), ((5, 6), None), ((1, 2), None)],
)
def test_the_newest_that_both_know(theirs: Versions, spoken: int | None) -> None:
    assert common(OURS, theirs) == common(theirs, OURS) == spoken


def test_people_read_one_number_or_two() -> None:
    assert (shown((3, 3)), shown(OURS)) == ("3", "3 to 4")


def test_this_release_speaks_its_own_version() -> None:
    assert 0 < lib.FTT_CHANNEL_OLDEST <= lib.FTT_CHANNEL_VERSION < 256


def test_bodies_tell_them_and_another_form_is_refused() -> None:
    data = codec.encode(BODY._replace(speaks=OURS))
    assert codec.decode(data).speaks == OURS
    for wrong in ([4, 3], [3], [3, 4, 5], [3, 256], [-1, 3], [True, 3], 3, None):
        with pytest.raises(WireError, match=r"body\.cv"):
            codec.decode(msgpack.packb(msgpack.unpackb(data) | {"cv": wrong}))


def test_a_cause_of_another_release_is_read_and_a_role_is_not() -> None:
    raw = msgpack.unpackb(codec.encode(BODY))
    assert codec.decode(msgpack.packb(raw | {"w": "full moon"})).reason is Cause.OTHER
    with pytest.raises(WireError, match=r"body\.w"):
        codec.decode(msgpack.packb(raw | {"w": 7}))
    for key in ("r", "m"):
        with pytest.raises(WireError, match=rf"body\.{key}"):
            codec.decode(msgpack.packb(raw | {key: "full moon"}))


@pytest.mark.parametrize("theirs", [(1, 2), (5, 9)])
def test_no_pair_without_a_common_version(theirs: Versions) -> None:
    driver = Driver(replace(SETTINGS, speaks=OURS))
    driver.wait(SETTINGS.startup_wait_ns)
    driver.hear(speaks=theirs)
    assert driver.machine.phase is Phase.SOLO
    assert driver.machine.unfit(driver.machine.view.peers[0]) is Unfit.RELEASE
    driver.hear(speaks=(4, 9))
    assert driver.machine.phase is Phase.PAIRING


def test_no_owner_is_followed_without_one() -> None:
    driver = Driver(replace(SETTINGS, speaks=OURS))
    offer = {"role": Role.PRIMARY, "mode": Mode.PAIRING, "epoch": 2, "session": 99}
    driver.hear(speaks=(5, 9), **offer)
    driver.wait(SETTINGS.settle_ns)
    assert driver.machine.phase is Phase.JOINING
    driver.hear(speaks=(3, 3), **offer)
    assert driver.machine.phase is Phase.FOLLOWING


def test_the_engine_is_told_before_a_pair_forms() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        assert alpha.machine.phase is Phase.PAIRED
        said = alpha_engine.peer_body(0)
        assert said is not None
        raw = msgpack.unpackb(said[1])
        alpha.machine.settings = replace(alpha.machine.settings, speaks=OURS)
        for theirs, spoken in (((3, 3), 3), ((4, 7), 4), ((5, 7), 0)):
            beta_engine.publish(msgpack.packb(raw | {"cv": theirs}), 0)
            await until(lambda spoken=spoken: alpha_engine.speaks == {0: spoken})

    run(test)


@pytest.mark.parametrize("owner", [True, False])
def test_status_says_why_there_is_no_pair(owner: bool) -> None:
    async def test() -> None:
        group, _, _ = make_group("alpha", "beta", 100)
        group.machine.settings = replace(group.machine.settings, speaks=OURS)
        group.start()
        try:
            for event in (ev.CarrierChanged(True), ev.ServerRecovered()):
                group.feed(event)
            said = BODY._replace(speaks=(5, 6))
            if owner:
                await until(lambda: group.status()["role"] == "primary", 10)
            else:
                said = said._replace(role=Role.PRIMARY, mode=Mode.SOLO, epoch=2)
            for heard in (ev.PeerHeard(7), ev.LinkFound(0), ev.PeerStated(said)):
                group.feed(heard)
            await until(lambda: group.status()["mode"] == ("solo" if owner else "idle"))
            status = group.status()
            assert [reason["why"] for reason in status["not_ready"]] == ["peer-release"]
            assert [node["speaks"] for node in status["nodes"]] == [OURS, (5, 6)]
            (line,) = (one for one in _group_lines(status) if "commit channel" in one)
            assert "speaks version 5 to 6" in line and "speaks 3 to 4" in line
        finally:
            group.close()

    asyncio.run(test())
