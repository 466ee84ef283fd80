"""A cold backup runs no server; connections outlive a failure all the same, and the next one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.experiment import Case
from lab.faults import make_fault
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named, who_serves

pytestmark = needs_root

LONG_S = 60.0
"""No run takes so long: the client ends some seconds after the last failure."""
RATE = 300_000
"""Bytes a second, so that no client sends more than its log may have."""
SHORT_S = 3.0
UDP = ("tftp-get-512", "tftp-put-512", "udp-echo")
LEAST = 1000
"""Bytes of a file with more in it than its head and a handshake."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named(
        "cold",
        ("standby=cold", "limits.renew_flow_bytes=60000000"),
        ("echo", "paced-down", "half-close", "half-close-server", *UDP),
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


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
        (UDP[0], ("crash-host", "switchover")),
        (UDP[1], ("crash-host", "crash-host")),
        (UDP[2], ("kill-server", "crash-host")),
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
        workload,
        first,
        moment_s=0.5,
        duration_s=duration_s,
        rate=RATE,
        then=tuple((one, 0.2) for one in further),
    )
    outcome = pair.run(case, tmp_path)
    assert outcome.ok and not outcome.excused, outcome
    assert tuple(outcome.then) == tuple(further) and not outcome.unrenewed, outcome


def test_a_server_that_does_not_start_gives_the_group_up(tmp_path: Path) -> None:
    """The node that was lost serves when it is back, although the other one owned the group meanwhile."""
    mark = tmp_path / "broken"
    hook = f"sh -c 'test ! -e {mark}.$FTTCP_NODE'"
    settings = ("standby=cold", "restart.start_within_s=1", f"hooks.before_start={hook}")
    for pair in pair_named("stuck", settings, ("echo",)):
        pair.ready()
        _lose_it_to_one_that_cannot_start(pair, mark)
        case = Case("echo", "crash-host", moment_s=0.5, duration_s=SHORT_S)
        outcome = pair.run(case, tmp_path)
        assert outcome.ok and not outcome.excused, outcome


def _lose_it_to_one_that_cannot_start(pair: Pair, mark: Path) -> None:
    lost, broken = (pair.lab.host(role).name for role in ("primary", "backup"))
    Path(f"{mark}.{broken}").touch()
    make_fault(pair.lab, "crash-host", lost)
    until(lambda: "not up within 1 s" in pair.group(broken)["server"]["reason"])
    make_fault(pair.lab, "restart-host", lost)
    until(lambda: who_serves(pair.lab) == [lost])
    Path(f"{mark}.{broken}").unlink()
    pair.lab.wait("synced")


def test_a_cold_backup_has_its_history_on_disk(tmp_path: Path) -> None:
    """And begins another one with its server. That the output rule waits for it: native/tests/test_cold.c."""
    settings = ["standby=cold"]
    settings += [f"{node}.history_dir={tmp_path}/{node}" for node in ("alpha", "beta")]
    for pair in pair_named("kept", tuple(settings), ("echo",)):
        pair.ready()
        case = Case("echo", "crash-host", moment_s=0.5, duration_s=SHORT_S)
        outcome = pair.run(case, tmp_path)
        assert outcome.ok and not outcome.excused, outcome
        until(lambda: len(sizes := _sizes(tmp_path / "beta")) == 2 and min(sizes) > LEAST)


def _sizes(directory: Path) -> list[int]:
    """Of the histories there. What a primary alone adds waits for nobody, and nobody for it."""
    return [path.stat().st_size for path in directory.glob("*.history")]
