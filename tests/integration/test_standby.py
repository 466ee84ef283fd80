"""A cold backup runs no server; connections outlive a failure all the same, and the next one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.experiment import Case
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

LONG_S = 60.0
"""No run takes so long: the client ends some seconds after the last failure."""
SHORT_S = 3.0
LEAST = 1000
"""Bytes of a file with more in it than its head and a handshake."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named(
        "cold",
        ("standby=cold", "limits.renew_flow_bytes=8000000"),
        ("echo", "paced-down", "half-close", "half-close-server"),
    )


def _serves(pair: Pair) -> dict[str, bool]:
    """Which nodes run a server."""
    return {node: bool(pair.group(node)["server"]["pids"]) for node in ("primary", "backup")}


@pytest.mark.parametrize(
    ("workload", "faults"),
    [
        ("echo", ("crash-host", "switchover")),
        ("paced-down", ("kill-server", "crash-host")),
        ("half-close", ("crash-host",)),
        ("half-close-server", ("switchover",)),
    ],
)
def test_a_connection_outlives_failures_of_both_nodes(
    pair: Pair, tmp_path: Path, workload: str, faults: tuple[str, ...]
) -> None:
    pair.ready()
    assert _serves(pair) == {"primary": True, "backup": False}
    first, *further = faults
    duration_s = LONG_S if further else SHORT_S
    case = Case(
        workload, first, moment_s=0.5, duration_s=duration_s, then=tuple((one, 0.2) for one in further)
    )
    outcome = pair.run(case, tmp_path)
    assert outcome.ok and not outcome.excused, outcome
    assert tuple(outcome.then) == tuple(further) and not outcome.unrenewed, outcome


def test_what_is_promised_is_on_disk_before(tmp_path: Path) -> None:
    """The output rule waits for the backup's history, which is synced. Then its server's begins."""
    settings = ["standby=cold"]
    settings += [f"{node}.history_dir={tmp_path}/{node}" for node in ("alpha", "beta")]
    for pair in pair_named("kept", tuple(settings), ("echo",)):
        pair.ready()
        case = Case("echo", "crash-host", moment_s=0.5, duration_s=SHORT_S)
        outcome = pair.run(case, tmp_path)
        assert outcome.ok and not outcome.excused, outcome
        sizes = [path.stat().st_size for path in (tmp_path / "beta").glob("*.history")]
        assert len(sizes) == 2 and min(sizes) > LEAST, sizes
