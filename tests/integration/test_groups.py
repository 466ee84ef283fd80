"""Two groups on one pair of daemons: what befalls one of them leaves the other alone.

The group `one` has a server that the daemon runs, over IPv4; `two` has one that somebody else runs, known by
its pid file, over IPv6. A connection to each talks all the time, and must go on through everything.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.network import NODES, SERVICE4
from lab.nodeconfig import node_config, to_toml, write_node_files
from tests.integration.netns import needs_root
from tests.integration.talking import Talk

pytestmark = needs_root

ECHO = "socat TCP6-LISTEN:{},ipv6only=0,fork,reuseaddr,nodelay PIPE"
SERVE = (f"7/tcp={ECHO.format(7)}",)
TWO = {
    "name": "two", "addresses": ["fd77::101"], "ports": ["8/tcp"], "pid_file": "/run/two.pid", "queue": 7740,
    "channel_port": 7730,
}  # fmt: skip
PLACES = {"one": (SERVICE4, 7), "two": ("fd77::101", 8)}
OTHER = {"one": "two", "two": "one"}


class Pair(Lab):
    """A lab whose daemons, with two groups, are started by the test."""

    def begin(self) -> None:
        """Make the hosts and start everything; returns when both groups are in step."""
        self.up(bare=True)
        key = secrets.token_hex(32)
        for node in NODES:
            path = write_node_files(node, self.home / node, key, SERVE)
            config = node_config(node, self.home / node, SERVE, ["name=one", f'addresses=["{SERVICE4}"]'])
            config["group"].append(TWO | {"priority": config["group"][0]["priority"]})
            path.write_text(to_toml(config) + "\n")
            self.start(node)
            for group in PLACES:  # of alpha, before there is anyone else
                self.await_owner(group, "alpha")
        self.await_both("in step", lambda group: bool(group["synced"]))

    def start(self, node: str) -> None:
        """Start the second group's server, which the daemon only finds, and the daemon."""
        self.serve_two(node)
        daemon = [fttcp_program(), "node", "--config", str(self.home / node / "node.toml")]
        with self.log(node).open("ab") as log:
            self.keep_child(self.popen(node, daemon, cwd=self.home / node / "root", stdout=log, stderr=log))

    def serve_two(self, node: str) -> None:
        """Start the second group's server, and leave its pid where its group looks for it."""
        command = f"echo $$ > /run/two.pid; exec {ECHO.format(8)}"
        self.keep_child(self.popen(node, ["sh", "-c", command], cwd="/", start_new_session=True))

    def groups(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(node, group) -> status, of the daemons that answer."""
        return {
            (node["node"], group["name"]): group
            for node in self.status()["nodes"]
            for group in node["groups"]
        }

    def await_both(self, what: str, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until `holds` is true of both groups on both nodes."""

        def check() -> bool:
            groups = self.groups()
            return len(groups) == 4 and all(map(holds, groups.values()))

        await_condition(check, 30, f"lab {self.name}: both groups {what}")

    def await_owner(self, group: str, node: str) -> None:
        """Wait until `node` owns `group`."""
        await_condition(
            lambda: self.groups().get((node, group), {}).get("role") == "primary", 10, f"{node} owns {group}"
        )


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two groups in step, both owned by alpha."""
    made = Pair(f"test-groups-{os.getpid()}")
    try:
        made.begin()
        yield made
    finally:
        made.down()


@pytest.fixture
def talks(pair: Pair) -> Iterator[dict[str, Talk]]:
    """A protected connection to each group."""
    with ExitStack() as stack:
        made = {}
        for group in PLACES:
            made[group] = Talk(pair, *PLACES[group])
            stack.callback(made[group].close)
        for talk in made.values():
            talk.go_on()
        for group in PLACES:
            flows = pair.groups()["alpha", group]["flows"]
            renewable = flows.pop("renewable")  # of those that are counted by protection
            assert flows["protected"] == renewable == sum(flows.values()) == 1, (group, flows)
        yield made


@pytest.mark.parametrize("moved", PLACES)
def test_one_moves_and_the_host_crashes(pair: Pair, talks: dict[str, Talk], moved: str) -> None:
    """A switchover of one group leaves the other with its owner; the crash of that owner moves the other too.
    Then the host comes back, and both are in step again."""
    stays = OTHER[moved]
    epoch = pair.groups()["alpha", stays]["epoch"]
    assert "error" not in pair.ask("alpha", {"op": "switchover", "group": moved}, 5.0)
    pair.await_owner(moved, "beta")
    for talk in talks.values():
        talk.go_on()
    there = pair.groups()["alpha", stays]
    assert (there["role"], there["epoch"], there["synced"]) == ("primary", epoch, True)
    assert there["flows"]["protected"] == 1
    pair.await_both("in step", lambda group: bool(group["synced"]))
    make_fault(pair, "crash-host", "alpha")
    for group, talk in talks.items():
        pair.await_owner(group, "beta")
        talk.go_on()
    pair.restart_host("alpha")
    pair.start("alpha")
    pair.await_both("in step", lambda group: bool(group["synced"]))
    for talk in talks.values():
        talk.go_on()
        talk.end()


def test_a_server_that_somebody_else_runs_dies(pair: Pair, talks: dict[str, Talk]) -> None:
    """Its group moves at once, and only it; a new server with a new pid is found, and the group in step."""
    old = pair.groups()["alpha", "two"]["server"]["pid"]
    pair.exec("alpha", ["kill", f"-{signal.SIGKILL.value}", str(old)])
    pair.await_owner("two", "beta")
    for talk in talks.values():
        talk.go_on()
    assert pair.groups()["beta", "two"]["takeovers"][-1]["cause"] == "server-died"
    assert pair.groups()["alpha", "one"]["role"] == "primary"
    assert not pair.groups()["alpha", "two"]["server"]["healthy"]
    pair.serve_two("alpha")
    pair.await_both("in step", lambda group: bool(group["synced"]))
    assert pair.groups()["alpha", "two"]["server"]["pid"] != old
    for talk in talks.values():
        talk.end()
