"""A small fixed campaign: random workloads, faults, moments and options, the same ones every time.

Servers that do not agree, odd peers and acts on firewalls have tests of their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.campaign import Choice, plan
from lab.experiment import DISTURBANCES
from lab.workloads.registry import WORKLOADS
from tests.integration.pair import Pair

CHOICE = Choice(
    [name for name in WORKLOADS if not name.startswith(("unlike-", "odd-"))],
    [name for name in DISTURBANCES if not name.startswith("rules-")],
)
SEEDS = [101, 102, 103, 104, 105, 106, 107, 108, 109, 110]


@pytest.mark.parametrize("seed", SEEDS)
def test_run(pair: Pair, seed: int, tmp_path: Path) -> None:
    """One run of the campaign."""
    outcome = pair.run(plan(seed, CHOICE), tmp_path)
    assert outcome.ok, f"{outcome.case}: {outcome.why}"
