"""Two groups with engines that have no packets, joined in one loop: the driver between engine and core."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from fttcp.config.words import of_status
from fttcp.group import kept
from fttcp.group.group import GroupRuntime
from fttcp.group.last_words import LastWords
from fttcp.group.shown import is_ready
from fttcp.group.worker_death import WorkerDeath
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import Cause, EngineMode, Lease, Phase, Refusal, Role
from fttcp.ownership.ownership import Answer, Outcome
from fttcp.planes.base import EventKind
from fttcp.planes.fake import FakeEngine
from tests.groups import LEASE, engine_settings, make_group, run
from tests.health import until


def test_the_end_of_a_lease_is_told() -> None:
    """What has passed the gate before that, and waits in the kernel, must not leave later."""

    async def body() -> None:
        lapsed = asyncio.Event()
        group, engine, _ = make_group("alpha", "beta", 100, lapsed.set)
        group.start()
        try:
            engine.post(EventKind.LEASE_LAPSED)
            async with asyncio.timeout(5):
                await lapsed.wait()
        finally:
            group.close()

    asyncio.run(body())


def test_two_groups_get_in_step_and_the_backup_grants() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        assert (alpha_engine.mode, alpha_engine.lease) == (EngineMode.PAIRED, Lease.GRANTED)
        assert (beta_engine.mode, beta_engine.lease) == (EngineMode.BACKUP, Lease.NONE)
        assert beta_engine.grant_to == 1 and alpha_engine.grant_to == 0
        assert alpha_engine.session == beta_engine.session != 0
        assert alpha.status()["synced"] and beta.status()["role"] == "backup"
        assert (
            alpha.status().keys() | {"calls", "lockstep", "server"} == of_status()["field of a group"].keys()
        )

    run(test)


def test_a_backup_asks_beforehand_when_its_primary_is_quiet() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        for engine in (alpha_engine, beta_engine):
            engine.post(EventKind.PEER_QUIET, LEASE - 1)
        await until(lambda: beta._ownership._arbiter.anticipated == 1)
        await until(lambda: not alpha_engine._waiting)
        assert alpha._ownership._arbiter.anticipated == 0
        assert alpha.machine.phase is Phase.PAIRED and beta.machine.in_step

    run(test)


def test_a_lost_primary_is_taken_over_in_order() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        alpha.close()
        beta_engine.lose_peer()
        before = len(beta_engine.orders)
        beta._drain()
        await until(lambda: beta_engine.mode is EngineMode.SOLO)
        orders = [order[0] for order in beta_engine.orders[before:]]
        assert orders == ["publish", "publish", "publish", "set_lease", "set_mode", "announce"]
        assert (beta_engine.mode, beta_engine.lease) == (EngineMode.SOLO, Lease.SELF)
        await asyncio.sleep(0.01)
        (takeover,) = beta.status()["takeovers"]
        assert takeover["cause"] == "peer-lost" and takeover["done_ms"] >= takeover["detected_ms"] > 0

    run(test)


def test_a_takeover_waits_for_no_worker() -> None:
    """What status, counters and flows tell is to be had when a worker is done with its packets."""

    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        alpha.close()
        waits = ("status", "counters", "flows")
        for name in waits:
            setattr(beta_engine, name, None)
        beta_engine.lose_peer()
        beta._drain()
        await until(lambda: beta_engine.mode is EngineMode.SOLO)
        for name in waits:
            delattr(beta_engine, name)

    run(test)


def test_a_loss_that_is_void_gives_the_grant_back() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        beta_engine.post(EventKind.PEER_LOST, LEASE)
        alpha.feed(ev.DeadlineReached())
        alpha_engine.publish(alpha_engine._body or b"", 0)  # a heartbeat comes in
        beta._drain()
        assert beta.machine.phase is Phase.FOLLOWING and beta_engine.grant_to

    run(test)


def test_server_death_moves_the_role() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        alpha.serving.changed(False, Cause.SERVER_DIED, "killed")
        await until(lambda: beta_engine.lease is Lease.SELF)
        assert alpha_engine.lease is Lease.NONE and ("vouch", False) in alpha_engine.orders
        await until(lambda: alpha.machine.phase is Phase.JOINING)
        assert beta.status()["takeovers"][0]["cause"] == "server-died"

    run(test)


class Pids:
    """Stands for the health of a server that has these main processes."""

    def __init__(self, *pids: int) -> None:
        self.pids = list(pids)

    def role_changed(self, role: Role, epoch: int, cause: Cause) -> None:
        """Nothing depends on it here."""

    def restart(self, failed: bool = False) -> None:
        """Nor on that."""


def test_a_dead_servers_children_are_held_for_a_takeover_only() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        alpha.server = Pids(41, 42)
        alpha.set_paused(True)
        for _ in range(2):
            alpha.serving.changed(False, Cause.SERVER_DIED, "killed")
            alpha_engine.orders.clear()
            alpha.serving.changed(True, Cause.SERVER_DIED, "serving")
            assert ("watch_server", (41, 42)) in alpha_engine.orders
            alpha.serving.changed(False, Cause.SERVER_DIED, "killed")
            assert alpha.machine.phase is Phase.PAIRED  # nobody takes over: what it forked may serve on
            assert [order for order in alpha_engine.orders if order[0] == "watch_server"][-1] == (
                "watch_server",
                (),
            )
        alpha.serving.changed(True, Cause.SERVER_DIED, "serving")
        alpha.set_paused(False)
        alpha_engine.orders.clear()
        alpha.serving.changed(False, Cause.SERVER_DIED, "killed")
        assert alpha.machine.phase is Phase.HANDOVER
        assert ("watch_server", ()) not in alpha_engine.orders
        await until(lambda: beta_engine.lease is Lease.SELF)
        await until(lambda: ("watch_server", ()) in alpha_engine.orders)
        assert alpha.machine.phase is Phase.JOINING

    run(test)


def test_a_server_that_cannot_be_looked_at_is_told() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        def refuse(pids: list[int]) -> None:
            raise OSError(2, "No such file or directory")

        told: list[dict[str, Any]] = []
        alpha_engine.watch_server = refuse  # type: ignore[method-assign]
        words = LastWords(alpha_engine, lambda event, level, **fields: told.append({"event": event} | fields))
        words.listen([41])
        assert [one["event"] for one in told] == ["server-unwatched"]
        assert "No such file" in told[0]["why"]

    run(test)


def test_switchover_asked_of_the_backup() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        assert beta.request_switchover() is None
        await until(lambda: beta.status()["role"] == "primary" and alpha.status()["role"] == "backup")
        assert alpha.request_switchover() in (None, Refusal.NOT_PAIRED)

    run(test)


def test_an_engine_that_fails_is_closed() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        alpha_engine.post(EventKind.ERROR, 5)
        await until(lambda: alpha_engine.closed)
        assert alpha.status()["role"] == "fenced"
        await asyncio.wait_for(alpha.finished.wait(), 1)

    run(test)


def test_a_group_that_cannot_go_on_stops_what_must_run_on_one_node_only() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        for group, engine in ((alpha, alpha_engine), (beta, beta_engine)):
            group.server = Mock(reason="", lacks="", resting=False)
            group.machine.settings = replace(group.machine.settings, exclusive=group is alpha)
            engine.post(EventKind.ERROR, 5)
            await asyncio.wait_for(group.finished.wait(), 1)
            await until(lambda group=group: group.status()["role"] == "fenced")  # type: ignore[misc]
            await until(lambda group=group: "fenced" in [e["event"] for e in group._history.since(0)])  # type: ignore[misc]
            assert group.server.rest.called == (group is alpha)

    run(test)


def test_events_are_told_in_the_order_in_which_they_happened() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        before = len(beta._history.since(0))
        alpha.close()
        beta_engine.lose_peer()
        await until(lambda: beta.status()["takeovers"] != [] and beta.status()["takeovers"][0]["done_ms"])
        await asyncio.sleep(0.01)
        told = [event["event"] for event in beta._history.since(before)]
        assert told.count("announced") == 1
        wanted = ["peer-lost", "role", "takeover", "gate-open", "takeover-done"]
        assert [kind for kind in told if kind in wanted] == wanted

    run(test)


def test_a_restart_of_the_server_by_us_is_no_death() -> None:
    class Restarted:
        def __init__(self, group: GroupRuntime) -> None:
            self.group = group
            self.roles: list[tuple[Role, Cause]] = []

        def role_changed(self, role: Role, epoch: int, cause: Cause) -> None:
            self.roles.append((role, cause))

        def restart(self, failed: bool = False) -> None:
            self.group.serving.changed(False, Cause.SERVER_DIED, "restarted")

    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        alpha.server = server = Restarted(alpha)
        assert beta.request_switchover() is None
        await until(lambda: any(e["event"] == "server-restarting" for e in alpha._history.since(0)))
        assert not any(e["event"] == "server-died" for e in alpha._history.since(0))
        await until(lambda: (Role.BACKUP, Cause.SWITCHOVER) in server.roles)
        told = [e["event"] for e in alpha._history.since(0)]  # it never followed with the one that was to end
        assert told.count("in-step") == told.count("out-of-step") == 1
        alpha.serving.changed(False, Cause.SERVER_DIED, "killed")
        assert alpha._history.since(0)[-1]["event"] == "server-died"

    run(test)


def test_a_server_that_is_left_as_it_is_may_follow() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        alpha.serving.changed(True, Cause.SERVER_DIED, "serving")
        alpha.server = Pids(41)
        assert beta.request_switchover() is None
        await until(lambda: alpha.machine.phase is Phase.FOLLOWING and beta.machine.in_step)

    run(test)


def test_both_nodes_tell_when_they_are_in_step_and_when_no_longer() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        def steps(group: Any) -> list[tuple[str, str]]:
            told = group._history.since(0)
            return [(e["event"], e["peer"]) for e in told if e["event"].endswith("-step")]

        assert steps(alpha) == [("in-step", "beta")] and steps(beta) == [("in-step", "alpha")]
        alpha.close()
        beta_engine.lose_peer()
        await until(lambda: len(steps(beta)) == 2)
        assert steps(beta)[1] == ("out-of-step", "alpha")

    run(test)


def test_a_lost_primary_and_a_dead_arbiter_are_shown_as_they_are() -> None:
    """The backup cannot take over: it is not in step with anybody, not ready, and says what it waits for."""

    async def nothing(*asked: Any) -> Answer:
        return Answer(Outcome.UNREACHABLE)

    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        assert is_ready(beta.status()) and not beta.status()["arbiter_awaited"]
        arbiter = beta._ownership._arbiter
        arbiter.propose = arbiter.inquire = arbiter.renew = nothing
        described = arbiter.describe()
        arbiter.describe = lambda: described | {"reachable": False}
        alpha.close()
        beta_engine.lose_peer()
        await until(lambda: beta.status()["arbiter_awaited"])
        state = beta.status()
        assert (state["role"], state["peer_alive"], state["synced"]) == ("backup", False, False)
        assert not is_ready(state)

    run(test)


def test_what_may_change_reaches_engine_machine_and_peer() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        core = replace(alpha.machine.settings, priority=7, startup_wait_ns=9 * LEASE, lease_ns=1)
        tuned = replace(engine_settings("alpha"), detach_after_ns=77)
        alpha.configure(core, tuned, learning=True)
        assert alpha_engine.settings.detach_after_ns == 77 and alpha.detectors is not None
        settings = alpha.machine.settings
        assert (settings.priority, settings.startup_wait_ns, settings.lease_ns) == (7, 9 * LEASE, LEASE)
        await until(lambda: beta.machine.view.peers[0].said.priority == 7)
        alpha.configure(core, tuned, learning=False)
        assert alpha.detectors is None and alpha_engine.orders[-1][0] != "set_mode"
        assert alpha.machine.phase is Phase.PAIRED and beta.machine.in_step

    run(test)


def test_what_the_group_waits_for_is_looked_at_when_something_happened() -> None:
    """A pulse of the machine that decides nothing is no reason: there are many in a second."""

    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        looks: list[str] = []
        pulses = 0
        pulse = beta.machine.pulse

        def count(now_ns: int) -> bool:
            nonlocal pulses
            pulses += pulse(now_ns)
            return pulses % 2 == 0  # each other one is told as an event

        beta.machine.pulse, beta.look = count, lambda: looks.append("")
        await until(lambda: pulses >= 5)
        assert not looks
        beta.feed(ev.ServerKnown(7, False))
        await until(lambda: looks)
        looks.clear()
        beta.learn()  # the round of every few seconds
        assert looks

    run(test)


def test_what_fails_behind_the_orders_keeps_nothing_else_from_being_done() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        failed: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))

        def fail(backup: bool) -> None:
            raise RuntimeError("routes")

        beta._late._shape_routes = fail
        beta._late.put(do.ShapeRoutes(True), do.Refuse(Refusal.PAUSED))
        await until(lambda: beta._history.since(0)[-1]["event"] == "refused")
        assert [str(context["exception"]) for context in failed] == ["routes"]

    run(test)


def test_a_dead_worker_is_weighed_by_the_grace_of_now() -> None:
    """A reload may change for how long ends are held: with less of it the old wait would come too late."""

    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        loop = asyncio.get_running_loop()
        later, waits = loop.call_later, []

        def call_later(delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
            if callback == death._conclude:
                waits.append(delay)
            return later(delay, callback, *args)

        death = WorkerDeath(alpha)
        loop.call_later = call_later  # type: ignore[assignment]
        wanted = engine_settings("alpha")
        for grace_ms in (2000, 8):
            core = alpha.machine.settings
            alpha.configure(core, replace(wanted, end_grace_ns=grace_ms * 1_000_000), learning=False)
            death.crashed(f"process {grace_ms} was ended by SIGKILL")
            await until(lambda: f"process {grace_ms}" in str(alpha._history.since(0)[-1]))  # noqa: B023
        assert waits == [0.02, 0.002]

    run(test)


@pytest.mark.parametrize("able", [True, False])
def test_a_worker_of_a_server_that_is_short_of_memory_is_told_of_as_it_is(able: bool) -> None:
    """The machine that ends it has little memory: it is most of all then that the other node carries on."""

    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        machine, status = alpha.machine, alpha_engine.status
        machine.settings = replace(machine.settings, saves_workers=True)
        alpha_engine.status = lambda: replace(status(), ends_held=2, flows_catching=1)  # type: ignore[method-assign]
        alpha.serving.changed(False, Cause.RESOURCES_EXHAUSTED, "memory: much", True)
        assert machine.phase is Phase.PAIRED
        if not able:
            alpha.set_paused(True)
        WorkerDeath(alpha).crashed("process 7 was ended by SIGKILL")
        await until(lambda: "process 7" in str(alpha._history.since(0)))
        (told,) = [one["reason"] for one in alpha._history.since(0) if one["event"] == "worker-died"]
        if able:
            assert "the other node takes over" in told
            await until(lambda: beta.machine.phase is Phase.SOLO)
        else:
            assert "connections that end: 2, since the group is paused" in told

    run(test)


def test_a_disk_that_hangs_keeps_nobody_waiting_but_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on; so do the threads that all others share, and the process may end."""
    monkeypatch.setattr(kept, "DISK_SLOW_S", 0.001)
    answers, saved = threading.Event(), list[int]()

    def save(count: int) -> None:
        assert threading.current_thread().daemon
        answers.wait(10)
        saved.append(count)

    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        alpha._late._maintenance._save = save
        for paused, told in ((True, "maintenance-not-kept"), (False, "resumed")):
            alpha.set_paused(paused)
            await until(lambda told=told: told in [e["event"] for e in alpha._history.since(0)])
        assert not saved
        answers.set()
        await until(lambda: saved == [1, 2])

    run(test)


def test_what_happens_before_the_start_is_told_at_the_start() -> None:
    """A group that a reload adds is known before its engine runs; carrier and reference may change then."""

    async def body() -> None:
        group, engine, _ = make_group("alpha", "beta", 100)
        for event in (ev.CarrierChanged(True), ev.ReferenceChanged(True)):
            assert group.feed(event) == []
        assert not engine.orders and group.machine.view.carrier_since_ns is None
        group.stop()
        assert group.finished.is_set()
        group.finished.clear()
        group.start()
        try:
            assert engine.orders[0] == ("start",) and group.machine.phase is Phase.LISTENING
        finally:
            group.close()

    asyncio.run(body())
