"""The bench measures for real, in its smallest form; how fast anything is, is not asked here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.bench import programs
from lab.bench.systems import CROSSED_FLOORS, STEADY, TWO_FLOORS
from lab.hosts import Process
from lab.state import LABS

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(
        bool(programs.missing(("haproxy", "keepalived", "wrk", "nginx", "iptables"))),
        reason="what fttcp is compared with is not installed",
    ),
]

ROOT = Path(__file__).parents[2]
BENCH = [sys.executable, "-m", "lab.bench"]


def measure(tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    kept = tmp_path / "figures.json"
    done = subprocess.run(
        [*BENCH, *arguments, "--repeat", "1", "--json", str(kept)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(kept.read_text())
    assert content["complete"] and not content["errors"]
    return content, done


def rows(content: dict[str, Any], scenario: str) -> dict[str, dict[str, Any]]:
    return {row["system"]: row for row in content["rows"] if row["scenario"] == scenario}


def test_every_system_is_measured_beside_the_others(tmp_path: Path) -> None:
    content, done = measure(
        tmp_path,
        "throughput.sendfile.download.1000mbit",
        "echo.64B",
        "http.connection-per-request",
        "--against",
        ",".join(set(STEADY) - {"fttcp"}),
    )
    for scenario in ("throughput.sendfile.download.1000mbit", "echo.64B.p50", "http.connection-per-request"):
        found = rows(content, scenario)
        assert set(found) == set(STEADY), scenario
        assert all(row["n"] == 1 and row["median"] > 0 for row in found.values()), found
        assert found["native"]["ratio_to_native"] is None
        assert found["fttcp"]["ratio_to_native"] == found["fttcp"]["median"] / found["native"]["median"]
        assert not any("takeover" in note or "lost" in note for note in found["fttcp"]["notes"])
    assert "echo.64B, nfqueue-floor" in done.stderr and "keep-alive" not in done.stderr
    assert {"processor", "kernel", "load_at_start"} <= content["machine"].keys()
    assert content["versions"]["haproxy"] != "absent"


def test_a_pair_in_lock_step_is_measured_beside_one_that_is_not(tmp_path: Path) -> None:
    content, _ = measure(tmp_path, "lockstep.https.keep-alive", "--against", "haproxy-tls")
    found = rows(content, "lockstep.https.keep-alive")
    in_step, alone = found.pop("fttcp lockstep=connection"), found.pop("fttcp lockstep=connection, detached")
    assert set(found) == {"fttcp", "haproxy-tls"}
    assert all(row["n"] == 1 and row["median"] > 0 for row in (in_step, alone, *found.values()))
    assert any("flows detached" in note for note in alone["notes"])
    assert in_step["ratio_to_fttcp"] == in_step["median"] / found["fttcp"]["median"]
    assert any("flows detached" in note for note in found["fttcp"]["notes"])


def test_two_floors_bear_a_load_at_the_same_time(tmp_path: Path) -> None:
    doubled = f"{TWO_FLOORS},{CROSSED_FLOORS}"
    content, done = measure(tmp_path, "echo.64B", "throughput.sendfile.both.unshaped", "--against", doubled)
    assert f"echo.64B, {TWO_FLOORS}" in done.stderr and f"echo.64B, {CROSSED_FLOORS}" not in done.stderr
    for system in (TWO_FLOORS, CROSSED_FLOORS):
        assert f"both.unshaped, {system}" in done.stderr
        found = [row for row in content["rows"] if row["system"] == system]
        late = ["the two halves were not at the same time (1x)"]
        assert found and all((row["n"], row["notes"]) in ((1, []), (0, late)) for row in found), found


def test_only_protected_connections_live_through_a_crash(tmp_path: Path) -> None:
    """With heartbeats of 10 ms a busy machine is taken for a crash now and then."""
    name = "gap.crash-host.download"
    content, _ = measure(tmp_path, f"{name}.10ms", f"{name}.100ms")
    gaps = rows(content, f"{name}.10ms")
    lost = "the connection was lost (1x)"
    assert gaps["fttcp"]["n"] == gaps["haproxy"]["n"] == gaps["keepalived"]["n"] == 1
    assert lost in gaps["haproxy"]["notes"] and lost in gaps["keepalived"]["notes"]
    assert gaps["native"]["n"] == 0 and "not served again within 3 s (1x)" in gaps["native"]["notes"]
    patient = rows(content, f"{name}.100ms")["fttcp"]
    assert patient["n"] == 1 and not patient["notes"]
    assert rows(content, "steps.crash-host.10ms.gate")["fttcp"]["n"] == 1


def test_memory_and_processor_time_are_told_by_node(tmp_path: Path) -> None:
    content, _ = measure(tmp_path, "memory.1000", "cpu.download", "--against", "none")
    for role in ("primary", "backup"):
        assert rows(content, f"memory.1000.{role}")["fttcp"]["median"] > 0
    for host in ("client", "alpha", "beta", "machine"):
        assert rows(content, f"cpu.download.{host}")["fttcp"]["median"] > 0


def test_an_interrupted_bench_removes_its_lab_and_keeps_what_it_has(tmp_path: Path) -> None:
    kept = tmp_path / "figures.json"
    arguments = ["echo.64B", "gap.crash-host", "--against", "native", "--repeat", "50", "--json", str(kept)]
    with Process(
        [*BENCH, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as bench:
        assert bench.stderr is not None
        said = iter(bench.stderr.readline, "")
        assert any("echo.64B, fttcp: p50" in line for line in said)
        assert list(LABS.glob(f"bench-{bench.pid}-*"))
        bench.send_signal(signal.SIGINT)
        bench.communicate(timeout=60)
    assert bench.returncode != 0
    assert not list(LABS.glob(f"bench-{bench.pid}-*"))
    content = json.loads(kept.read_text())
    assert not content["complete"]
    assert rows(content, "echo.64B.p50")["fttcp"]["n"] >= 1
