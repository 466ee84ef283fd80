"""A connection or UDP session outlives failure after failure: a new backup catches up in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.experiment import SYNC_S, Case
from lab.faults import make_fault
from lab.hosts import await_condition
from tests.integration.caller import Caller
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

PACE_S = 0.2
"""Between the moment at which a connection is protected again and the next failure."""
LONG_S = 60.0
"""No run takes so long: the client ends some seconds after the last failure."""

CALLERS = 30

TFTP = ("tftp-get-512", "tftp-put-512")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("renew", (), ("echo", "paced-down", *TFTP))


@pytest.mark.parametrize(
    ("workload", "faults"),
    [
        ("echo", ("crash-host", "crash-host", "kill-node")),
        ("paced-down", ("crash-host", "switchover", "crash-host")),
        (TFTP[0], ("crash-host", "crash-host", "switchover")),
        (TFTP[1], ("crash-host", "crash-host", "switchover")),
    ],
)
def test_a_connection_outlives_failures_of_both_nodes(
    pair: Pair, tmp_path: Path, workload: str, faults: tuple[str, ...]
) -> None:
    pair.ready()
    first, *further = faults
    case = Case(
        workload,
        first,
        moment_s=0.5,
        duration_s=LONG_S,
        then=tuple((one, PACE_S) for one in further),
    )
    outcome = pair.run(case, tmp_path)
    assert outcome.ok and not outcome.excused, outcome
    assert tuple(outcome.then) == tuple(further) and not outcome.unrenewed, outcome


def test_a_switchover_in_the_middle_of_a_renewal_waits_for_it(pair: Pair) -> None:
    """It is asked for at the moment at which the new backup begins to catch up."""
    lab = pair.ready().lab
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    make_fault(lab, "crash-host", backup)
    await_condition(lambda: pair.group(primary)["mode"] == "solo", SYNC_S, "the primary is alone")
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(lab)) for _ in range(CALLERS)]
        make_fault(lab, "restart-host", backup)
        await_condition(lambda: pair.group(primary)["synced"], SYNC_S, "there is a backup again")
        make_fault(lab, "switchover", primary)
        await_condition(lambda: pair.group(primary)["role"] == "backup", SYNC_S, "the roles are exchanged")
        assert all(caller.says("served by the other node") for caller in callers)
        assert pair.group(backup)["counters"]["unverified_resets"] == 0
