"""Addresses whose host crashes, moved by fttcp and by keepalived: ``fttcp lab addresses``."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from lab.addresses import SYSTEMS
from lab.bench import programs
from lab.lifecycle import fttcp_program
from tests.integration.netns import needs_root

pytestmark = [
    needs_root,
    pytest.mark.skipif(bool(programs.missing(("keepalived",))), reason="keepalived is not installed"),
]


def test_all_addresses_answer_again_and_only_fttcp_keeps_connections() -> None:
    argv = [fttcp_program(), "lab", "addresses", "--count", "2", "--passes", "2", "--beat-ms", "50", "--json"]
    argv += ["--name", f"test-addresses-{os.getpid()}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["system"] for row in rows] == [system.says for system in SYSTEMS.values()]
    for row in rows:
        assert [one["of"] for one in row["crashes"]] == ["alpha", "beta"]
        for one in row["crashes"]:
            assert 0 < one["first_ms"] <= one["median_ms"] <= one["last_ms"]
            assert one["kept"] == (2 if row["system"] == "fttcp" else 0), row
            assert one["announced"] >= 2 and one["beats_s"] > 0
