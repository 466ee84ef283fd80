"""Fifty groups on one pair of daemons: heartbeats cost a thread and a port, and a crash is seen by all."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.control import NoAnswerError
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.network import CLIENT, NODES
from lab.nodeconfig import node_config, to_toml, write_node_files
from tests.integration.netns import needs_root
from tests.integration.stations import known_mac, mac_of

pytestmark = needs_root

GROUPS = 50
MACS = {0: {"mac": "virtual"}, 1: {"mac": "virtual"}, 2: {"mac": "00:00:5e:00:01:07"}}
"""Of groups with one of their own; all others have that of the interface."""
PORT = 7710
"""node.heartbeat_port"""
SERVER = "echo $$ > /run/all.pid; exec socat TCP-LISTEN:7,fork,reuseaddr PIPE"
WITHIN_S = 150


def _address(number: int) -> str:
    return f"10.77.0.{150 + number}"


def _group(number: int, priority: int) -> dict[str, Any]:
    return {
        "name": f"g{number}", "addresses": [_address(number)], "ports": ["7/tcp"], "pid_file": "/run/all.pid",
        "queue": 1000 + 32 * number, "channel_port": 20000 + 10 * number, "priority": priority,
        **MACS.get(number, {}),
        "timing": {"heartbeat_ms": 100, "heartbeat_misses": 10}, "limits": {"max_flows": 64},
    }  # fmt: skip


class Crowd(Lab):
    """A lab whose daemons have fifty groups, all with one server."""

    def begin(self) -> None:
        """Start everything; returns when alpha owns all groups, in step with beta.

        Groups start one after another, so alpha begins alone: of two nodes that begin together under load,
        the one whose group listens first may take it, whatever the priorities.
        """
        self.daemons: dict[str, subprocess.Popen[Any]] = {}
        self.up(bare=True)
        key = secrets.token_hex(32)
        for node in NODES:
            path = write_node_files(node, self.home / node, key, ())
            config = node_config(node, self.home / node, ("7/tcp=unused",), ())
            priority = config["group"][0]["priority"]
            config["group"] = [_group(number, priority) for number in range(GROUPS)]
            path.write_text(to_toml(config) + "\n")
            self.keep_child(self.popen(node, ["sh", "-c", SERVER], cwd="/", start_new_session=True))
            daemon = [fttcp_program(), "node", "--config", str(path)]
            with self.log(node).open("ab") as log:
                self.daemons[node] = self.popen(
                    node, daemon, cwd=self.home / node / "root", stdout=log, stderr=log
                )
            self.keep_child(self.daemons[node])
            self.await_all("alpha", lambda group: group["role"] == "primary", "is served")
        self.await_all("alpha", lambda group: group["synced"], "in step")

    def await_all(self, node: str, holds: Any, what: str) -> None:
        """Wait until `holds` is true of each group on `node`."""

        def check() -> bool:
            try:
                groups = self.ask(node, {"op": "status"}, WITHIN_S)["groups"]
            except NoAnswerError:  # it is just starting
                return False
            return len(groups) == GROUPS and all(map(holds, groups))

        # seldom: to describe fifty groups is work for a daemon that is to pair them
        await_condition(check, WITHIN_S, f"lab {self.name}: each group on {node} {what}", interval_s=0.5)

    def threads(self, node: str) -> list[str]:
        """Return the names of the daemon's threads."""
        tasks = Path(f"/proc/{self.daemons[node].pid}/task")
        return [(task / "comm").read_text().strip() for task in tasks.iterdir()]


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """Fifty groups in step, all owned by alpha."""
    made = Crowd(f"test-crowd-{os.getpid()}")
    try:
        made.begin()
        yield made
    finally:
        made.down()


def test_fifty_groups_cost_one_thread_and_one_port(crowd: Crowd) -> None:
    for node in NODES:
        threads = crowd.threads(node)
        assert threads.count("ftt-beat") == 1
        assert threads.count("ftt-neigh") == 1
        sockets = crowd.exec(node, ["ss", "-Huln"]).stdout.splitlines()
        ports = [int(line.split()[3].rsplit(":", 1)[1]) for line in sockets]
        assert ports.count(PORT) == 2  # one on each link
        assert sum(port < 20000 for port in ports) == 2, ports


def test_a_crash_is_seen_by_all(crowd: Crowd) -> None:
    before = _echoes(crowd)
    make_fault(crowd, "crash-host", "alpha")
    crowd.await_all("beta", lambda group: group["role"] == "primary", "is served")
    after = _echoes(crowd)
    own = mac_of(crowd, "beta", "svc0")
    assert {number for number, mac in after.items() if mac != own} == set(MACS)
    assert after[2] == MACS[2]["mac"] and len(set(after.values())) == 1 + len(MACS)
    assert all(after[number] == before[number] for number in MACS)


def _echoes(crowd: Crowd) -> dict[int, str]:
    """Ask some groups; return which MAC address the client has for each."""
    asked = (*MACS, GROUPS - 1)
    for number in asked:
        echo = crowd.exec(CLIENT, ["socat", "-t5", "-", f"TCP:{_address(number)}:7"], input="hello\n")
        assert echo.stdout == "hello\n", echo.stderr
    return {number: known_mac(crowd, CLIENT, _address(number)) for number in asked}
