"""Fifty groups on one pair of daemons: heartbeats cost a thread and a port, and a crash is seen by all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.crowd import PORT, Crowd, address
from lab.faults import make_fault
from lab.network import CLIENT, NODES
from lab.nodeconfig import PRIORITIES
from tests.integration.netns import needs_root
from tests.integration.stations import known_mac, mac_of

pytestmark = needs_root

GROUPS = 50
MACS = {0: {"mac": "virtual"}, 1: {"mac": "virtual"}, 2: {"mac": "00:00:5e:00:01:07"}}
"""Of groups with one of their own; all others have that of the interface."""
BEATS = 7710
"""node.heartbeat_port"""


class Fifty(Crowd):
    """All groups owned by alpha."""

    def group(self, number: int, node: str) -> dict[str, Any]:
        """A group's section in a node's file."""
        priority = {"priority": PRIORITIES[NODES.index(node)]}
        return super().group(number, node) | priority | MACS.get(number, {})

    def begin(self) -> None:
        """Start everything; returns when alpha owns all groups, in step with beta.

        Groups start one after another, so alpha begins alone: of two nodes that begin together under load,
        the one whose group listens first may take it, whatever the priorities.
        """
        self.make()
        for node in NODES:
            self.start(node)
            self.await_all("alpha", lambda group: bool(group["role"] == "primary"), "is served")
        self.await_all("alpha", lambda group: bool(group["synced"]), "in step")


@pytest.fixture(scope="module")
def crowd() -> Iterator[Fifty]:
    """Fifty groups in step, all owned by alpha."""
    timing = {"heartbeat_ms": 100, "heartbeat_misses": 10}
    made = Fifty(f"test-crowd-{os.getpid()}", GROUPS, timing=timing)
    try:
        made.begin()
        yield made
    finally:
        made.down()


def test_fifty_groups_cost_one_thread_and_one_port(crowd: Fifty) -> None:
    for node in NODES:
        threads = crowd.threads(node)
        assert threads.count("ftt-beat") == 1
        assert threads.count("ftt-neigh") == 1
        sockets = crowd.exec(node, ["ss", "-Huln"]).stdout.splitlines()
        ports = [int(line.split()[3].rsplit(":", 1)[1]) for line in sockets]
        assert ports.count(BEATS) == 2  # one on each link
        assert sum(port < 20000 for port in ports) == 2, ports


def test_a_crash_is_seen_by_all(crowd: Fifty) -> None:
    before = _echoes(crowd)
    make_fault(crowd, "crash-host", "alpha")
    crowd.await_all("beta", lambda group: bool(group["role"] == "primary"), "is served")
    after = _echoes(crowd)
    own = mac_of(crowd, "beta", "svc0")
    assert {number for number, mac in after.items() if mac != own} == set(MACS)
    assert after[2] == MACS[2]["mac"] and len(set(after.values())) == 1 + len(MACS)
    assert all(after[number] == before[number] for number in MACS)


def _echoes(crowd: Fifty) -> dict[int, str]:
    """Ask some groups; return which MAC address the client has for each."""
    asked = (*MACS, GROUPS - 1)
    for number in asked:
        echo = crowd.exec(CLIENT, ["socat", "-t5", "-", f"TCP:{address(number)}:{PORT}"], input="hello\n")
        assert echo.stdout == "hello\n", echo.stderr
    return {number: known_mac(crowd, CLIENT, address(number)) for number in asked}
