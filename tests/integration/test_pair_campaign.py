"""A small fixed campaign: each kind of fault once, all else by chance, the same every time.

Plain faults meet all workloads. What others do to the firewall of a node meets the younger ones: servers that
do not agree, and peers that send odd segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.campaign import IN_STEP, Choice, plan
from lab.experiment import DISTURBANCES, Case
from lab.workloads.registry import WORKLOADS
from tests.integration.pair import Pair, pair_named

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


TLS_AND_SSH = ("tls13-resume", "tls12-put", "ssh-echo")


@pytest.fixture(scope="module")
def module_pair_in_step() -> Iterator[Pair]:
    """One lab whose servers end TLS and SSH themselves."""
    yield from pair_named("campaign-in-step", IN_STEP, TLS_AND_SSH)


@pytest.mark.parametrize("workload", TLS_AND_SSH)
def test_run_in_step(module_pair_in_step: Pair, workload: str, tmp_path: Path) -> None:
    """A connection that was protected goes on. SSH may have been detached before, but no byte is wrong."""
    case = Case(workload, "crash-host", seed=SEED, moment_s=0.5, duration_s=1.5)
    outcome = module_pair_in_step.ready().run(case, tmp_path)
    assert outcome.ok, f"{outcome.case}: {outcome.why}"
    assert outcome.client["handshakes"] > 0
    assert outcome.cut == 0 or outcome.detached, outcome.client["errors"]
