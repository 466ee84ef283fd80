"""What an operator changes while a pair serves: timeouts and bounds, the key; nobody notices."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import SERVICE4
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

FTTCP = str(Path(sys.executable).with_name("fttcp"))
NODES = ("alpha", "beta")


@pytest.fixture(scope="module")
def made() -> Iterator[Pair]:
    yield from pair_named("live", ("timing.udp_idle_timeout_s=600",), ("udp-echo",))


@pytest.fixture
def lab(made: Pair) -> Lab:
    return made.ready().lab


def order(lab: Lab, node: str, *words: str) -> dict[str, Any]:
    """Run a command on a node, with its configuration; return what it tells programs."""
    config = str(lab.home / node / "node.toml")
    done = lab.exec(node, [FTTCP, *words, "--config", config, "--json"])
    told: dict[str, Any] = json.loads(done.stdout)
    return told | {"status": done.returncode}


def group(lab: Lab, node: str) -> dict[str, Any]:
    return dict(lab.ask(node, {"op": "status"}, 5)["groups"][0])


def epochs(lab: Lab) -> list[int]:
    return [int(group(lab, node)["epoch"]) for node in NODES]


def test_timeouts_and_bounds_change_without_a_restart(lab: Lab) -> None:
    before, pids = epochs(lab), [group(lab, node)["server"]["pids"] for node in NODES]
    asked = ["socat", "-t1", "-", f"UDP4:{SERVICE4}:1700"]
    assert lab.exec("client", asked, input="hello").stdout == "hello"
    assert [group(lab, node)["flows"]["udp"] for node in NODES] == [1, 1]
    for node in NODES:
        file = lab.home / node / "node.toml"
        text = file.read_text()
        file.write_text(
            text.replace("udp_idle_timeout_s = 600", "udp_idle_timeout_s = 1\nend_grace_ms = 300")
        )
        told = order(lab, node, "reload")
        assert told["status"] == 0 and "group.lab.timing.udp_idle_timeout_s: 600 -> 1" in told["changed"]
    # it would have lived for ten minutes
    await_condition(lambda: [group(lab, n)["flows"]["udp"] for n in NODES] == [0, 0], 20, "the session ends")
    assert epochs(lab) == before and all(group(lab, node)["synced"] for node in NODES)
    assert [group(lab, node)["server"]["pids"] for node in NODES] == pids


def test_what_cannot_change_is_refused_with_what_to_do(lab: Lab) -> None:
    file = lab.home / "alpha" / "node.toml"
    good = file.read_text()
    file.write_text(
        good.replace("[group.timing]", "[group.limits]\nmax_flows = 99\n[group.timing]\nheartbeat_ms = 30")
    )
    try:
        told = order(lab, "alpha", "reload")
    finally:
        file.write_text(good)
    assert told["status"] == 1 and told["reason"] == "needs-restart"
    beats, flows = sorted(told["restart"], reverse=True)
    assert beats.startswith("group.lab.timing.heartbeat_ms: 20 -> 30; all nodes must have the same")
    assert flows.startswith("group.lab.limits.max_flows: 65536 -> 99; restart the daemon")


def test_the_key_is_exchanged_by_commands(lab: Lab) -> None:
    """As docs/heartbeats.md tells it. A stage that comes too early is refused, and nothing has happened."""
    before = epochs(lab)
    keys = [lab.home / node / "key" for node in NODES]

    def known(node: str, peer: str, count: int) -> bool:
        return len(group(lab, node)["keys"]["peers"][peer]["believed"]) == count

    assert order(lab, "alpha", "key", "add")["stage"] == "added"
    early = order(lab, "alpha", "key", "use")
    assert early["status"] == 1 and early["reason"] == "not-everywhere" and len(early["missing"]) == 2
    assert order(lab, "alpha", "reload")["status"] == 0
    assert [line.split()[0] for line in order(lab, "alpha", "key", "use")["missing"]] == ["beta"]
    keys[1].write_bytes(keys[0].read_bytes())
    assert order(lab, "beta", "reload")["status"] == 0
    await_condition(
        lambda: known("alpha", "beta", 2) and known("beta", "alpha", 2), 5, "both keys are believed"
    )
    for node, other in (NODES, NODES[::-1]):
        assert order(lab, node, "key", "use")["stage"] == "turned"
        assert order(lab, node, "reload")["status"] == 0
        new = order(lab, node, "key", "show")["sending"]
        sent = lambda o=other, n=node, k=new: group(lab, o)["keys"]["peers"][n]["sending"] == k  # noqa: E731
        await_condition(sent, 5, f"{node} sends with the new key")
        if node == "alpha":
            assert order(lab, node, "key", "drop")["reason"] == "not-everywhere"
    for node in NODES:
        assert order(lab, node, "key", "drop")["stage"] == "one key"
        assert order(lab, node, "reload")["status"] == 0
    assert keys[0].read_bytes() == keys[1].read_bytes()
    assert epochs(lab) == before and all(group(lab, node)["synced"] for node in NODES)
    for node in NODES:
        told = {event["event"] for event in lab.ask(node, {"op": "events"}, 5)["events"]}
        assert not told & {"intrusion", "peer-lost", "out-of-step"}
