"""The verdict, thresholds, restart policy, and what threads wait for: pure."""

from __future__ import annotations

from typing import Any

import pytest

from fttcp.ownership.model import Cause
from fttcp.server.restart import RestartPolicy
from fttcp.server.settings import RestartSection
from fttcp.server.verdict import Check, State, Thresholds, Verdict
from fttcp.server.waits import Doing, classify


class Told:
    def __init__(self) -> None:
        self.changes: list[tuple[bool, Cause, str]] = []
        self.notes: list[str] = []
        self.restarts = 0
        self.verdict = Verdict(
            self.changed,
            lambda kind, *_, **__: self.notes.append(kind),
            self.restart,
        )

    def changed(self, healthy: bool, cause: Cause, reason: str, serves: bool) -> None:
        self.changes.append((healthy, cause, reason))
        self.serves = serves

    def restart(self, failed: bool = False) -> None:
        self.restarts += 1

    def add(self, name: str, kind: str, action: str) -> Check:
        return self.verdict.add(Check(name, kind, action, Cause.PROBE_FAILED))


def test_a_server_is_healthy_when_it_serves_and_nothing_failed() -> None:
    told = Told()
    probe, memory = told.add("p", "http", "failover"), told.add("memory", "resource", "warn")
    told.verdict.serve(True, Cause.SERVER_DIED, "serving")
    assert not told.changes and told.verdict.reason == "p: no result yet"
    told.verdict.say(probe, State.OK, "fine")
    assert told.changes[-1] == (True, Cause.SERVER_DIED, "serving")
    told.verdict.say(probe, State.FAILING, "once")
    told.verdict.say(memory, State.FAILED, "much")
    assert told.verdict.healthy and memory.state is State.WARNING and told.notes == ["health-warning"]
    told.verdict.say(probe, State.FAILED, "thrice")
    assert told.changes[-1] == (False, Cause.PROBE_FAILED, "p: thrice") and told.restarts == 0
    told.verdict.say(probe, State.FAILED, "four times")
    assert told.verdict.reason == "p: four times" and len(told.changes) == 2
    told.verdict.serve(False, Cause.SERVER_DIED, "ended")
    assert told.verdict.reason == "ended" and len(told.changes) == 2


def test_a_server_that_is_short_of_something_serves_until_it_is_worse() -> None:
    told = Told()
    memory = told.add("memory", "resource", "failover")
    memory.cause = Cause.RESOURCES_EXHAUSTED
    told.verdict.serve(True, Cause.SERVER_DIED, "serving")
    told.verdict.say(memory, State.FAILED, "much")
    assert told.changes[-1][:2] == (False, Cause.RESOURCES_EXHAUSTED) and told.serves
    told.verdict.say(memory, State.FAILED, "more")
    assert len(told.changes) == 2
    told.verdict.serve(False, Cause.SERVER_DIED, "killed")
    assert told.changes[-1] == (False, Cause.SERVER_DIED, "killed") and not told.serves
    told.verdict.serve(True, Cause.SERVER_DIED, "serving")
    told.verdict.say(memory, State.OK, "little")
    memory.action = "restart"
    told.verdict.say(memory, State.FAILED, "much")
    assert not told.serves, "it is about to be restarted"


def test_what_answers_nothing_does_not_serve_whatever_else_it_is_short_of() -> None:
    told = Told()
    memory, probe = told.add("memory", "resource", "failover"), told.add("p", "http", "failover")
    memory.cause = Cause.RESOURCES_EXHAUSTED
    told.verdict.serve(True, Cause.SERVER_DIED, "serving")
    told.verdict.say(memory, State.FAILED, "much")
    assert not told.changes, "nothing is known of it yet"
    told.verdict.say(probe, State.OK, "fine")
    assert told.changes[-1] == (False, Cause.RESOURCES_EXHAUSTED, "memory: much") and told.serves
    told.verdict.say(probe, State.FAILED, "no answer")
    assert told.changes[-1] == (False, Cause.PROBE_FAILED, "p: no answer") and not told.serves
    told.verdict.say(probe, State.OK, "fine")
    assert told.changes[-1] == (False, Cause.RESOURCES_EXHAUSTED, "memory: much") and told.serves
    told.verdict.say(memory, State.OK, "little")
    assert told.changes[-1] == (True, Cause.SERVER_DIED, "serving")


def test_a_restart_is_asked_for_once_for_each_failure() -> None:
    told = Told()
    check = told.add("hang", "progress", "restart")
    told.verdict.serve(True, Cause.SERVER_DIED, "serving")
    for state in (State.FAILED, State.FAILED, State.WAITING, State.OK, State.FAILED):
        told.verdict.say(check, state, "x")
    assert told.restarts == 2


def test_thresholds_count_in_a_row() -> None:
    counts = Thresholds(rise=2, fall=3)
    assert [counts.take(good) for good in (False, False, False, False)] == [None] * 4
    results: list[Any] = [counts.take(good) for good in (True, False, False, True, False, False, False)]
    assert results == [True, True, True, True, True, True, False]
    assert [counts.take(good) for good in (True, False, True, True)] == [False, False, False, True]


def test_delays_double_up_to_a_limit_and_begin_anew_after_steady_times() -> None:
    policy = RestartPolicy(RestartSection(delay_ms=100, delay_most_ms=500, steady_s=10))
    assert [policy.ended(1, True, t) for t in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert policy.ended(11, True, 100) == 0.1 and policy.total == 6


def test_the_limit_counts_within_its_window() -> None:
    policy = RestartPolicy(RestartSection(delay_ms=0, limit=2, window_s=60))
    assert [policy.ended(1, True, t) for t in (0, 30, 61, 62)] == [0.0, 0.01, 0.02, None]
    assert policy.gave_up
    policy.forgive()
    assert not policy.gave_up and policy.ended(1, True, 63) == 0.0


def test_policies() -> None:
    assert RestartPolicy(RestartSection(policy="never")).ended(1, True, 0) is None
    once = RestartPolicy(RestartSection(policy="on-failure"))
    assert once.ended(1, False, 0) is None and once.ended(1, True, 0) == 0.1 and not once.gave_up


@pytest.mark.parametrize(
    ("state", "call", "doing"),
    [
        ("S", "202 0x7f 0x189 0x0 0x0 0x0 0xffffffff 0x7ff 0x7fe", Doing.LOCKED),
        ("S", "202 0x7f 0x80 0x0 0x0 0x0 0x0 0x7ff 0x7fe", Doing.LOCKED),
        ("S", "202 0x7f 0x189 0x0 0x7ffc 0x0 0xffffffff 0x7ff 0x7fe", Doing.SLEEPING),
        ("S", "61 0xffffffff 0x0 0x0 0x0 0x0 0x0 0x7ff 0x7fe", Doing.LOCKED),
        ("S", "72 0x3 0x7 0x0 0x0 0x0 0x0 0x7ff 0x7fe", Doing.WAITING),
        ("S", "34 0x0 0x0 0x0 0x0 0x0 0x0 0x7ff 0x7fe", Doing.WAITING),
        ("S", "202 0x7f 0x109 0x0 0x0 0x0 0xffffffff 0x7ff 0x7fe", Doing.LOCKED),
        ("S", "230 0x1 0x0 0x0 0x0 0x0 0x0 0x7ff 0x7fe", Doing.SLEEPING),
        ("S", "44 0x4 0x0 0x0 0x0 0x0 0x0 0x7ff 0x7fe", Doing.WRITING),
        ("S", "232 0x4 0x0 0x0 0xffffffff 0x0 0x0 0x7ff 0x7fe", Doing.WAITING),
        ("S", "0 0x4 0x0 0x0 0xffffffff 0x0 0x0 0x7ff 0x7fe", Doing.WAITING),
        ("S", "", Doing.UNKNOWN),
        ("R", "running", Doing.RUNNING),
        ("S", "running", Doing.RUNNING),
        ("D", "", Doing.DISK),
        ("T", "", Doing.STOPPED),
    ],
)
def test_what_a_thread_waits_for(state: str, call: str, doing: Doing) -> None:
    assert classify(state, call, "x86_64") is doing


def test_an_unknown_machine_is_never_judged() -> None:
    assert classify("S", "202 0x7f 0x189 0x0 0x0 0x0 0xffffffff 0x7ff 0x7fe", "m68k") is Doing.UNKNOWN


def test_a_lock_that_other_processes_share_is_none_of_ours() -> None:
    joined = "202 0x7f 0x109 0x0 0x0 0x0 0xffffffff 0x7ff 0x7fe"
    assert classify("S", joined, "x86_64", lambda address: address == 0x7F) is Doing.WAITING
