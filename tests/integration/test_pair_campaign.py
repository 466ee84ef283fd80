"""A small fixed campaign: random workloads, faults, moments and options, the same ones every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.campaign import Choice, plan
from tests.integration.pair import Pair

SEEDS = [101, 102, 103, 104, 105, 106, 107, 108, 109, 110]


@pytest.mark.parametrize("seed", SEEDS)
def test_run(pair: Pair, seed: int, tmp_path: Path) -> None:
    """One run of the campaign."""
    outcome = pair.run(plan(seed, Choice()), tmp_path)
    assert outcome.ok, f"{outcome.case}: {outcome.why}"
