"""What an operator changes while a pair serves: timeouts and bounds, the key; nobody notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.hosts import await_condition
from lab.network import SERVICE4
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

NODES = ("alpha", "beta")


@pytest.fixture(scope="module")
def made() -> Iterator[Pair]:
    yield from pair_named("live", ("timing.udp_idle_timeout_s=600",), ("udp-echo",))


@pytest.fixture
def pair(made: Pair) -> Pair:
    return made.ready()


def epochs(pair: Pair) -> list[int]:
    return [int(pair.group(node)["epoch"]) for node in NODES]


def test_timeouts_and_bounds_change_without_a_restart(pair: Pair) -> None:
    before, pids = epochs(pair), [pair.group(node)["server"]["pids"] for node in NODES]
    asked = ["socat", "-t1", "-", f"UDP4:{SERVICE4}:1700"]
    assert pair.lab.exec("client", asked, input="hello").stdout == "hello"
    assert [pair.group(node)["flows"]["udp"] for node in NODES] == [1, 1]
    for node in NODES:
        file = pair.lab.home / node / "node.toml"
        text = file.read_text()
        file.write_text(
            text.replace("udp_idle_timeout_s = 600", "udp_idle_timeout_s = 1\nend_grace_ms = 300")
        )
        told = pair.order(node, "reload")
        assert told["status"] == 0 and "group.lab.timing.udp_idle_timeout_s: 600 -> 1" in told["changed"]
    # it would have lived for ten minutes
    await_condition(lambda: [pair.group(n)["flows"]["udp"] for n in NODES] == [0, 0], 20, "the session ends")
    assert epochs(pair) == before and all(pair.group(node)["synced"] for node in NODES)
    assert [pair.group(node)["server"]["pids"] for node in NODES] == pids


def test_what_cannot_change_is_refused_with_what_to_do(pair: Pair) -> None:
    file = pair.lab.home / "alpha" / "node.toml"
    good = file.read_text()
    file.write_text(
        good.replace("[group.timing]", "[group.limits]\nmax_flows = 99\n[group.timing]\nheartbeat_ms = 30")
    )
    try:
        told = pair.order("alpha", "reload")
    finally:
        file.write_text(good)
    assert told["status"] == 1 and told["reason"] == "needs-restart"
    beats, flows = sorted(told["restart"], reverse=True)
    assert beats.startswith("group.lab.timing.heartbeat_ms: 20 -> 30; all nodes must have the same")
    assert flows.startswith("group.lab.limits.max_flows: 65536 -> 99; restart the daemon")


def test_the_key_is_exchanged_by_commands(pair: Pair) -> None:
    """As docs/heartbeats.md tells it. A stage that comes too early is refused, and nothing has happened."""
    before = epochs(pair)
    keys = [pair.lab.home / node / "key" for node in NODES]

    def known(node: str, peer: str, count: int) -> bool:
        return len(pair.group(node)["keys"]["peers"][peer]["believed"]) == count

    assert pair.order("alpha", "key", "add")["stage"] == "added"
    early = pair.order("alpha", "key", "use")
    assert early["status"] == 1 and early["reason"] == "not-everywhere" and len(early["missing"]) == 2
    assert pair.order("alpha", "reload")["status"] == 0
    assert [line.split()[0] for line in pair.order("alpha", "key", "use")["missing"]] == ["beta"]
    keys[1].write_bytes(keys[0].read_bytes())
    assert pair.order("beta", "reload")["status"] == 0
    await_condition(
        lambda: known("alpha", "beta", 2) and known("beta", "alpha", 2), 5, "both keys are believed"
    )
    for node, other in (NODES, NODES[::-1]):
        assert pair.order(node, "key", "use")["stage"] == "turned"
        assert pair.order(node, "reload")["status"] == 0
        new = pair.order(node, "key", "show")["sending"]
        sent = lambda o=other, n=node, k=new: pair.group(o)["keys"]["peers"][n]["sending"] == k  # noqa: E731
        await_condition(sent, 30, f"{node} sends with the new key")
        if node == "alpha":
            assert pair.order(node, "key", "drop")["reason"] == "not-everywhere"
    for node in NODES:
        assert pair.order(node, "key", "drop")["stage"] == "one key"
        assert pair.order(node, "reload")["status"] == 0
    assert keys[0].read_bytes() == keys[1].read_bytes()
    assert epochs(pair) == before and all(pair.group(node)["synced"] for node in NODES)
    for node in NODES:
        told = {event["event"] for event in pair.lab.ask(node, {"op": "events"}, 5)["events"]}
        assert not told & {"intrusion", "peer-lost", "out-of-step"}
