"""Many groups on one pair of daemons, all with one server, which echoes."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.control import NoAnswerError
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.network import NODES
from lab.nodeconfig import node_config, to_toml, write_node_files

PORT = 7
WITHIN_S = 150
_SERVER = f"echo $$ > /run/all.pid; exec socat TCP-LISTEN:{PORT},fork,reuseaddr,nodelay PIPE"

Status = dict[str, Any]


def address(number: int) -> str:
    """The service address of a group."""
    return f"10.77.0.{150 + number}"


class Crowd(Lab):
    """A lab whose daemons are started by the test."""

    def __init__(self, name: str, groups: int, **settings: Any) -> None:
        """``settings``: of every group; ``prefer`` may be set later, in ``group``."""
        super().__init__(name)
        self.count, self._settings = groups, settings
        self.daemons: dict[str, subprocess.Popen[Any]] = {}

    def group(self, number: int, node: str) -> dict[str, Any]:
        """A group's section in a node's file."""
        return {
            "name": f"g{number}", "addresses": [address(number)], "ports": [f"{PORT}/tcp"],
            "pid_file": "/run/all.pid", "queue": 1000 + 32 * number, "channel_port": 20000 + 10 * number,
            "limits": {"max_flows": 64}, **self._settings,
        }  # fmt: skip

    def make(self) -> None:
        """Make the hosts, and a file for each node."""
        self.up(bare=True)
        key = secrets.token_hex(32)
        for node in NODES:
            path = write_node_files(node, self.home / node, key, ())
            config = node_config(node, self.home / node, ("7/tcp=unused",), ())
            config["group"] = [self.group(number, node) for number in range(self.count)]
            path.write_text(to_toml(config) + "\n")

    def start(self, node: str) -> None:
        """Start a node's server and its daemon."""
        self.keep_child(self.popen(node, ["sh", "-c", _SERVER], cwd="/", start_new_session=True))
        daemon = [fttcp_program(), "node", "--config", str(self.home / node / "node.toml")]
        with self.log(node).open("ab") as log:
            self.daemons[node] = self.popen(
                node, daemon, cwd=self.home / node / "root", stdout=log, stderr=log
            )
        self.keep_child(self.daemons[node])

    def groups(self, node: str) -> list[Status]:
        """What a node's daemon says of its groups; nothing while it does not answer."""
        try:
            return list(self.ask(node, {"op": "status"}, WITHIN_S)["groups"])
        except NoAnswerError:  # it is just starting
            return []

    def await_all(self, node: str, holds: Callable[[Status], bool], what: str) -> None:
        """Wait until `holds` is true of each group on `node`."""

        def check() -> bool:
            groups = self.groups(node)
            return len(groups) == self.count and all(map(holds, groups))

        # seldom: to describe fifty groups is work for a daemon that is to pair them
        await_condition(check, WITHIN_S, f"lab {self.name}: each group on {node} {what}", interval_s=0.5)

    def threads(self, node: str) -> list[str]:
        """Return the names of the daemon's threads."""
        tasks = Path(f"/proc/{self.daemons[node].pid}/task")
        return [(task / "comm").read_text().strip() for task in tasks.iterdir()]
