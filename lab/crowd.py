"""Many groups on one pair of daemons, each with an address; their servers echo."""

from __future__ import annotations

import secrets
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.control import NoAnswerError
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.network import NODES
from lab.nodeconfig import node_config, to_toml, write_node_files

PORT = 7
"""Of the one server for all groups; if each has one, its number is added."""
WITHIN_S = 150
LOOP, HELPERS = "loop", "helpers"
"""Threads of Python: the one that decides, all others."""

Status = dict[str, Any]


def address(number: int) -> str:
    """The service address of a group."""
    return f"10.77.0.{150 + number}"


class Crowd(Lab):
    """A lab whose daemons are started by its user."""

    def __init__(self, name: str, groups: int, each: bool = False, **settings: Any) -> None:
        """``each``: every group has a server of its own; ``settings``: of every group; ``prefer`` may be set
        later, in ``group``."""
        super().__init__(name)
        self.count, self._each, self._settings = groups, each, settings
        self.daemons: dict[str, subprocess.Popen[Any]] = {}

    def group(self, number: int, node: str) -> dict[str, Any]:
        """A group's section in a node's file."""
        port, pid_file = self._server(number)
        return {
            "name": f"g{number}", "addresses": [address(number)], "ports": [f"{port}/tcp"],
            "pid_file": pid_file, "queue": 1000 + 32 * number, "channel_port": 20000 + 10 * number,
            "limits": {"max_flows": 64}, **self._settings,
        }  # fmt: skip

    def _server(self, number: int) -> tuple[int, str]:
        """Port and pid file of a group's server."""
        return (PORT + number, f"/run/{number}.pid") if self._each else (PORT, "/run/all.pid")

    def change(self, config: dict[str, Any]) -> None:
        """Change a node's file before it is written."""

    def make(self) -> None:
        """Make the hosts, and a file for each node."""
        self.up(bare=True)
        key = secrets.token_hex(32)
        for node in NODES:
            path = write_node_files(node, self.home / node, key, ())
            config = node_config(node, self.home / node, ("7/tcp=unused",), ())
            config["group"] = [self.group(number, node) for number in range(self.count)]
            self.change(config)
            path.write_text(to_toml(config) + "\n")

    def serve(self, node: str) -> None:
        """Start the servers of all groups."""
        for port, pid_file in sorted({self._server(number) for number in range(self.count)}):
            serve = f"echo $$ > {pid_file}; exec socat TCP-LISTEN:{port},fork,reuseaddr,nodelay PIPE"
            self.keep_child(self.popen(node, ["sh", "-c", serve], cwd="/", start_new_session=True))

    def start(self, node: str) -> None:
        """Start a node's servers and its daemon."""
        self.serve(node)
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

    def told(self, node: str, event: str) -> int:
        """Return how often a node has told of this event, by its log: nothing is asked of its daemon."""
        return self.log(node).read_text().count(f'"event": "{event}"')

    def threads(self, node: str) -> list[str]:
        """Return the names of the daemon's threads."""
        return [(task / "comm").read_text().strip() for task in self._tasks(node)]

    def used_ns(self, node: str) -> Counter[str]:
        """Return the processor time that the daemon's living threads have used so far, by their names."""
        used: Counter[str] = Counter()
        pid = self.daemons[node].pid
        main = (Path(f"/proc/{pid}") / "comm").read_text().strip()
        for task in self._tasks(node):
            try:
                name = (task / "comm").read_text().strip()
                ns = int((task / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):  # it has ended since
                continue
            if name == main:
                name = LOOP if task.name == str(pid) else HELPERS
            used[name] += ns
        return used

    def _tasks(self, node: str) -> list[Path]:
        return list(Path(f"/proc/{self.daemons[node].pid}/task").iterdir())
