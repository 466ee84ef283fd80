"""Several workers: whichever of them a flow or a session falls to on either node, it outlives its host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.experiment import Case
from tests.integration.pair import Pair, pair_named

WORKLOADS = ("both", "tftp-get-512", "udp-echo-socat")


@pytest.fixture(scope="module")
def workers() -> Iterator[Pair]:
    """A pair with four workers on each node."""
    yield from pair_named("workers", ("workers=4",), WORKLOADS)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_crash_of_the_host(workers: Pair, workload: str, family: int, tmp_path: Path) -> None:
    """TFTP's ports of the server's own choice differ between the nodes; the client must not notice."""
    case = Case(workload, "crash-host", family, moment_s=0.5, duration_s=2.0)
    outcome = workers.ready().run(case, tmp_path)
    assert outcome.ok, outcome.why
    assert outcome.detached == {}
