"""Which node may follow: one whose server has what it needs, and missed nothing that is kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fttcp.config import load
from fttcp.group.group import GroupRuntime
from fttcp.group.secrets import Secrets
from fttcp.node.assembly import core_settings
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import Body, Mode, Phase, Role, Unfit
from fttcp.ownership.pair import PairMachine
from fttcp.planes.fake import FakeEngine
from fttcp.report.events import History
from fttcp.server.hooks import Hooks
from fttcp.server.readiness import Readiness
from fttcp.server.settings import HooksSection
from fttcp.wire import body as codec
from fttcp.wire import clock
from fttcp.wire.keyfile import KeyRing
from tests.groups import Consent, engine_settings
from tests.unit.test_config import GOOD
from tests.unit.test_pair import SETTINGS, Driver

MEMORY = replace(SETTINGS, memory=True)


def waits(driver: Driver, **changes: object) -> bool:
    """Whether a peer that waits is left waiting by a primary."""
    driver.hear(**changes)
    return driver.machine.phase is Phase.SOLO


def alone(settings: Any = MEMORY, served: bool = True) -> Driver:
    """A primary that has nobody; ``served``: clients have come."""
    driver = Driver(settings)
    driver.step(ev.ServerKnown(3, True))
    driver.wait(SETTINGS.startup_wait_ns)
    assert driver.machine.phase is Phase.SOLO
    if served:
        driver.step(ev.ClientServed())
    return driver


def starts_with(settings: Any = MEMORY, **peer: object) -> Driver:
    """A primary that started while the other one did, and has its first client at once."""
    driver = Driver(settings)
    driver.step(ev.ServerKnown(3, True))
    driver.hear(role=Role.STARTING, priority=10, **peer)
    driver.wait(SETTINGS.settle_ns)
    assert driver.machine.phase is Phase.SOLO
    driver.step(ev.ClientServed())
    return driver


def test_a_node_that_is_not_ready_is_left_waiting() -> None:
    driver = alone(SETTINGS)
    assert waits(driver, ready=False)
    assert driver.machine.unfit(driver.machine.view.peers[0]) is Unfit.NOT_READY
    assert not waits(driver, ready=True)


def test_an_offer_is_taken_back_from_one_that_is_not_ready_any_more() -> None:
    driver = alone(SETTINGS)
    driver.hear()
    assert driver.machine.phase is Phase.PAIRING
    assert waits(driver, ready=False)


def test_servers_that_start_together_pair() -> None:
    driver = starts_with(run=5)
    assert not waits(driver, run=5)


@pytest.mark.parametrize("run", [0, 6])
def test_a_younger_server_does_not_follow(run: int) -> None:
    """It was not there, or is not the one that was there, when the first client came."""
    driver = starts_with(run=5)
    assert waits(driver, run=run)
    assert driver.machine.unfit(driver.machine.view.peers[0]) is Unfit.YOUNGER


def test_without_memory_a_younger_server_follows() -> None:
    assert not waits(starts_with(SETTINGS, run=5), run=6)


def test_a_server_that_comes_when_clients_were_served_does_not_follow() -> None:
    assert waits(alone(), run=5)


def test_a_server_that_comes_before_the_first_client_follows() -> None:
    driver = alone(served=False)
    driver.wait(2 * SETTINGS.startup_wait_ns)
    assert not waits(driver, run=5)


def test_one_that_had_clients_of_its_own_does_not_follow() -> None:
    assert waits(alone(served=False), run=5, served=True)


def test_one_that_does_not_follow_when_the_first_client_comes_has_missed_something() -> None:
    driver = alone(served=False)
    assert not waits(driver, run=5)
    driver.step(ev.ClientServed())
    assert driver.machine.phase is Phase.PAIRING  # it is about to
    assert waits(driver, run=5, healthy=False)
    assert waits(driver, run=5)


def test_who_was_there_when_the_first_client_came_and_could_not_follow_has_missed_it() -> None:
    driver = alone(served=False)
    driver.hear(run=5, healthy=False)
    driver.step(ev.ClientServed())
    assert waits(driver, run=5)


def test_of_what_others_run_the_one_that_was_there_from_the_beginning_follows() -> None:
    """Its server may have had clients, for all that is known: it was no primary, so it had none here."""
    driver = Driver(MEMORY)
    driver.step(ev.ServerKnown(3, True))
    driver.hear(role=Role.STARTING, priority=10, run=5, served=True)
    driver.wait(SETTINGS.settle_ns)
    assert not waits(driver, run=5, served=True)


def test_a_new_server_has_had_no_client() -> None:
    driver = alone()
    driver.step(ev.ServerKnown(0, True), ev.ServerKnown(4, True))
    assert not driver.machine.body(driver.now).served
    assert not waits(driver, run=5)


def test_what_a_server_that_others_run_has_had_is_not_known() -> None:
    watched = replace(MEMORY, watched=True)
    driver = alone(watched, served=False)
    assert driver.machine.body(driver.now).served
    assert waits(driver, run=5)
    driver = Driver(watched)
    driver.step(ev.ServerKnown(3, True))
    driver.hear(role=Role.STARTING, priority=10, run=5, served=True)
    driver.wait(SETTINGS.settle_ns)
    assert not waits(driver, run=5, served=True)  # it was there when this one began to serve


def test_who_was_there_but_came_too_late_has_missed_something() -> None:
    driver = starts_with(run=5)
    driver.wait(SETTINGS.startup_wait_ns)
    assert waits(driver, run=5)


def test_who_left_has_missed_something() -> None:
    driver = starts_with(run=5)
    driver.hear(run=5)
    driver.hear(run=5, mode=Mode.PAIRING, session=driver.machine.session)
    assert driver.machine.phase is Phase.PAIRED
    assert waits(driver, run=5)  # back at once, and not restarted


def test_after_a_takeover_nobody_has_what_this_server_has() -> None:
    driver = Driver(MEMORY)
    driver.wait(SETTINGS.settle_ns)
    driver.hear(role=Role.PRIMARY, mode=Mode.PAIRING, epoch=2, session=99, run=5)
    driver.hear(role=Role.PRIMARY, mode=Mode.PAIRED, epoch=2, session=99, run=5)
    driver.step(ev.ClientServed())
    driver.lose()
    assert driver.machine.phase is Phase.SOLO
    assert waits(driver, run=5)
    assert waits(driver, run=6)


def test_after_a_takeover_without_any_client_there_is_nothing_to_miss() -> None:
    driver = Driver(MEMORY)
    driver.step(ev.ServerKnown(3, True))
    driver.wait(SETTINGS.settle_ns)
    driver.hear(role=Role.PRIMARY, mode=Mode.PAIRING, epoch=2, session=99, run=5)
    driver.hear(role=Role.PRIMARY, mode=Mode.PAIRED, epoch=2, session=99, run=5)
    driver.lose()
    assert not waits(driver, run=6)


def test_a_node_tells_the_start_of_its_server() -> None:
    driver = Driver()
    (told,) = [c for c in driver.step(ev.ServerKnown(9, False)) if isinstance(c, do.Publish)]
    assert (told.body.run, told.body.ready, told.body.served) == (9, False, False)
    assert codec.decode(codec.encode(told.body)) == told.body
    (told,) = [c for c in driver.step(ev.ClientServed()) if isinstance(c, do.Publish)]
    assert told.body.served and codec.decode(codec.encode(told.body)) == told.body


def test_one_that_does_not_tell_may_have_had_clients() -> None:
    """A release before this one."""
    fields = codec.unpack(codec.encode(Driver().peer(run=5)))
    del fields["sv"]
    assert codec.body_of(fields).served


def test_a_body_without_them_is_refused() -> None:
    body = Body("web", "beta", Role.BACKUP, Mode.IDLE, 0, 0, True, True, 50, 3, run=2**64)
    with pytest.raises(codec.WireError):
        codec.encode(body)


# whose clients are known


@pytest.mark.parametrize(
    ("server", "known"),
    [('command = "nginx"', True), ('commands = ["a", "b"]', False), ('pid_file = "/run/x.pid"', False)],
)
def test_clients_are_known_of_a_server_that_is_one_process_of_ours(
    server: str, known: bool, tmp_path: Path
) -> None:
    """Of several the one that died is started again, and the others keep what they have."""
    path = tmp_path / "node.toml"
    path.write_text(GOOD.replace("command = \"nginx -g 'daemon off;'\"", server))
    config = load(path)
    assert core_settings(config, config.group[0], Secrets(KeyRing((bytes(32),)))).watched is not known


# what an engine counts


def test_clients_are_counted_from_the_start_of_the_server() -> None:
    async def test() -> None:
        settings = replace(MEMORY, boot_id=1)
        engine = FakeEngine(engine_settings("alpha"))
        group = GroupRuntime(
            PairMachine(settings, clock.now_ns()), engine, History("alpha"), Consent(), lambda backup: None
        )
        view = group.machine.view
        group.start()
        try:
            group.serving.known(5, True)
            assert not view.served
            engine.flows_opened = 1
            group.serving.known(5, False)  # whatever happens next
            assert view.served
            engine.flows_opened = 2
            group.serving.known(6, True)
            assert not view.served
            engine.udp_sessions = 1
            group.serving.known(6, False)
            assert view.served
            group.serving.known(7, True)
            assert not view.served
            group.stop()
            engine.flows_opened = 3
            group.feed(ev.ServerRecovered())  # nothing is told any more to who has stopped
        finally:
            group.close()

    run(test)


# the hook


class Told:
    """A Readiness and what it told, in order."""

    def __init__(self, command: str | None) -> None:
        self.said: list[tuple[int, bool]] = []
        self.notes: list[str] = []
        self.changed = asyncio.Event()
        hooks = Hooks(HooksSection(ready_to_follow=command, timeout_ms=5000), {}, self._note)
        self.readiness = Readiness(hooks, self._tell, self._note)

    def _tell(self, run: int, ready: bool) -> None:
        self.said.append((run, ready))
        self.changed.set()

    def _note(self, kind: str, level: str, **fields: Any) -> None:
        self.notes.append(kind)
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), 30)

    asyncio.run(bounded())


def test_without_a_hook_every_start_is_ready_and_another_one() -> None:
    async def test() -> None:
        told = Told(None)
        told.readiness.started()
        first = told.readiness.run
        told.readiness.ask()
        told.readiness.ended()
        told.readiness.started()
        assert [ready for _, ready in told.said] == [True] * 3
        assert len({first, 0, told.readiness.run}) == 3

    run(test)


def test_it_is_asked_until_it_says_yes_and_again_after_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        there = tmp_path / "there"
        told = Told(f"test -e {there}")
        told.readiness.started()
        assert told.said[-1][1] is False
        told.readiness.ask()
        await told.until(lambda: "not-ready" in told.notes)
        assert not told.readiness.ready
        there.touch()
        await told.until(lambda: told.readiness.ready)
        assert told.notes.count("not-ready") == 1
        there.unlink()
        told.readiness.ended()
        told.readiness.started()
        assert not told.readiness.ready
        await told.readiness.close()

    run(test)


def test_a_program_that_cannot_be_run_makes_nobody_ready() -> None:
    async def test() -> None:
        told = Told("/nowhere/program")
        told.readiness.started()
        told.readiness.ask()
        await told.until(lambda: bool(told.readiness.why))
        assert not told.readiness.ready
        await told.readiness.close()

    run(test)
