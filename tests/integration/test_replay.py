"""`fttcp replay`: a real server in a network of its own, against a history of another one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fttcp.history.reader import Flow
from lab.lifecycle import fttcp_program
from tests.histories import HistoryWriter
from tests.integration.netns import needs_root

pytestmark = needs_root

ONE = Flow("tcp", "10.77.0.10", 40001, "10.77.0.100", 80, 7)
TWO = Flow("tcp", "fd77::10", 40001, "fd77::100", 80, 8)
SERVER = f"{sys.executable} -m http.server --bind :: 80 --directory".split()


def replay(log: Path, *command: str) -> subprocess.CompletedProcess[str]:
    words = [fttcp_program(), "replay", str(log), "--json", "--patience", "20", "--", *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def a_history(path: Path) -> Path:
    written = HistoryWriter()
    for flow in (ONE, TWO):
        written.open(flow)
        written.input(flow, 0, b"GET /file HTTP/1.0\r\n\r\n")
    for flow in (ONE, TWO):
        written.output(flow, 1)  # the head of an answer has the time in it, so its sum is not known
        written.end(flow)
    written.done()
    return written.to(path)


def test_a_server_has_the_addresses_of_then(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    log = a_history(tmp_path / "log")
    done = replay(log, *SERVER, str(tmp_path))
    told = json.loads(done.stdout)
    assert done.returncode == 0, done
    assert told["ok"] and told["played"]["connections"] == 2 and told["note"]


def test_a_server_that_ends_is_told(tmp_path: Path) -> None:
    log = a_history(tmp_path / "log")
    done = replay(log, "sh", "-c", "echo no licence; exit 3")
    assert done.returncode == 1
    assert json.loads(done.stdout)["trouble"].endswith("the server ended with status 3: no licence")
