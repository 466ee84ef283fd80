"""The mirror is tested end to end: heartbeats that pass say nothing about what clients say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import experiment
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import events
from tests.integration.test_ownership import served

pytestmark = needs_root

SERVICE = {"iptables": "10.77.0.100", "ip6tables": "fd77::100"}


CHANNEL = 7711
"""Of the first worker."""


@pytest.fixture(scope="module", params=["nfqueue", "programmable"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    for pair in pair_named(f"mirror-{request.param[0]}", (f"engine={request.param}",)):
        yield pair.ready()


@pytest.mark.parametrize("tool", sorted(SERVICE))
@pytest.mark.parametrize("side", ["backup", "primary"])
def test_a_firewall_on_the_peer_link_that_drops_what_is_mirrored_ends_in_step(
    pair: Pair, tool: str, side: str
) -> None:
    lab = pair.lab
    experiment.mend(lab)
    lab.wait("synced")
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    chain, way = ("INPUT", "-i") if side == "backup" else ("OUTPUT", "-o")
    rule = [chain, way, "peer0", "-p", "tcp", "-d", SERVICE[tool], "-j", "DROP"]
    host = lab.host(lab.node_in_role(side))
    host.run([tool, "-I", *rule])
    try:
        for node in (primary, backup):
            await_condition(lambda node=node: "mirror" in pair.reasons(node), 30, f"{node} tells of it")
            assert not pair.group(node)["synced"] and pair.group(node)["peer_alive"]
            assert any(event.get("reason") == "mirror" for event in events(lab, node, "not-ready"))
        assert SERVICE[tool] in pair.reasons(backup)["mirror"] and served(lab)
        assert pair.group(primary)["ready"] and not pair.group(backup)["ready"]
    finally:
        host.run([tool, "-D", *rule])
    lab.wait("synced")
    await_condition(lambda: not pair.reasons(primary) and not pair.reasons(backup), 15, "it is over")


@pytest.mark.parametrize("side", ["backup", "primary"])
@pytest.mark.parametrize("way", ["INPUT", "OUTPUT"])
def test_a_firewall_that_drops_the_commit_channel_ends_in_step(pair: Pair, side: str, way: str) -> None:
    """All that clients say by UDP goes there, and nobody speaks. Heartbeats, and what is mirrored, pass."""
    lab = pair.lab
    experiment.mend(lab)
    lab.wait("synced")
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    for node in (primary, backup):
        await_condition(lambda node=node: not pair.reasons(node), 15, f"{node} to be ready")
    host = lab.host(lab.node_in_role(side))
    rule = [
        way,
        "-i" if way == "INPUT" else "-o",
        "peer0",
        "-p",
        "udp",
        "--dport",
        str(CHANNEL),
        "-j",
        "DROP",
    ]
    for tool in SERVICE:
        host.run([tool, "-I", *rule])
    try:
        for node in (primary, backup):
            await_condition(lambda node=node: "mirror" in pair.reasons(node), 30, f"{node} tells of it")
            assert not pair.group(node)["synced"] and pair.group(node)["peer_alive"]
        told = pair.reasons(backup)["mirror"]
        assert f"the commit channel (UDP port {CHANNEL})" in told and SERVICE["iptables"] not in told
        assert pair.group(primary)["ready"] and not pair.group(backup)["ready"]
        assert served(lab)
    finally:
        for tool in SERVICE:
            host.run([tool, "-D", *rule])
    lab.wait("synced")
    await_condition(lambda: not pair.reasons(primary) and not pair.reasons(backup), 15, "it is over")


def test_no_server_hears_a_probe(pair: Pair) -> None:
    """On neither node: the primary's rules drop it, the backup's engine takes it out."""
    lab = pair.lab
    lab.wait("synced")
    for node in ("alpha", "beta"):
        # a probe that reached a stack would be answered by a reset, since it belongs to no connection
        before = counter(lab, node, "TcpOutRsts"), counter(lab, node, "TcpExtTCPBacklogDrop")
        number = probes(lab, "beta") + probes(lab, "alpha")
        await_condition(lambda n=number: probes(lab, "alpha") + probes(lab, "beta") > n, 15, "probes come in")
        after = counter(lab, node, "TcpOutRsts"), counter(lab, node, "TcpExtTCPBacklogDrop")
        assert before == after


def counter(lab: Lab, node: str, name: str) -> int:
    shown = lab.exec(node, ["nstat", "-asz", name]).stdout.split()
    return int(shown[shown.index(name) + 1])


def probes(lab: Lab, node: str) -> int:
    (group,) = lab.ask(lab.host(node).name, {"op": "counters"}, timeout_s=5.0)["counters"].values()
    return int(group["mirror_probes"])
