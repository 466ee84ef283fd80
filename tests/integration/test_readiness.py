"""Ready means that a takeover would serve, and status says in words what is missing: on real kernels."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Iterator

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

PORT = 9777
REFERENCE = (
    f"http.port={PORT}",
    'reference.addresses=["10.77.0.10"]',
    "reference.interval_ms=50",
    "reference.timeout_ms=40",
)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    for pair in pair_named("ready", REFERENCE):
        yield pair.ready()


@pytest.fixture(autouse=True)
def in_step(pair: Pair) -> None:
    experiment.mend(pair.lab)
    pair.lab.wait("synced")


def page(lab: Lab, node: str, path: str) -> tuple[int, str]:
    """What a load balancer, or Prometheus, on that host is told."""
    done = lab.exec(node, ["curl", "-sS", "-w", "\n%{http_code}", f"http://127.0.0.1:{PORT}{path}"])
    body, _, code = done.stdout.rpartition("\n")
    return int(code), body


def await_ready(lab: Lab, node: str, wanted: bool) -> None:
    """Load balancers and Prometheus are told the same."""

    def told() -> bool:
        code, _ = page(lab, node, "/health/ready")
        _, metrics = page(lab, node, "/metrics")
        return (code == http.client.OK) == wanted and ('fttcp_ready{group="lab"} 1.0' in metrics) == wanted

    await_condition(told, 30, f"{node} is {'' if wanted else 'not '}ready")


def test_a_backup_whose_service_cable_is_out_is_not_ready(pair: Pair) -> None:
    lab = pair.lab
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    for node in (primary, backup):
        await_ready(lab, node, True)
    make_fault(lab, "cut", "client", backup)
    await_condition(lambda: "carrier" in pair.reasons(backup), 30, "it tells")
    await_ready(lab, backup, False)
    await_ready(lab, primary, True)
    assert pair.group(backup)["synced"]
    shown = pair.shown(backup)
    assert "NOT READY    the service interface has no carrier" in shown, shown
    make_fault(lab, "heal")
    await_ready(lab, backup, True)


def test_a_backup_that_does_not_reach_its_reference_is_not_ready(pair: Pair) -> None:
    lab = pair.lab
    backup = lab.node_in_role("backup")
    rule = ["OUTPUT", "-o", "svc0", "-d", "10.77.0.10", "-p", "icmp", "-j", "DROP"]
    arp = ["ip", "neigh", "replace", "10.77.0.10", "lladdr", "02:00:00:00:00:99", "dev", "svc0"]
    host = lab.host(backup)
    host.run(["iptables", "-I", *rule])
    host.run(arp)
    try:
        await_condition(lambda: "reference" in pair.reasons(backup), 30, "it tells")
        await_ready(lab, backup, False)
    finally:
        host.run(["iptables", "-D", *rule])
        host.run(["ip", "neigh", "del", "10.77.0.10", "dev", "svc0"])
    await_ready(lab, backup, True)


def test_another_key_and_another_cluster_are_told_on_both_nodes(pair: Pair) -> None:
    lab = pair.lab
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    config = (lab.home / backup / "node.toml").read_text()
    name = next(line for line in config.splitlines() if line.startswith("cluster"))
    other = config.replace(name, 'cluster = "another"')
    for file, change, why in (
        ("key", secrets.token_hex(32) + "\n", "wrong-key"),
        ("node.toml", other, "wrong-cluster"),
    ):
        before = pair.restart_with(backup, lambda _, text=change: text, file)
        try:
            for node in (primary, backup):
                await_condition(lambda n=node, why=why: why in pair.reasons(n), 20, f"{node} tells {why}")
            shown = pair.shown(primary)
            assert f"UNPROTECTED  {backup} is not heard, but heartbeats come" in shown, shown
        finally:
            pair.restart_with(backup, lambda _, text=before: text, file)
        experiment.mend(lab)
        lab.wait("synced")
