"""Planned acts: a switchover and a stop lose nothing that is protected, and say before what they lose."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.network import SERVICE4, SERVICE6
from lab.storm import storm
from tests.integration.caller import Caller
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root


@pytest.fixture(scope="module")
def made() -> Iterator[Pair]:
    # nginx tells the time: two servers' answers may differ by a second, which is not what is tested here
    # and nothing is renewed: else there were no connection that a switchover ends
    yield from pair_named("planned", ("unverified=continue", "renew=none"), ("echo", "http"))


@pytest.fixture
def pair(made: Pair) -> Pair:
    return made.ready()


def alone(pair: Pair) -> str:
    """Have a primary without a backup; return the other node."""
    backup = pair.lab.node_in_role("backup")
    primary = pair.lab.node_in_role("primary")
    make_fault(pair.lab, "crash-host", "backup")
    await_condition(lambda: pair.group(primary)["mode"] == "solo", 30, "the primary is alone")
    return backup


@pytest.mark.parametrize("address", [SERVICE4, SERVICE6])
def test_no_timer_of_a_client_is_involved(pair: Pair, address: str) -> None:
    told = storm(pair.lab.name, switchovers=4, number=4, address=address)
    assert told["switchovers"] >= 3
    assert not told["errors"], told
    timers = ("TCPSynRetrans", "TCPTimeouts", "TCPLossProbes")
    assert [told[timer] for timer in timers] == [0, 0, 0]


def test_a_switchover_says_what_it_resets_and_waits_for_it(pair: Pair) -> None:
    other = alone(pair)
    primary = pair.lab.node_in_role("primary")
    with Caller(pair.lab) as early:
        make_fault(pair.lab, "restart-host", other)
        pair.lab.wait("synced", 30)
        with Caller(pair.lab) as late:
            assert pair.group(primary)["flows"]["ending"] == 1, pair.order(primary, "connections", "--all")
            asked = pair.order(primary, "switchover", "lab", "--check")
            assert len(asked["would_end"]) == 1
            refused = pair.order(primary, "switchover", "lab")
            assert (refused["status"], refused["reason"], refused["ended"]) == (1, "would-end", 1)
            assert "would reset 1 connection (1 unprotected); --force" in refused["error"]
            refused = pair.order(primary, "switchover", "lab", "--drain", "200ms")
            assert (refused["status"], refused["reason"]) == (1, "would-end")
            assert pair.group(primary)["role"] == "primary" and early.says("still here")
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            words = pair.command(primary, "switchover", "lab", "--drain", "60s")
            with pair.lab.popen(primary, words, **pipes) as draining:
                assert draining.stderr is not None
                line = draining.stderr.readline()
                assert line == "group lab: a switchover waits for 1 connection (1 unprotected)\n"
                early.end()
                told = json.loads(draining.communicate()[0])
            assert (told["done"], told["ended"], told["role"]) == (True, 0, "backup")
            assert late.says("served by the other node")


def test_force_goes_ahead(pair: Pair) -> None:
    other = alone(pair)
    primary = pair.lab.node_in_role("primary")
    with Caller(pair.lab) as early:
        make_fault(pair.lab, "restart-host", other)
        pair.lab.wait("synced", 30)
        told = pair.order(primary, "switchover", "lab", "--force")
        assert (told["status"], told["done"], told["ended"]) == (0, True, 1)
        assert not early.says("anybody there?")


def test_a_stop_hands_over_and_says_what_it_resets(pair: Pair) -> None:
    primary, backup = pair.lab.node_in_role("primary"), pair.lab.node_in_role("backup")
    with Caller(pair.lab) as caller:
        assert pair.order(primary, "stop", "--check")["would_end"] == []
        told = pair.order(primary, "stop")
        assert (told["status"], told["stopped"], told["ended"]) == (0, True, 0)
        assert caller.says("served by the other node")
        pair.lab.wait(f"primary={backup}", 10)
        refused = pair.order(backup, "stop")
        assert (refused["status"], refused["reason"], refused["ended"]) == (1, "would-end", 1)
        assert caller.says("still here")
        await_condition(lambda: pair.group(backup)["flows"]["ending"] == 1, 30, "the status tells it, too")
        pair.lab.exec(backup, ["sh", "-c", "kill -TERM $(cat /run/fttcp/fttcp.pid)"])  # asks nobody
        log = pair.lab.home / backup / "log/node.log"
        await_condition(lambda: "no backup is in step" in log.read_text(), 30, "the log tells why they end")


def test_a_reload_with_probes_moves_no_role(pair: Pair) -> None:
    nodes = ("alpha", "beta")
    before = [pair.group(node)["epoch"] for node in nodes]
    probe = (
        '\n[[group.health.probe]]\ntype = "http"\nport = 80\nstatus = [200, 403, 404]\ninterval_ms = 100\n'
    )

    def asked(node: str) -> bool:
        checks = pair.group(node)["server"]["checks"]
        return any(check["kind"] == "http" and check["last"] for check in checks)

    files = {node: pair.lab.home / node / "node.toml" for node in nodes}
    written = {node: file.read_text() for node, file in files.items()}
    try:
        with Caller(pair.lab) as caller:
            for text in (probe, "fall = 5\n", probe + 'name = "again"\n'):
                for node, file in files.items():
                    file.write_text(file.read_text() + text)
                    assert pair.order(node, "reload")["status"] == 0
                    await_condition(lambda node=node: asked(node), 30, f"{node} asks its server")  # type: ignore
                    state = pair.group(node)
                    assert state["synced"] and state["server"]["healthy"], state["server"]["reason"]
            assert caller.says("nobody has moved")
    finally:
        for node, file in files.items():
            file.write_text(written[node])
            pair.order(node, "reload")
    assert [pair.group(node)["epoch"] for node in nodes] == before
