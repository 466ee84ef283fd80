"""What others do to the firewall makes no backup speak, ends no connection, and hides no fault.

The judge of a run looks at captures (nothing of a backup), at every byte, and at the takeover: after the act
the primary crashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.experiment import Case
from lab.faults import RULE_ACTS
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("firewall", workloads=("bulk-down", "echo"))


@pytest.mark.parametrize("target", ["backup", "primary"])
@pytest.mark.parametrize("act", RULE_ACTS)
def test_a_download_survives_the_act_and_then_the_crash(
    pair: Pair, act: str, target: str, tmp_path: Path
) -> None:
    family = 6 if (target == "primary") == (act in ("nft", "restore")) else 4
    case = Case("bulk-down", f"rules-{act}-{target}", family, moment_s=0.5, duration_s=5.0)
    outcome = pair.ready().run(case, tmp_path)
    assert outcome.ok, outcome.why
    assert not outcome.detached
