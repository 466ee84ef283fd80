"""A client that uses a port again while the service's stacks still remember the connection before it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest

from lab.faults import make_fault
from lab.lifecycle import Lab
from tests.replay import ROOT

PORTS = range(50000, 50004)
ASK = f"""
import json, socket, sys
from lab.workloads.base import set_initial_sequence
answers = []
for port in range({PORTS.start}, {PORTS.stop}):
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_initial_sequence(sock, int(sys.argv[1]))
        sock.bind(("::", port))
        sock.connect(("fd77::100", 8000))
        sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        answers.append(sock.makefile("rb").readline().decode())
        while sock.recv(65536):
            pass
print(json.dumps(answers))
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A pair whose server closes first, so that its side of each connection waits in TIME-WAIT."""
    lab = Lab(f"test-reuse-{os.getpid()}")
    try:
        lab.up(["8000/tcp=python3 -m http.server --bind :: 8000"], [])
        # without timestamps, a lower ISN is what a stack in TIME-WAIT answers with a challenge (RFC 5961 4.2)
        lab.host("client").run(["sysctl", "-q", "-w", "net.ipv4.tcp_timestamps=0"])
        yield lab
    finally:
        lab.down()


def ask_with_isn(lab: Lab, isn: int) -> None:
    """One request from each port, its connection begun with this ISN."""
    done = lab.exec("client", [sys.executable, "-c", ASK, str(isn)], env={"PYTHONPATH": str(ROOT)}, cwd="/")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("HTTP/1.0 200") for line in json.loads(done.stdout))


def test_lower_isn_after_a_switchover(lab: Lab) -> None:
    """The new backup was the primary: its stack meets connections that it had ended itself."""
    ask_with_isn(lab, 4_000_000_000)
    make_fault(lab, "switchover")
    lab.wait("synced")
    ask_with_isn(lab, 3_000_000_000)
    for node in ("alpha", "beta"):
        events = lab.ask(node, {"op": "events"})["events"]
        assert not [event for event in events if event["event"] == "flow-detached"]
