"""The demo and the mininet experiment tell the same story, and leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.hosts import Process, await_condition
from lab.state import LABS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-c", "from lab.demo import demo; demo(prog_name='fttcp demo')"]
PAIR = ROOT / "lab" / "mininet" / "pair.py"
has_mininet = (
    subprocess.run(["/usr/bin/python3", "-c", "import mininet"], capture_output=True).returncode == 0
)

needs_open_vswitch = pytest.mark.skipif(
    shutil.which("ovs-vswitchd") is None,
    reason="Open vSwitch is not installed (Debian package openvswitch-switch)",
)


@pytest.mark.parametrize(
    ("fault", "cause", "scene"),
    [
        ("crash-host", "peer-lost", ()),
        ("kill-server", "server-died", ()),
        ("switchover", "switchover", ()),
        ("crash-host", "peer-lost", ("--tls",)),
        ("crash-host", "peer-lost", ("--ssh",)),
    ],
)
def test_demo_json(fault: str, cause: str, scene: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*DEMO, "--json", "--size", "5000000", "--fault", fault, *scene],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=90,
    )
    result = json.loads(done.stdout)
    assert done.returncode == 0, result
    assert result["survived"] and result["hash_equal"] and result["bytes"] == 5_000_000
    assert (result["fault"], result["cause"]) == (fault, cause)
    assert 0 < result["gap_ms"] < 3000
    assert {"detected_ms", "gate_ms", "announced_ms", "done_ms"} <= result["takeover"].keys()


def test_an_interrupted_demo_removes_its_lab() -> None:
    with Process([*DEMO, "--json"], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as demo:
        home = LABS / f"demo-{demo.pid}"
        await_condition(lambda: (home / "lab.json").exists(), 20, "the demo's lab")
        os.killpg(demo.pid, signal.SIGINT)
        demo.communicate(timeout=30)
    assert demo.returncode != 0
    assert not list(LABS.glob(f"demo-{demo.pid}*"))


@pytest.mark.skipif(not has_mininet, reason="mininet is not installed (Debian package mininet)")
@pytest.mark.parametrize("switch", ["bridge", pytest.param("ovs", marks=needs_open_vswitch)])
def test_the_pair_in_mininet(switch: str, tmp_path: Path) -> None:
    points, picture = tmp_path / "points.csv", tmp_path / "gap.svg"
    done = subprocess.run(
        [str(PAIR), "--json", "--size", "10000000", "--points", str(points), "--switch", switch],
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["survived"] and result["hash_equal"] and result["cause"] == "peer-lost"
    subprocess.run(
        [sys.executable, "-m", "lab.mininet.plot", str(points), str(picture)], cwd=ROOT, check=True
    )
    assert "<svg" in picture.read_text()


@pytest.mark.skipif(not has_mininet, reason="mininet is not installed (Debian package mininet)")
def test_the_network_of_the_documentation(tmp_path: Path) -> None:
    """Two switches, two clients far away, and a crash."""
    (block,) = re.findall(
        r"^```python\n(from lab.wire.*?)^```", (ROOT / "docs/lab.md").read_text(), re.M | re.S
    )
    script = tmp_path / "mine.py"
    script.write_text(block.replace("    CLI(net)\n", ""))
    done = subprocess.run(
        ["/usr/bin/python3", str(script)],
        text=True,
        capture_output=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    fault, hello = done.stdout.splitlines()[:2]
    assert re.search(r"'fault': 'crash-host', 'target': '(alpha|beta)'", fault) and hello == "hello"
