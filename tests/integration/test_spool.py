"""Uploads that are too long for memory outlive one failure after the other: what they said is on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import NODES
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.renewing import WITHIN_S, await_states, told, uploads

pytestmark = needs_root

MEMORY = 64 << 10
"""Bytes of a connection, the least that goes with a spool."""
LONG = 20_000_000
PATIENT = "timing.detach_after_ms=10000"
"""A busy machine keeps a server from its processor, and none is to be let go for that."""
RATE = 50
"""Mbit/s of the client, which no disk is slower than: who is faster than the disk ends as `spool-full`."""


def is_spooled(lab: Lab, node: str) -> bool:
    """Is nearly all of the one connection on the node's disk, and in memory no more than its bound and one
    piece, which may be as long?"""
    for flow in told(lab, node).values():
        kept, spooled = int(str(flow["log_memory_bytes"])), int(str(flow["spool_bytes"]))
        return kept <= 2 * MEMORY and spooled > LONG - 2 * MEMORY
    return False


def await_spooled(lab: Lab) -> None:
    """Wait until each node follows the connection, and has nearly all of it on its disk."""
    for node in NODES:
        await_states(lab, node, "protected")
        await_condition(lambda node=node: is_spooled(lab, node), WITHIN_S, f"the upload on {node}'s disk")


@pytest.fixture(params=["hot", "cold"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    settings = (f"standby={request.param}", f"limits.renew_flow_bytes={MEMORY}", PATIENT)
    settings += tuple(f"{node}.renew_spool_dir={tmp_path}/{node}" for node in NODES)
    yield from pair_named(f"spool-{request.param}", settings, ("bulk-up",))


def test_a_long_upload_outlives_one_failure_after_the_other(pair: Pair, tmp_path: Path) -> None:
    lab = pair.ready().lab
    make_fault(lab, "rate", "client", RATE)
    with uploads(lab, LONG) as upload:
        await_spooled(lab)
        for _ in range(2):
            make_fault(lab, "crash-host", "primary")
            experiment.revive(lab)
            await_spooled(lab)
        make_fault(lab, "crash-host", "primary")
        answers, _ = upload.communicate("\n", timeout=WITHIN_S)
    assert answers.splitlines() == [f"good {LONG}"]
    left = lab.node_in_role("primary")
    await_condition(lambda: not pair.group(left)["spool"]["bytes"], WITHIN_S, "an empty spool")
    assert not any(path for node in NODES for path in (tmp_path / node).iterdir())
