"""Probes on both nodes of a pair: seen by the local servers only; and what a failing one does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.experiment import Case, Disturbance
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import NODES, SERVICE6
from tests.integration.pair import Pair, pair_named

PROBES = f"""health.probe=[
 {{type="tcp", port=7000, name="v4", interval_ms=50, request="echo\\nping", expect="^ping$"}},
 {{type="tcp", port=7000, name="v6", interval_ms=50, address="{SERVICE6}"}},
 {{type="http", port=80, name="web", interval_ms=50, status=[200, 403, 404]}},
 {{type="udp", port=1700, name="datagram", interval_ms=50, request="ask", expect="ask"}},
 {{type="exec", name="sick", interval_ms=50, fall=2, command="test ! -e sick"}},
]""".replace("\n", "")
HOOKS = (
    "hooks.on_takeover=sh -c 'echo $FTTCP_HOOK $FTTCP_NODE $FTTCP_ROLE $FTTCP_CAUSE >>hooks'",
    "hooks.on_demotion=sh -c 'echo $FTTCP_HOOK $FTTCP_NODE $FTTCP_CAUSE >>hooks'",
)
REFERENCE = (
    'reference.addresses=["10.77.0.10"]',
    "reference.interval_ms=50",
    "reference.timeout_ms=40",
)
WORKLOADS = ("both", "http", "udp-echo")
ASKED = 20
_OF_PROBES = ("mirror_probes", "in_packets", "in_bytes", "verdicts", "verdict_batches")
OWN_WORK = ("announcements", "neighbours_told", "announce_refreshes", "wakeups", *_OF_PROBES)
"""Counters that move without any packet of the service: of the mirror's own probes, for example. Those of
heartbeats as well."""


@pytest.fixture(scope="module")
def probed_pair() -> Iterator[Pair]:
    yield from pair_named("health", (PROBES, *HOOKS, *REFERENCE), WORKLOADS)


@pytest.fixture
def pair(probed_pair: Pair) -> Pair:
    for node in NODES:
        root = probed_pair.lab.home / node / "root"
        if root.exists():
            (root / "sick").unlink(missing_ok=True)
    return probed_pair.ready()


def checks(pair: Pair, host: str) -> dict[str, Any]:
    """The probes of a node, by name."""
    server: Any = pair.group(host)["server"]
    return {check["name"]: check for check in server["checks"] if "asked" in check["last"]}


def frames(lab: Lab, node: str, interface: str) -> subprocess.Popen[Any]:
    """tcpdump of what belongs to the service on an interface: it ends with the first such frame.

    Probes of the mirror come from the port of the commit channel."""
    ours = "(tcp or udp) and not src port 7710"
    what = "host 10.77.0.100 or host fd77::100 or port 7000 or port 80 or port 1700"
    dump = lab.popen(
        node,
        ["tcpdump", "-n", "-l", "--immediate-mode", "-c", "1", "-i", interface, f"{ours} and ({what})"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert dump.stderr is not None
    while "listening on" not in (line := dump.stderr.readline()):
        assert line, "tcpdump did not start"
    return dump


def test_probes_reach_the_local_server_and_nothing_else(pair: Pair) -> None:
    """The servers are asked over and over: no flow, no mirrored, held or emitted packet comes of it."""
    lab = pair.lab
    await_condition(
        lambda: all(c["state"] == "ok" for node in NODES for c in checks(pair, node).values()),
        30,
        "good answers",
    )
    before = {node: dict(pair.group(node)["counters"]) for node in NODES}
    asked = {node: {name: c["last"]["asked"] for name, c in checks(pair, node).items()} for node in NODES}
    dumps = [frames(lab, node, interface) for node in NODES for interface in ("svc0", "peer0")]
    try:
        await_condition(
            lambda: all(
                c["last"]["asked"] >= asked[node][name] + ASKED
                for node in NODES
                for name, c in checks(pair, node).items()
            ),
            30,
            "more questions",
        )
        assert {name: c["state"] for name, c in checks(pair, "backup").items()} == dict.fromkeys(
            asked["beta"], "ok"
        )
        assert len(asked["alpha"]) == 5
        for node in NODES:
            group: Any = pair.group(node)
            more = {k: v - before[node][k] for k, v in group["counters"].items() if "beat" not in k}
            # those on the commit channel are counted as probes only
            assert more["in_packets"] <= more["mirror_probes"], "only probes of the mirror"
            assert not {k: v for k, v in more.items() if v and k not in OWN_WORK}
            assert not any(group["flows"].values())
        for dump in dumps:
            assert dump.poll() is None, dump.stdout.read()  # type: ignore[union-attr]
    finally:
        for dump in dumps:
            dump.kill()
            dump.communicate()
            lab.reap()


def test_a_failing_probe_moves_the_role_and_no_connection_breaks(pair: Pair, tmp_path: Path) -> None:
    lab = pair.lab
    old, new = lab.node_in_role("primary"), lab.node_in_role("backup")

    def strike(lab: Lab) -> float:
        (lab.home / old / "root" / "sick").touch()
        lab.wait(f"primary={new}")
        (lab.home / old / "root" / "sick").unlink()
        return time.monotonic()

    outcome = pair.run(Case("both", moment_s=0.8, duration_s=3.0), tmp_path, Disturbance(strike, mends=True))
    assert outcome.ok, outcome.why
    assert outcome.takeover["cause"] == "probe-failed"
    told = [e for e in lab.ask(old, {"op": "events"})["events"] if e["event"] == "probe-failed"]
    assert told[-1]["reason"] == "sick: ended with status 1"
    hooks = lab.home / new / "root" / "hooks"
    await_condition(
        lambda: hooks.read_text().endswith(f"on-takeover {new} primary probe-failed\n"),
        30,
        "the hook of the new owner",
    )
    lost = (lab.home / old / "root" / "hooks").read_text()
    assert lost.endswith(f"on-demotion {old} probe-failed\n"), lost


def test_a_node_that_loses_its_reference_steps_down(pair: Pair, tmp_path: Path) -> None:
    """Its cable is in, but the reference address does not answer it any more; it does answer the backup."""
    old, new = pair.lab.node_in_role("primary"), pair.lab.node_in_role("backup")
    rule = ["INPUT", "-p", "icmp", "-s", "10.77.0.10", "-j", "DROP"]

    def strike(lab: Lab) -> float:
        lab.exec(old, ["iptables", "-I", *rule])
        lab.wait(f"primary={new}")
        assert pair.group(old)["reference"] is False
        lab.exec(old, ["iptables", "-D", *rule])
        return time.monotonic()

    outcome = pair.run(Case("both", moment_s=0.8, duration_s=3.0), tmp_path, Disturbance(strike, mends=True))
    assert outcome.ok, outcome.why
    assert outcome.takeover["cause"] == "reference-lost"
    await_condition(lambda: pair.group(old)["reference"] is True, 30, "the reference is back")


def test_a_router_that_both_nodes_lost_moves_nothing(pair: Pair) -> None:
    owner = pair.lab.node_in_role("primary")
    rule = ["INPUT", "-p", "icmp", "-s", "10.77.0.10", "-j", "DROP"]
    for node in (pair.lab.node_in_role("backup"), owner):
        pair.lab.exec(node, ["iptables", "-I", *rule])
        await_condition(lambda node=node: pair.group(node)["reference"] is False, 30, "loss")  # type: ignore[misc]
    try:
        epoch = pair.group(owner)["epoch"]
        before = pair.group(owner)["counters"]["beats_sent"]
        await_condition(
            lambda: pair.group(owner)["counters"]["beats_sent"] > before + 100,
            30,
            "more heartbeats",  # type: ignore
        )
        group = pair.group(owner)
        assert (group["role"], group["synced"], group["epoch"]) == ("primary", True, epoch)
    finally:
        for node in NODES:
            pair.lab.exec(node, ["iptables", "-D", *rule])
