"""Both kernels of a pair take the same of what is sent, whatever somebody forges among it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import SERVICE
from tests.integration.pair import Pair

PORT, LINES, CONNECTIONS = 7, 250, 60
ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("odd_client.py")
RECORDING = """
import socket, threading
def serve(peer):
    while data := peer.recv(65536):
        with open("received", "ab") as received: received.write(data)
        peer.sendall(data)
listener = socket.create_server(("::", 7), family=socket.AF_INET6, dualstack_ipv6=True)
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def open_flows(lab: Lab, role: str) -> list[dict[str, Any]]:
    """What a node knows of connections that have not ended."""
    flows = lab.ask(lab.node_in_role(role), {"op": "connections"}, 5)["connections"]
    return [one for one in flows if not one["closed"]]


@pytest.fixture(scope="module")
def recording() -> Iterator[Pair]:
    """A pair whose servers keep what they read, and send it back."""
    lab = Lab(f"test-odd-segments-{os.getpid()}")
    try:
        lab.up([f"{PORT}/tcp={shlex.join([sys.executable, '-c', RECORDING])}"])
        yield Pair(lab)
    finally:
        lab.down()


class Client:
    """The driver in the client's host, for a `with` block."""

    def __init__(self, lab: Lab, family: int) -> None:
        self._process = lab.popen(
            CLIENT, [sys.executable, str(DRIVER), SERVICE[family], str(PORT), str(family)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def converse(self, command: str) -> int:
        """How many bytes of the connection have been answered then."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        print(command, file=self._process.stdin, flush=True)
        said = self._process.stdout.readline()
        assert said.startswith("answered"), said or self._process.stderr.read()
        return int(said.split()[2])


def await_one_place(lab: Lab) -> None:
    """Both stacks have the one connection, protected, and stand at one place in it."""

    def places() -> list[list[int]]:
        return [
            [flow["local_rcv_nxt"] for flow in open_flows(lab, role) if flow["protection"] == "protected"]
            for role in ("primary", "backup")
        ]

    await_condition(
        lambda: len(places()[0]) == 1 and places()[0] == places()[1], 5, "both stacks stand at one place"
    )


@pytest.mark.parametrize("family", [4, 6])
def test_both_kernels_take_the_same(recording: Pair, family: int) -> None:
    """Random refused segments: both stand at one place, both servers read the same, also behind a crash."""
    lab = recording.ready().lab
    kept = {role: lab.home / lab.node_in_role(role) / "root" / "received" for role in ("primary", "backup")}
    for received in kept.values():
        received.unlink(missing_ok=True)
    with Client(lab, family) as client:
        total = client.converse(str(LINES))
        await_one_place(lab)
        await_condition(
            lambda: kept["backup"].stat().st_size == total, 30, "the backup's server has read all"
        )
        assert kept["primary"].read_bytes() == kept["backup"].read_bytes()
        assert b"FORGED" not in kept["backup"].read_bytes()
        make_fault(lab, "crash-host", "primary")
        total = client.converse(str(LINES // 5))
        assert kept["backup"].stat().st_size == total


@pytest.mark.parametrize("family", [4, 6])
def test_behind_the_handshake(recording: Pair, family: int) -> None:
    """Connections whose first segments are forged: either stack may still shake hands when they come."""
    lab = recording.ready().lab
    with Client(lab, family) as client:
        for _ in range(CONNECTIONS):
            client.converse("anew 3")
            await_one_place(lab)
