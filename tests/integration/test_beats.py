"""Heartbeats of engines hold while all cores burn and Python collects garbage; tests/beats.py has more."""

from __future__ import annotations

import os

from tests.beats import measure
from tests.integration.netns import needs_root

pytestmark = needs_root


def test_heartbeats_hold_under_full_load() -> None:
    counted = measure(beats=8000, pairs=4, burners=2 * (os.cpu_count() or 1), misses=10)
    assert counted["beats"] >= 8000
    assert all(node["collections"] > 0 for node in counted["nodes"])
    assert counted["peer_lost"] == 0 and counted["lapses"] == 0, counted
