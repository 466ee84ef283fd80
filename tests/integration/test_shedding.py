"""Hosts without the units for all groups: each sheds by itself what comes last, and takes it up again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lab.crowd import PORT, WITHIN_S, Crowd, address
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import fttcp_program
from lab.network import NODES
from tests.integration.netns import needs_root
from tests.integration.talking import Talk

pytestmark = needs_root

LINE = (("alpha", "beta"), ("beta", "alpha"), ("alpha", "beta"))
"""The nodes of each group, the first that it prefers; the first group is the most important one."""


class Short(Crowd):
    """Three groups, and two nodes with room for two servers each."""

    def group(self, number: int, node: str) -> dict[str, Any]:
        section = super().group(number, node)
        del section["pid_file"]
        listen = f"TCP-LISTEN:{PORT},bind={address(number)},fork,reuseaddr,nodelay"
        return section | {
            "command": f"socat {listen} PIPE",
            "prefer": list(LINE[number]),
            "importance": len(LINE) - number,
        }

    def serve(self, node: str) -> None:
        """Each group has one of its own."""

    def change(self, config: dict[str, Any]) -> None:
        config["node"]["capacity"] = config["peer"]["capacity"] = 2

    def roles(self, node: str) -> dict[str, str]:
        """What a node is for each group: primary, backup, shed, or none of these yet."""
        return {
            group["name"]: "shed"
            if group["shed"]
            else group["role"]
            if group["server"]["healthy"]
            else "none"
            for group in self.groups(node)
        }

    def await_roles(self, node: str, *wanted: str) -> None:
        await_condition(
            lambda: list(self.roles(node).values()) == list(wanted),
            WITHIN_S,
            f"{node}: {wanted}",
            interval_s=0.2,
        )

    def planned(self, *words: str) -> dict[str, str]:
        """The primaries at the end of what `fttcp plan` on beta tells."""
        file = str(self.home / "beta" / "node.toml")
        told = self.exec("beta", [fttcp_program(), "plan", "--config", file, "--json", *words]).stdout
        return {group["name"]: group["primary"] for group in json.loads(told)["steps"][-1]["groups"]}


@pytest.fixture
def pair() -> Iterator[Short]:
    made = Short(f"test-shed-{os.getpid()}", len(LINE), timing={"heartbeat_ms": 50, "heartbeat_misses": 10})
    try:
        made.make()
        for node in NODES:
            made.start(node)
        yield made
    finally:
        made.down()


def test_the_least_important_is_shed_and_comes_back(pair: Short) -> None:
    pair.await_roles("alpha", "primary", "shed", "primary")
    pair.await_roles("beta", "backup", "primary", "shed")
    planned = pair.planned("--without", "alpha")
    with ExitStack() as stack:
        kept = [Talk(pair, address(number), PORT) for number in (0, 1)]
        for talk in kept:
            stack.callback(talk.close)
            talk.go_on()
        make_fault(pair, "crash-host", "alpha")
        pair.await_roles("beta", "primary", "primary", "shed")
        assert planned == pair.planned() == {"g0": "beta", "g1": "beta", "g2": ""}
        for talk in kept:
            talk.go_on()
        pair.restart_host("alpha")
        pair.start("alpha")
        pair.await_roles("alpha", "backup", "shed", "primary")
        pair.await_roles("beta", "primary", "primary", "shed")
        again = Talk(pair, address(2), PORT)
        stack.callback(again.close)
        for talk in (*kept, again):
            talk.go_on()
            talk.end()
