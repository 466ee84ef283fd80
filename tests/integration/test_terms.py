"""Two nodes with settings that differ, on real kernels: told on both, and no pair that breaks a promise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lab.hosts import await_condition
from tests.integration.netns import needs_root
from tests.integration.pair import pair_named
from tests.integration.test_ownership import Watched, served

pytestmark = needs_root

WAITS_S = 4.0
"""A node that starts alone takes the group after one second."""


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    for pair in pair_named("terms"):
        pair.lab.up(arbiter="witness")
        yield Watched(pair)


def without_arbiter(text: str) -> str:
    return re.sub(r"(?m)^\[arbiter.*\n([^\[\n].*\n|\n)*", "", text)


def other_address(text: str) -> str:
    return text.replace("10.77.0.100", "10.77.0.109")


@pytest.mark.parametrize(
    ("change", "key"),
    [(without_arbiter, "arbiter"), (other_address, "addresses")],
    ids=["arbiter", "addresses"],
)
def test_nodes_that_break_a_promise_together_form_no_pair(
    watched: Watched, change: Callable[[str], str], key: str
) -> None:
    lab = watched.lab
    lab.wait("synced")
    owner, other = lab.node_in_role("primary"), lab.node_in_role("backup")
    before = watched.pair.restart_with(other, change)
    try:
        for node in (owner, other):
            await_condition(
                lambda node=node: key in watched.pair.reasons(node).get("settings", ""),
                15,
                f"{node} tells of {key}",
            )
            assert not watched.group(node)["synced"]
        shown = watched.pair.shown(other)
        assert re.search(rf"NOT READY +settings differ.*{key}", shown), shown
        assert served(lab) and watched.primaries() == [owner]
        if key == "arbiter":
            stays_with(watched, owner, other)
    finally:
        watched.pair.restart_with(other, lambda _: before)
    lab.wait("synced")
    assert "settings" not in watched.pair.reasons(owner) and not watched.group(owner)["differs"]


def stays_with(watched: Watched, owner: str, other: str) -> None:
    """Where the nodes hear each other nowhere, the one without an arbiter takes nothing."""
    watched.part(on=True)
    try:
        await_condition(lambda: not watched.group(other)["peer_alive"], 30, "they are parted")
        await_condition(
            lambda: waited_s(watched, other) > WAITS_S, 20, "it has waited long enough to take it"
        )
        assert watched.primaries() == [owner] and watched.group(other)["role"] == "starting"
    finally:
        watched.part(on=False)


def waited_s(watched: Watched, node: str) -> float:
    """For how long it has taken nothing because of the other one's arbiter, and heard nobody."""
    reasons = {reason["why"]: reason["since"] for reason in watched.group(node)["not_ready"]}
    if not {"contested", "peer-lost"} <= set(reasons):
        return 0.0
    since = max(datetime.fromisoformat(reasons[why]) for why in ("contested", "peer-lost"))
    return (datetime.now(UTC) - since).total_seconds()


def test_a_kernel_that_speaks_another_tcp_is_told_and_the_backup_is_not_ready(watched: Watched) -> None:
    lab = watched.lab
    lab.wait("synced")
    owner, other = lab.node_in_role("primary"), lab.node_in_role("backup")
    key = "net.ipv4.tcp_sack"
    lab.host(other).run(["sysctl", "-w", f"{key}=0"])
    try:
        for node in (owner, other):
            await_condition(
                lambda node=node: key in watched.pair.reasons(node).get("settings-told", ""),
                15,
                f"{node} tells of {key}",
            )
        states: dict[str, Any] = {node: watched.group(node) for node in (owner, other)}
        assert states[owner]["ready"] and not states[other]["ready"] and states[other]["synced"]
    finally:
        lab.host(other).run(["sysctl", "-w", f"{key}=1"])
    await_condition(lambda: watched.group(other)["ready"], 15, "they agree again")
