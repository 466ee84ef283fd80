"""Servers in lock step catch up as well: HTTPS and SSH outlive one failure after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.experiment import Case
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

PACE_S = 0.2
"""Between the moment at which a connection is protected again and the next failure."""
LONG_S = 60.0
"""No run takes so long: the client ends some seconds after the last failure."""
BY_WORKERS = ("tls13-keepalive", "echo-plain")
WORKLOADS = ("tls13-down", "tls12-down", "tls13-keepalive", "ssh-echo", "tftp-get-512")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("renew-in-step", ("lockstep=connection",), WORKLOADS)


@pytest.fixture(scope="module")
def pair_of_workers() -> Iterator[Pair]:
    yield from pair_named("renew-workers", ("lockstep=connection", "workers=3"), BY_WORKERS)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_connection_outlives_failures_of_both_nodes(pair: Pair, tmp_path: Path, workload: str) -> None:
    outlives(pair, tmp_path, workload)


@pytest.mark.parametrize("workload", BY_WORKERS)
def test_so_it_does_with_several_workers(pair_of_workers: Pair, tmp_path: Path, workload: str) -> None:
    """Each worker of the new backup is told of each connection: whose it is, its kernel decides."""
    outlives(pair_of_workers, tmp_path, workload)


def outlives(pair: Pair, tmp_path: Path, workload: str) -> None:
    """The client ends well, with one connection, which was protected whenever a node failed."""
    further = ("crash-host", "crash-host")
    case = Case(
        workload,
        "crash-host",
        moment_s=0.5,
        duration_s=LONG_S,
        then=tuple((one, PACE_S) for one in further),
    )
    outcome = pair.ready().run(case, tmp_path)
    assert outcome.ok and not outcome.excused, outcome
    assert tuple(outcome.then) == further and not outcome.unrenewed, outcome
    assert not outcome.client["resets"] and not outcome.detached, outcome
