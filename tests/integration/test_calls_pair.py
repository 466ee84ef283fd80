"""lockstep = "calls": redis, whose connections depend on each other, goes on when its host dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.control import NoAnswerError
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES
from lab.workloads.registry import SERVICE
from tests.integration.netns import needs_root
from tests.integration.pair import Pair

pytestmark = needs_root

REDIS = 6379
SERVERS = (
    f"{REDIS}/tcp=redis-server --port {REDIS} --protected-mode no --save '' --hz 100 --bind '*' '-::*'",
)
SETTINGS = ('state="memory"', 'renew="history"', 'lockstep="calls"')
TOLD_S = 60
_DAMAGE = """
import sys
with open(sys.argv[1], "r+b") as log:
    log.seek(4096)  # the heads of the rings
    log.write(b"\\xff" * 4096)
"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    lab = Lab(f"test-calls-{os.getpid()}")
    try:
        lab.up(SERVERS, SETTINGS)
        yield Pair(lab)
    finally:
        lab.down()


def roles(pair: Pair) -> tuple[str, str]:
    """The primary, and the other one."""
    primary = pair.lab.node_in_role("primary")
    return primary, next(node for node in NODES if node != primary)


def await_followed(pair: Pair) -> None:
    """Until the backup's server has done all that the primary's has."""

    def followed() -> bool:
        primary, backup = (pair.group(node) for node in roles(pair))
        return bool(
            primary["calls"]["in_step"]
            and backup["calls"]["state"] == "caught-up"
            and primary["history"]["stage"] == "marked"
            and not primary["flows"]["catching"]
            and backup["ready"]
        )

    await_condition(followed, TOLD_S, "the backup's server to follow")


def events(pair: Pair, node: str, kind: str) -> list[dict[str, Any]]:
    """Those that the node has told."""
    told = pair.lab.ask(node, {"op": "events"}, 5)["events"]
    return [event for event in told if event["event"] == kind]


class Client:
    """redis_story.py in the client's namespace."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begin(self, turns: int) -> None:
        """It is to take so many."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n" * turns)
        self._process.stdin.flush()

    def await_turns(self, count: int) -> None:
        """Until it has taken so many of them, and each was right."""
        assert self._process.stdout is not None and self._process.stderr is not None
        for _ in range(count):
            line = self._process.stdout.readline()
            assert line == "turn\n", line or self._process.stderr.read()

    def turns(self, count: int) -> None:
        """Both."""
        self.begin(count)
        self.await_turns(count)


@contextmanager
def client(pair: Pair) -> Iterator[Client]:
    program = str(Path(__file__).with_name("redis_story.py"))
    process = pair.lab.popen(
        CLIENT, [sys.executable, program, SERVICE[4], str(REDIS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Client(process)
    finally:
        process.kill()
        process.wait()


def comes_back(pair: Pair, node: str) -> None:
    """Its host, with a daemon that answers."""
    make_fault(pair.lab, "restart-host", node)

    def answers() -> bool:
        try:
            return bool(pair.group(node))
        except NoAnswerError:
            return False

    await_condition(answers, TOLD_S, f"{node} to answer")


def protected(pair: Pair) -> int:
    """How many connections."""
    return int(pair.group(roles(pair)[0])["flows"]["protected"])


@pytest.mark.parametrize("fault", ["crash-host", "kill-server", "switchover"])
def test_what_follows_from_chance_time_and_order_goes_on(pair: Pair, fault: str) -> None:
    """TTL, SCAN, RANDOMKEY, SPOP, pub/sub and blocking pops of one client: nothing contradicts what was
    said. The server that goes on says that nobody can follow it."""
    await_followed(pair)
    with client(pair) as one:
        one.begin(2000)
        one.await_turns(100)
        assert protected(pair) == 4, pair.group(roles(pair)[0])["flows"]
        struck, heir = roles(pair)
        make_fault(pair.lab, fault, struck)
        one.await_turns(1900)
    assert roles(pair)[0] == heir
    assert pair.group(heir)["calls"]["state"] == "alone"
    assert "calls-alone" in pair.reasons(heir)


def test_protection_comes_back_with_a_switchover(pair: Pair) -> None:
    """After a takeover the server must begin anew: the backup's, which leads, is switched to."""
    await_followed(pair)
    struck, heir = roles(pair)
    make_fault(pair.lab, "crash-host", struck)
    comes_back(pair, struck)
    await_condition(
        lambda: pair.group(struck)["role"] == "backup" and pair.group(heir)["synced"], TOLD_S, "a pair again"
    )
    assert pair.group(struck)["calls"]["part"] == "leader"
    make_fault(pair.lab, "switchover", heir)
    await_followed(pair)
    with client(pair) as one:
        one.turns(20)
        make_fault(pair.lab, "crash-host", struck)
        one.turns(20)


def test_a_backup_that_comes_later_does_all_from_the_start(pair: Pair) -> None:
    """Its server is told the log from the first call on; connections that are open are protected then."""
    await_followed(pair)
    with client(pair) as one:
        one.turns(50)
        primary, backup = roles(pair)
        make_fault(pair.lab, "crash-host", backup)
        one.turns(50)
        comes_back(pair, backup)
        await_followed(pair)
        await_condition(lambda: protected(pair) == 4, TOLD_S, "all connections to be held twice")
        one.turns(50)
        make_fault(pair.lab, "crash-host", primary)
        one.turns(50)


def test_a_follower_that_stands_still_costs_protection_and_comes_back(pair: Pair) -> None:
    """The service goes on after detach_after_ms; the loss is told; the follower begins anew."""
    await_followed(pair)
    with client(pair) as one:
        one.turns(20)
        _, backup = roles(pair)
        stopped = str(pair.group(backup)["server"]["pid"])
        pair.lab.exec(backup, ["kill", "-STOP", stopped])
        one.turns(20)
        await_condition(lambda: protected(pair) < 4, 30, "the loss of protection")
        pair.lab.exec(backup, ["kill", "-CONT", stopped])
        one.turns(20)
        await_followed(pair)
        one.turns(20)


def test_a_follower_that_damages_the_log_is_told_of(pair: Pair) -> None:
    """What server and engine share is not believed: the log breaks, the service goes on."""
    await_followed(pair)
    with client(pair) as one:
        one.turns(20)
        _, backup = roles(pair)
        done = pair.lab.exec(backup, [sys.executable, "-c", _DAMAGE, pair.group(backup)["calls"]["file"]])
        assert done.returncode == 0, done.stderr
        one.turns(20)
        await_condition(lambda: bool(events(pair, backup, "calls-broken")), 30, "the break to be told")
        assert events(pair, backup, "calls-broken")[0]["on"] == backup
        one.turns(20)
        await_followed(pair)


def test_a_log_that_is_too_long_is_told_of_and_ends_nobody() -> None:
    """Who follows already goes on; another one cannot begin, and the service goes on unprotected."""
    lab = Lab(f"test-calls-long-{os.getpid()}")
    pair = Pair(lab)
    try:
        lab.up(SERVERS, (*SETTINGS, "limits.calls_bytes=1048576"))
        await_followed(pair)
        with client(pair) as one:
            one.turns(20)
            primary, backup = roles(pair)
            await_condition(
                lambda: one.turns(50) is None and pair.group(primary)["calls"]["state"] == "cut",
                60,
                "the bound",
            )
            assert events(pair, primary, "calls-cut") and protected(pair) == 4
            make_fault(lab, "crash-host", backup)
            one.turns(20)
            comes_back(pair, backup)
            await_condition(lambda: pair.group(primary)["synced"], TOLD_S, "a pair again")
            assert pair.group(backup)["calls"]["part"] == "leader" and protected(pair) == 0
            one.turns(20)
    finally:
        lab.down()
