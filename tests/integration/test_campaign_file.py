"""A campaign over the servers and clients of a file: they go on, and a client that is not content is told."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lab.lifecycle import fttcp_program
from lab.state import LABS
from tests.integration.netns import needs_root

pytestmark = needs_root

BYTES = 20_000_000
OWN = """
name = "mine"
client = [{ measure = "recipe" }]
link = [{ link = "client", rate_mbit = 40 }]
[lab]
recipe = "pages"
[[server]]
name = "pages"
ports = "8080/tcp"
command = "python3 -m http.server --bind :: 8080"
files = "site"
stream = "curl -sSf http://$SERVICE4:$PORT/payload"
expect = "payload"
"""
MEASURED = """
name = "measured"
seconds = 5
client = [{ measure = "both", rate = 1000000 }, { command = "echo yes", expect = "ANSWER\\n" }]
"""


def campaign(file: Path, *words: str) -> dict[str, Any]:
    """Its report; what went wrong is told if there is none."""
    name = f"test-file-{os.getpid()}"
    command = [fttcp_program(), "lab", "campaign", str(file), "--json", "--name", name, *words]
    command += ["--evidence", str(file.parent / "evidence")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == (not report["failures"]), done.stderr
    assert not (LABS / name).exists()
    return report


def test_a_download_of_an_own_server_goes_on_behind_a_router(tmp_path: Path) -> None:
    """With loss, delay and the like on the client's own link, and without."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "payload").write_bytes(os.urandom(BYTES))
    file = tmp_path / "mine.toml"
    file.write_text(OWN)
    for fault in ("crash-host", "link-client"):
        report = campaign(file, "--runs", "1", "--topology", "router", "--fault", fault)
        assert not report["failures"], report["failures"]
        assert (report["taken_over"], report["went_on"]) == ({"mine": 1}, {"mine": 1}), report


def test_all_clients_of_a_run_are_judged(tmp_path: Path) -> None:
    """One that measures, and one whose output is known; the second time that is another."""
    file = tmp_path / "measured.toml"
    file.write_text(MEASURED.replace("ANSWER", "yes"))
    report = campaign(file, "--runs", "1", "--fault", "crash-host", "--seed", "3")
    assert report["survived"] == 1 and report["gap_ms"]["max"] > 0, report
    file.write_text(MEASURED.replace("ANSWER", "no"))
    report = campaign(file, "--runs", "1", "--fault", "crash-host", "--seed", "3")
    (failure,) = report["failures"]
    assert report["wrong_bytes"] == 1 and "wrong byte" in failure["why"], failure
    assert f"campaign {file} " in failure["again"] and "--workload measured" in failure["again"]


def test_a_client_that_ends_before_the_fault_has_shown_nothing(tmp_path: Path) -> None:
    file = tmp_path / "short.toml"
    file.write_text('name = "short"\nclient = [{ command = "echo yes", expect = "yes\\n" }]\n')
    (failure,) = campaign(file, "--runs", "1", "--fault", "crash-host")["failures"]
    assert "it had ended before the fault" in failure["why"], failure


def test_what_a_campaign_cannot_do_is_told(tmp_path: Path) -> None:
    file = tmp_path / "three.toml"
    file.write_text(
        'name = "three"\nclient = [{ measure = "echo" }]\nlab = { nodes = 3, arbiter = "witness" }\n'
    )
    words = [fttcp_program(), "lab", "campaign", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "lab.nodes: 3: a campaign has pairs" in done.stderr
    file.write_text('name = "measured"\nclient = [{ measure = "echo" }]\n')
    done = subprocess.run(
        [*words, "--set", "lockstp=1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1 and "measured: " in done.stderr and "lockstp" in done.stderr
    done = subprocess.run([*words[:3], "no-such"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "no-such: no such file, and none of the experiments" in done.stderr
