"""The adaptive detector: its mathematics, its bounds, and how an engine hears of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fttcp.group.detectors import Detectors
from fttcp.ownership.detector import MOST, PhiDetector, patience_ns, suspicion_ns
from fttcp.ownership.model import NS_PER_MS
from fttcp.planes.fake import FakeEngine
from tests.replay import settings

D = 100 * NS_PER_MS


def uneven() -> PhiDetector:
    """Intervals of 100 and 300, in turn: mean 200, deviation 100."""
    detector = PhiDetector(100)
    detector.extend([100, 300] * 100)
    return detector


def test_phi_is_the_surprise_of_a_silence() -> None:
    detector = uneven()
    assert detector.mean_ns == 200 and detector.deviation_ns == 100
    # tables of the normal distribution: 1 - F(0), 1 - F(1), 1 - F(3)
    for silent, probability in ((200, 0.5), (300, 0.158655), (500, 0.00134990)):
        assert detector.phi(silent) == pytest.approx(-math.log10(probability), rel=1e-5)
    assert detector.phi(10**9) > 290


def test_silence_is_the_inverse_of_phi() -> None:
    detector = uneven()
    for phi in (0.5, 1, 4, 8, 16):
        silent = detector.silence_ns(phi)
        assert silent is not None
        assert detector.phi(silent) >= phi > detector.phi(silent - 2)


def test_a_punctual_peer_is_allowed_some_deviation() -> None:
    detector = PhiDetector(100)
    detector.extend([100] * 200)
    assert detector.deviation_ns == 5


def test_little_knowledge_changes_nothing() -> None:
    detector = PhiDetector(100)
    detector.extend([10**12] * 50)
    assert detector.phi(10**15) == 0 and detector.silence_ns(8) is None
    assert patience_ns(detector, 16, D, 2 * D) == D and suspicion_ns(detector, 4, D) == 0


@given(
    st.lists(st.integers(0, 10**10), max_size=300),
    st.floats(0.5, 300),
    st.integers(1, 10**9),
    st.integers(0, 10**9),
)
def test_patience_stays_between_what_safety_and_service_ask(
    intervals: list[int], phi: float, least: int, more: int
) -> None:
    detector = PhiDetector(20 * NS_PER_MS)
    detector.extend(intervals)
    patience = patience_ns(detector, phi, least, least + more)
    assert least <= patience <= least + more
    assert 0 <= suspicion_ns(detector, 4, patience) < patience


def test_an_engine_is_told_what_was_learnt() -> None:
    wanted = settings()
    engine = FakeEngine(wanted)
    try:
        detectors = Detectors(engine, wanted)
        fixed = wanted.lease_ns * 1001 // 1000
        detectors.learn()
        assert engine.orders == [("set_patience", 0, fixed, 0)]
        engine.arrivals[0] = [wanted.beat_interval_ns, 3 * wanted.beat_interval_ns] * 100
        detectors.learn()
        order, peer, lost, suspect = engine.orders[-1]
        assert (order, peer) == ("set_patience", 0)
        assert fixed < lost <= fixed * MOST and 0 < suspect < lost
    finally:
        engine.close()
