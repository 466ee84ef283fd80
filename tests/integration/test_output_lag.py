"""A backup whose server is late in what it says is waited for as long as `output_lag_ms` says."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from typing import IO, Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4
from tests.integration.netns import needs_root

pytestmark = needs_root

ECHO = "7/tcp=socat TCP6-LISTEN:7,ipv6only=0,fork,reuseaddr,nodelay PIPE"
SETTINGS = ["timing.detach_after_ms=200", "timing.output_lag_ms=20000", "timing.hang_after_ms=30000"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A pair with an echo."""
    lab = Lab(f"test-lag-{os.getpid()}")
    try:
        lab.up([ECHO], SETTINGS)
        yield lab
    finally:
        lab.down()


def protection(lab: Lab) -> list[str]:
    """Of the connections that there are."""
    told: list[dict[str, Any]] = lab.ask(lab.node_in_role("primary"), {"op": "connections"}, 5)["connections"]
    return [flow["protection"] for flow in told]


def test_what_waits_for_the_backups_server_keeps_its_protection(lab: Lab) -> None:
    """Five times `detach_after_ms`; then its host dies, and the connection goes on."""
    words = ["socat", "-", f"TCP:{SERVICE4}:7"]
    with lab.popen(CLIENT, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as client:
        there: IO[bytes] = client.stdin
        back: IO[bytes] = client.stdout
        try:
            there.write(b"one\n")
            assert back.read(4) == b"one\n"
            await_condition(lambda: protection(lab) == ["protected"], 30, "protection")
            make_fault(lab, "hang-server", "backup")
            there.write(b"two\n")
            assert back.read(4) == b"two\n", "the backup's kernel has what this answers"
            there.write(b"six\n")  # its server has not said `two`, so it cannot be told this
            assert select.select([back], [], [], 1.0) == ([], [], [])
            assert protection(lab) == ["protected"]
            make_fault(lab, "heal")
            assert back.read(4) == b"six\n"
            assert protection(lab) == ["protected"]
            make_fault(lab, "crash-host", "primary")
            there.write(b"ten\n")
            assert back.read(4) == b"ten\n"
        finally:
            client.kill()
