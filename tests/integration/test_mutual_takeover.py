"""Two nodes that each serve some groups and back the others: the crash of either moves its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lab.crowd import PORT, Crowd, Status, address
from lab.faults import make_fault
from lab.lifecycle import fttcp_program
from lab.network import NODES
from tests.integration.netns import needs_root
from tests.integration.talking import Talk

pytestmark = needs_root

GROUPS = 6


def first(name: str) -> str:
    """The node that a group prefers: they take turns."""
    return NODES[int(name.removeprefix("g")) % 2]


class Mutual(Crowd):
    """Half of the groups prefer alpha, half beta."""

    def group(self, number: int, node: str) -> dict[str, Any]:
        """A group's section: the same in both files."""
        return super().group(number, node) | {
            "prefer": sorted(NODES, key=lambda name: name != first(f"g{number}"))
        }

    def plan(self, *words: str) -> list[dict[str, Any]]:
        """The steps that `fttcp plan` on beta tells."""
        file = str(self.home / "beta" / "node.toml")
        told = json.loads(
            self.exec("beta", [fttcp_program(), "plan", "--config", file, "--json", *words]).stdout
        )
        assert told["from"] == "daemon"
        return list(told["steps"])


def primaries(step: dict[str, Any]) -> dict[str, str]:
    return {group["name"]: group["primary"] for group in step["groups"]}


@pytest.fixture
def pair() -> Iterator[Mutual]:
    """Six groups in step, each where it prefers to be, though both nodes have started at once."""
    made = Mutual(
        f"test-mutual-{os.getpid()}",
        GROUPS,
        timing={"heartbeat_ms": 100, "heartbeat_misses": 10, "startup_wait_ms": 15_000},
    )
    try:
        made.make()
        for node in NODES:
            made.start(node)
        for node in NODES:
            made.await_all(node, lambda group: bool(group["synced"]), "in step")
        yield made
    finally:
        made.down()


def test_all_connections_outlive_the_host_of_half_of_them(pair: Mutual) -> None:
    def serves(node: str) -> set[str]:
        return {group["name"] for group in pair.groups(node) if group["role"] == "primary"}

    for node in NODES:
        assert serves(node) == {f"g{number}" for number in range(GROUPS) if first(f"g{number}") == node}
    now, lost = pair.plan("--without", "alpha")
    assert primaries(now) == {f"g{number}": first(f"g{number}") for number in range(GROUPS)}
    with ExitStack() as stack:
        talks = [Talk(pair, address(number), PORT) for number in range(GROUPS)]
        for talk in talks:
            stack.callback(talk.close)
            talk.go_on()

        def protected(group: Status) -> bool:
            flows = group.get("flows", {})
            return bool(flows and flows["protected"] == 1)

        for node in NODES:
            pair.await_all(node, protected, "has its connection protected")
        make_fault(pair, "crash-host", "alpha")
        pair.await_all("beta", lambda group: bool(group["role"] == "primary"), "is served")
        assert primaries(lost) == primaries(pair.plan()[0])  # it came as planned
        for talk in talks:
            talk.go_on()
            talk.end()
