"""Every fault, on IPv4 and IPv6: not a byte wrong, no connection lost, nobody speaks out of turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.experiment import DISTURBANCES, Case
from tests.integration.pair import Pair

FAULTS = [name for name in DISTURBANCES if not name.startswith(("loss-", "link-", "rules-"))]
LOSSES = [name for name in DISTURBANCES if name.startswith(("loss-", "link-"))]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("fault", FAULTS)
def test_both_directions_survive(pair: Pair, fault: str, family: int, tmp_path: Path) -> None:
    """A connection that is busy both ways goes on from exactly where it was."""
    outcome = pair.run(Case("both", fault, family, moment_s=0.8, duration_s=2.5), tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("workload", ["bulk-down", "bulk-up"])
@pytest.mark.parametrize(("fault", "family"), list(zip(LOSSES, (4, 6, 4, 6), strict=True)))
def test_lossy_links(pair: Pair, fault: str, family: int, workload: str, tmp_path: Path) -> None:
    """Links of the client, of the nodes, and both, that lose, or are late and out of order, and a crash."""
    outcome = pair.run(Case(workload, fault, family, moment_s=1.0, duration_s=2.5, rate=6_000_000), tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("fault", ["crash-host", "kill-server", "switchover"])
@pytest.mark.parametrize(("workload", "family"), [("bulk-down", 4), ("bulk-up", 6)])
def test_unpaced_bulk(pair: Pair, fault: str, workload: str, family: int, tmp_path: Path) -> None:
    """As fast as the hosts can, so that windows and queues are full when it happens."""
    outcome = pair.run(Case(workload, fault, family, moment_s=0.2, rate=0, size=400_000_000), tmp_path)
    assert outcome.ok, outcome.why


def test_two_failovers_in_a_row(pair: Pair, tmp_path: Path) -> None:
    """A host that came back protects new connections, and takes over in its turn."""
    for number in (1, 2):
        outcome = pair.run(Case("echo", "crash-host", moment_s=0.5, duration_s=1.5, seed=number), tmp_path)
        assert outcome.ok, outcome.why
        pair.ready()


def test_no_fail_back(pair: Pair, tmp_path: Path) -> None:
    """A host that returns does not take the service back."""
    old = pair.lab.node_in_role("primary")
    outcome = pair.run(Case("echo", "crash-host", moment_s=0.5, duration_s=1.5), tmp_path)
    assert outcome.ok, outcome.why
    pair.ready()
    assert pair.lab.node_in_role("backup") == old
