"""A small fixed campaign: each kind of fault once, all else by chance, the same every time.

Plain faults meet all workloads. What others do to the firewall of a node meets the younger ones: servers that
do not agree, and peers that send odd segments.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.campaign import Choice, plan
from lab.experiment import DISTURBANCES
from lab.workloads.registry import WORKLOADS
from tests.integration.pair import Pair

SEED = 101
ODD = [name for name in WORKLOADS if name.startswith(("unlike-", "odd-"))]
ACTS = dict.fromkeys(name.rsplit("-", 1)[0] for name in DISTURBANCES if name.startswith("rules-"))
CHOICES = {name: Choice(faults=[name]) for name in DISTURBANCES if not name.startswith("rules-")} | {
    act: Choice(ODD, [f"{act}-primary", f"{act}-backup"]) for act in ACTS
}


@pytest.mark.parametrize("kind", CHOICES)
def test_run(pair: Pair, kind: str, tmp_path: Path) -> None:
    """One run of the campaign."""
    outcome = pair.run(plan(SEED + list(CHOICES).index(kind), CHOICES[kind]), tmp_path)
    assert outcome.ok, f"{outcome.case}: {outcome.why}"
