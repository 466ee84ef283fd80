"""The comparison of detectors: repeatable, and the adaptive one is never the hastier."""

from __future__ import annotations

import pytest

from fttcp.ownership.detector import MOST
from fttcp.ownership.model import NS_PER_MS
from tests.sim.detectors import INTERVAL_NS, NETWORKS, simulate, table

BEATS = 20_000


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("misses", [3, 5])
def test_the_adaptive_detector_only_waits_longer(network: str, misses: int) -> None:
    fixed, phi = (simulate(NETWORKS[network], misses, adaptive, BEATS, 7) for adaptive in (False, True))
    assert phi.false_per_million <= fixed.false_per_million
    assert phi.least_patience_ms >= fixed.least_patience_ms > misses * INTERVAL_NS / NS_PER_MS
    assert phi.median_ms >= fixed.median_ms
    assert phi.median_ms <= fixed.least_patience_ms * MOST


def test_a_network_that_is_bad_enough_lets_it_learn() -> None:
    fixed, phi = (simulate(NETWORKS["stalling"], 3, adaptive, BEATS, 7) for adaptive in (False, True))
    assert 0 < phi.false_per_million < fixed.false_per_million


def test_seeds_repeat() -> None:
    assert list(table(2000, 2)) == list(table(2000, 2))
    assert simulate(NETWORKS["lossy"], 3, True, 2000, 1) != simulate(NETWORKS["lossy"], 3, True, 2000, 2)
