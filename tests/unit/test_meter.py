"""What is told of a download that a command prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXPECTED = bytes(range(256)) * 1000


def measured(tmp_path: Path, script: str, gap_ms: str = "10") -> tuple[int, list[dict[str, Any]]]:
    """Run it; its status, and what it tells."""
    (tmp_path / "expected").write_bytes(EXPECTED)
    meter = [sys.executable, "-m", "lab.probe.meter", str(tmp_path / "expected"), gap_ms, "50"]
    done = subprocess.run(
        [*meter, "sh", "-c", f"cd {tmp_path}; {script}"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_download_with_a_gap(tmp_path: Path) -> None:
    script = "sleep 0.1; head -c 1000 expected; sleep 0.1; tail -c +1001 expected"
    status, told = measured(tmp_path, script, "90")
    assert status == 0 and [told[0]["type"], told[-1]["type"]] == ["start", "end"]
    assert sum(line["received"] for line in told if line["type"] == "bucket") == len(EXPECTED)
    gaps = [line for line in told if line["type"] == "gap"]
    assert gaps and gaps[0]["us"] >= 90_000 and gaps[0]["from_us"] + gaps[0]["us"] == gaps[0]["time_us"]
    end = told[-1]
    assert end["ok"] and end["received"] == len(EXPECTED) and end["lost"] == 0
    assert end["gaps"] == len(gaps) and end["longest_gap_us"] == max(line["us"] for line in gaps)
    assert gaps[0]["from_us"] >= told[0]["time_us"] + 100_000, "the command began in the first silence"


def test_what_is_wrong_short_or_failed_is_lost(tmp_path: Path) -> None:
    for script, why in (
        ("head -c 5000 expected; printf x; exec sleep 60", "a wrong byte"),
        ("cat expected expected", "a wrong byte"),
        ("head -c 5000 expected", f"the end came after 5000 of {len(EXPECTED)} bytes"),
        ("cat expected; exit 3", "its client ended with status 3"),
    ):
        status, told = measured(tmp_path, script)
        (lost,) = [line for line in told if line["type"] == "lost"]
        assert (status, lost["why"], told[-1]["ok"], told[-1]["lost"]) == (1, why, False, 1), script
