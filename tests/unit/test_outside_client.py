"""Another program as the client of a run: by what it is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OUTSIDE = [sys.executable, "-m", "lab.workloads.outside"]


def judged(*words: str) -> tuple[dict[str, Any], bool]:
    """Its result, and whether its traffic had begun."""
    done = subprocess.run([*OUTSIDE, *words], capture_output=True, text=True, timeout=60, check=False)
    result = json.loads(done.stdout)
    assert result["ok"] == (done.returncode == 0)
    return result, "started\n" in done.stderr


@pytest.mark.parametrize(
    ("script", "kind", "why"),
    [
        ("printf 'all of it'", "", ""),
        ("printf 'all if it'", "wrong", "a wrong byte is among bytes 0 to 9"),
        ("printf 'all of it, and more'", "wrong", "a wrong byte"),
        ("printf 'all of'", "wrong", "its client was content after 6 of 9 bytes"),
        (
            "printf 'all of'; echo broken >&2; exit 56",
            "closed",
            "status 56 after 6 of 9 bytes: broken",
        ),
        ("printf 'all of it'; exit 3", "closed", "status 3 after 9 of 9 bytes"),
        ("printf all; exec sleep 60", "stall", "nothing for 0.2 s after 3 of 9 bytes"),
        ("printf 'all of it'; exec >&-; exec sleep 60", "stall", "does not end after 9 of 9 bytes"),
    ],
)
def test_what_is_printed_is_compared(script: str, kind: str, why: str, tmp_path: Path) -> None:
    expected = tmp_path / "expected"
    expected.write_text("all of it")
    result, began = judged(
        "--expect", str(expected), "--bound", "0.2", "--limit", "3", "--", "sh", "-c", script
    )
    assert (result["ok"], result["kind"]) == (not kind, kind) and why in result["why"]
    assert began == (kind != "wrong" or "content" in why)


@pytest.mark.parametrize(
    ("script", "kind", "why"),
    [
        ("echo whatever", "", ""),
        ("echo trouble >&2; exit 4", "status", "status 4: trouble"),
        ("exec sleep 60", "stall", "nothing for"),
    ],
)
def test_an_exit_status_is_enough(script: str, kind: str, why: str) -> None:
    result, began = judged("--limit", "2", "--", "sh", "-c", script)
    assert (result["ok"], result["kind"], began) == (not kind, kind, True) and why in result["why"]


def test_the_measuring_client_tells_what_was_worst(tmp_path: Path) -> None:
    lines = [
        {"type": "bucket", "received": 10, "sent": 0},
        {"type": "lost", "kind": "reset", "at": 3, "why": "x"},
        {"type": "lost", "kind": "wrong", "at": 7, "why": "y"},
        {"type": "end", "longest_gap_us": 2500, "received": 10, "sent": 4},
    ]
    said = tmp_path / "said"
    said.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    result, began = judged("--measure", "--", "sh", "-c", f"cat {said}; exit 1")
    assert (result["kind"], result["gap_ms"], began) == ("wrong", 2.5, True)
    assert result["why"] == "wrong at byte 7: y"
    said.write_text(f"{json.dumps(lines[0])}\n{json.dumps(lines[3])}\n")
    assert judged("--measure", "--", "cat", str(said))[0]["ok"]
