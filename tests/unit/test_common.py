"""Many groups in one loop: whose gate opens first, one pulse for all, looks at servers in common rounds."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fttcp.arbiter.probe import _Rounds
from fttcp.group.behind import LONGEST_S, Behind
from fttcp.group.common import Common
from fttcp.group.pulse import Pulse, Resting
from fttcp.group.together import Together
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, EngineMode
from fttcp.planes.base import EventKind
from fttcp.planes.fake import FakeEngine
from fttcp.report.events import Event
from fttcp.server.rounds import Conclusion, Facts, Look, Rounds
from tests.groups import make_group
from tests.health import until

GROUPS = 8


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_gates_open_before_anything_else_is_done_about_a_takeover(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer of all groups dies at once: what follows in engines, what is told, and all else waits for the
    last gate."""
    monkeypatch.setattr("fttcp.group.behind.LONGEST_S", 10.0)

    async def test() -> None:
        common, done = Common(), list[str]()
        with ExitStack() as stack:
            backups = []
            for _ in range(GROUPS):
                pair = [make_group("alpha", "beta", 100), make_group("beta", "alpha", 50, common=common)]
                for group, _, _ in pair:
                    group.start()
                    stack.callback(group.close)
                    group.feed(ev.CarrierChanged(True))
                    group.feed(ev.ServerRecovered())
                pair[0][1].connect(pair[1][1])
                for _, engine, _ in pair:
                    engine.post(EventKind.LINK_UP, link=0)
                backups.append((pair[0][0], *pair[1]))
            await until(lambda: all(group.machine.in_step for _, group, _, _ in backups))
            for primary, _, engine, history in backups:
                primary.close()
                watch(engine, done)
                history.listen(lambda event: note(event, done))
            for _, _, engine, _ in backups:
                engine.lose_peer()
            await until(lambda: done.count("told") == GROUPS)
        assert done == ["gate"] * GROUPS + ["released"] * GROUPS + ["told"] * GROUPS

    def watch(engine: FakeEngine, done: list[str]) -> None:
        set_mode, release = engine.set_mode, engine.release

        def noted(mode: EngineMode, session: int, peer: int) -> None:
            done.extend(["gate"] * (mode is EngineMode.SOLO))
            set_mode(mode, session, peer)

        def released() -> None:
            engine.orders.remove(("hold",))
            done.extend(["released"] * (engine.mode is EngineMode.SOLO))
            release()

        engine.set_mode, engine.release = noted, released  # type: ignore[method-assign]

    def note(event: Event, done: list[str]) -> None:
        done.extend(["told"] * (event["event"] == "takeover"))

    run(test)


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_after_the_gates_if_it_was_before(collects: bool) -> None:
    async def test() -> None:
        group, engine, _ = make_group("alpha", "beta", 100)
        Together().hold(engine)
        assert not gc.isenabled()
        await until(lambda: engine.orders[-1:] == [("release",)])
        assert gc.isenabled() is collects
        group.close()

    was = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        run(test)
    finally:
        (gc.enable if was else gc.disable)()


def test_a_group_whose_arbiter_is_silent_keeps_others_from_their_work_for_a_while_only() -> None:
    async def test() -> None:
        behind, done = Behind(), list[str]()
        behind.hurry("one", True)
        behind.put(lambda: done.append("late"))
        await until(lambda: done == ["late"])
        behind.hurry("other", True)
        behind.put(lambda: done.append("later"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert done == ["late"]
        behind.hurry("other", False)
        await until(lambda: done == ["late", "later"])

    run(test)


def test_work_waits_no_longer_for_groups_that_decide_one_after_the_other() -> None:
    """And one that hurries for another reason than before is waited for again."""

    async def test() -> None:
        behind, done, began = Behind(), list[str](), asyncio.get_running_loop().time()
        behind.put(lambda: done.append("done"))
        for number in count():
            behind.hurry(number, True)
            await asyncio.sleep(LONGEST_S / 20)
            if done:
                break
        assert asyncio.get_running_loop().time() >= began + LONGEST_S and len(behind._hurried) == number + 1
        assert behind._wait_s() == 0.0, "there is no more to do"
        behind.put(lambda: done.append("again"))
        await asyncio.sleep(LONGEST_S)
        behind.hurry(0, True)
        behind.put(lambda: done.append("last"))
        assert behind._hurried[0] < began + LONGEST_S
        behind.hurry(0, True, anew=True)
        assert behind._wait_s() > 0

    run(test)


def test_what_fails_behind_keeps_nothing_else_from_being_done() -> None:
    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        behind, done = Behind(), list[str]()
        behind.put(lambda: cast(Callable[[], None], None)())
        behind.put(lambda: done.append("done"))
        await until(lambda: done == ["done"])

    run(test)


def test_an_address_is_probed_twice_however_long_rounds_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one frame nobody knows whether it arrived."""

    async def test() -> None:
        sent: list[str] = []

        def send(address: Any) -> None:
            sent.append(address)
            time.sleep(0.001)  # the next round comes after a thousand times as long

        monkeypatch.setattr("fttcp.arbiter.probe._SHARE", 1000)
        rounds = _Rounds(send)
        with rounds.of(cast(Any, ["first"])):
            await until(lambda: sent.count("first") == 3)
            with rounds.of(cast(Any, ["second"])):
                await until(lambda: sent.count("second") == 2)
            assert sent.count("first") == 3

    run(test)


class Beating:
    """A group whose machine is at rest, or not any more."""

    def __init__(self, pulse_ns: int) -> None:
        self.beats: list[int] = []
        self.deadlines, self.rests = 0, True
        self.machine: Any = SimpleNamespace(settings=SimpleNamespace(pulse_ns=pulse_ns), pulse=self.pulse)

    def pulse(self, now_ns: int) -> bool:
        self.beats.append(now_ns)
        return self.rests

    def deadline(self) -> None:
        self.deadlines += 1


def test_groups_at_rest_pulse_together_as_often_as_the_fastest_wants_it() -> None:
    async def test() -> None:
        pulse = Pulse()
        slow, fast = Beating(3600 * 1000 * NS_PER_MS), Beating(NS_PER_MS)
        for group in (slow, fast):
            pulse.join(cast(Resting, group))
        await until(lambda: len(fast.beats) >= 3)
        assert slow.beats == fast.beats and slow.deadlines == 0
        slow.rests = False
        await until(lambda: slow.deadlines > 0)
        assert fast.deadlines == 0
        pulse.leave(cast(Resting, fast))
        pulse.leave(cast(Resting, slow))
        beats = len(slow.beats)
        await asyncio.sleep(0.01)
        assert len(slow.beats) == beats

    run(test)


class Server:
    """A server that is looked at."""

    def __init__(self, rounds: list[Facts], fails: bool = False) -> None:
        self.rounds, self.fails = rounds, fails
        self.looks, self.errors = 0, list[str]()

    def next_look(self) -> tuple[Look | None, float]:
        return self.look, 0.001

    def look(self, facts: Facts) -> Conclusion | None:
        self.rounds.append(facts)
        if self.fails:
            raise OSError("no /proc")
        return self.conclude

    def conclude(self) -> None:
        self.looks += 1

    def look_failed(self, error: Exception) -> None:
        self.errors.append(str(error))


def test_servers_are_looked_at_in_common_rounds_and_one_that_cannot_be_spoils_none() -> None:
    async def test() -> None:
        rounds, facts = Rounds(), list[Facts]()
        servers = [Server(facts), Server(facts, fails=True), Server(facts)]
        for server in servers:
            rounds.join(server)
        await until(lambda: servers[0].looks >= 3 and servers[2].looks >= 3)
        assert servers[1].errors == ["no /proc"] and servers[1].looks == 0
        assert facts[0] is facts[1] is facts[2]
        for server in servers:
            await rounds.leave(server)
        looks = len(facts)
        await asyncio.sleep(0.01)
        assert len(facts) == looks
        rounds.join(servers[0])
        await until(lambda: len(facts) > looks)
        await rounds.leave(servers[0])

    run(test)


def test_a_round_that_cannot_begin_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread can be had when there are too many processes: just when looks matter."""

    async def test() -> None:
        rounds, server, real = Rounds(), Server([]), threading.Thread.start
        tried: list[int] = []

        def start(thread: threading.Thread) -> None:
            tried.append(1)
            if len(tried) == 2:
                raise RuntimeError("can't start new thread")
            real(thread)

        monkeypatch.setattr("fttcp.server.rounds._RETRY_S", 0.0)
        monkeypatch.setattr(threading.Thread, "start", start)
        rounds.join(server)
        await until(lambda: server.looks >= 3)
        assert server.errors == ["can't start new thread"]
        await rounds.leave(server)

    run(test)


def test_a_look_that_is_stuck_hinders_no_other_one_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc waits for a process whose memory the kernel has locked."""

    class Stuck(Server):
        held = threading.Event()

        def look(self, facts: Facts) -> Conclusion | None:
            self.held.wait()
            return super().look(facts)

    async def test() -> None:
        monkeypatch.setattr("fttcp.server.rounds._STUCK_S", 0.05)
        rounds, facts = Rounds(), list[Facts]()
        stuck, other = Stuck(facts), Server(facts)
        rounds.join(stuck)
        rounds.join(other)
        await until(lambda: other.looks >= 3)
        assert stuck.errors == ["a look at it has not ended after 0.05 s"] and stuck.looks == 0
        assert await rounds.leave(stuck), "its thread is there still"
        assert not await rounds.leave(other)
        rounds.join(stuck)
        stuck.held.set()
        await until(lambda: stuck.looks >= 2)
        assert len(stuck.errors) == 1
        assert not await rounds.leave(stuck)

    run(test)


def test_a_fact_is_looked_up_once_in_a_round() -> None:
    facts, looked = Facts(), list[str]()
    assert [facts.once("a", lambda: looked.append("a") or 1) for _ in range(3)] == [1, 1, 1]  # type: ignore[func-returns-value]
    assert facts.once("b", lambda: None) is None and looked == ["a"]
