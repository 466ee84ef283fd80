"""Many connections are renewed; what bounds that; what fails in the middle of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import NODES
from lab.workloads.herds import Herds, herds, serve_spec
from lab.workloads.registry import WORKLOADS, serve_specs
from tests.integration.netns import needs_root
from tests.integration.renewing import (
    STALL_S,
    WITHIN_S,
    await_states,
    begun,
    enough,
    protections,
    told,
    uploads,
)

pytestmark = needs_root

HERD = 1000
FLOW_BYTES, ALL_BYTES = 1 << 20, 16 << 20
SETTINGS = (
    f"limits.renew_flow_bytes={FLOW_BYTES}",
    f"limits.renew_bytes={ALL_BYTES}",
    "limits.max_half_open=2048",
)


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    one = Lab(f"test-renewals-{os.getpid()}")
    try:
        one.up((*serve_specs(("bulk-up", "echo")), serve_spec(HERD)), SETTINGS)
        yield one
    finally:
        one.down()


@pytest.fixture
def lab(made: Lab) -> Lab:
    """A pair in step."""
    experiment.mend(made)
    return made


def flows(lab: Lab) -> dict[str, int]:
    """How many connections the primary has in each state."""
    answer = lab.ask(lab.node_in_role("primary"), {"op": "status"}, 10)
    return dict(answer["groups"][0]["flows"])


def await_renewed(lab: Lab, count: int) -> None:
    """Wait until so many are protected, and none is caught up with any more."""

    def renewed() -> bool:
        now = flows(lab)
        return now["protected"] == count and not now["catching"]

    await_condition(renewed, WITHIN_S, f"{count} connections protected again")


def busy_while(herd: Herds, act: Callable[[], None]) -> None:
    """All connections are asked in turn, while something happens; each answer is right."""
    herd.tell("ask", 2 * HERD, 0, HERD)
    act()
    report = herd.answers()
    assert "error" not in report and report["messages"] == 2 * HERD, report


def test_a_thousand_connections_are_renewed_while_they_are_used(lab: Lab) -> None:
    """... and a backup that goes in the middle of it, as soon as some are protected, disturbs nobody."""
    with herds(lab, HERD, bound_s=STALL_S) as herd:
        assert "error" not in herd.ask(HERD)
        await_renewed(lab, HERD)

        def half_way() -> bool:
            return flows(lab)["protected"] > 0

        def lose_the_backup_twice() -> None:
            make_fault(lab, "crash-host", "backup")
            make_fault(lab, "restart-host")
            await_condition(half_way, WITHIN_S, "the first connection that is protected again")
            make_fault(lab, "crash-host", "backup")

        busy_while(herd, lose_the_backup_twice)
        busy_while(herd, lambda: experiment.revive(lab))
        await_renewed(lab, HERD)
        busy_while(herd, lambda: make_fault(lab, "crash-host", "primary"))
        experiment.revive(lab)
        await_renewed(lab, HERD)
        busy_while(herd, lambda: make_fault(lab, "switchover"))
        await_renewed(lab, HERD)  # by the old primary, whose server has lived on
        assert "error" not in herd.end()


def test_either_node_fails_while_the_backup_catches_up(lab: Lab, tmp_path: Path) -> None:
    """A server that paces itself is never caught up with, so there it is the middle at any time. What is
    protected by then goes on, what is not is served, or reset by a node that cannot go on with it."""
    with begun(lab, "bulk-down", tmp_path / "down") as down, begun(lab, "echo", tmp_path / "echo") as echo:
        primary = lab.node_in_role("primary")
        await_states(lab, primary, "protected", "protected")
        for _ in range(2):
            make_fault(lab, "crash-host", "backup")
            experiment.revive(lab)
            await_states(lab, primary, "protected", "catching-up")
        make_fault(lab, "crash-host", primary)
        report = down.finish()
        assert report["kind"] == "reset", report
        experiment.revive(lab)
        await_states(lab, lab.node_in_role("primary"), "protected")
        make_fault(lab, "kill-server", "primary")
        lab.wait("synced", WITHIN_S)
        enough(echo)


def test_uploads_are_renewed_up_to_the_bound_and_beyond_it_that_is_said(lab: Lab) -> None:
    small, large = FLOW_BYTES // 2, FLOW_BYTES + 40_000
    with uploads(lab, small, large) as both:
        for node in NODES:
            await_states(lab, node, "protected", "protected")
            await_condition(
                lambda node=node: (
                    sorted(str(flow["unrenewable"]) for flow in told(lab, node).values())
                    == ["log-too-long", "renewable"]
                ),
                WITHIN_S,
                f"{node} says which of them can be renewed",
            )
        make_fault(lab, "crash-host", "primary")
        experiment.revive(lab)
        await_states(lab, lab.node_in_role("primary"), "protected", "unprotected")
        make_fault(lab, "crash-host", "primary")
        answers, _ = both.communicate("\n", timeout=WITHIN_S)
    assert answers.splitlines() == [f"good {small}", "lost"]


def test_who_opens_connections_and_sends_for_ever_disturbs_nobody(lab: Lab, tmp_path: Path) -> None:
    """All logs together reach their bound, and not more; connections are protected as before, and short ones
    renewed as well."""
    sizes = [FLOW_BYTES - 100_000] * 40
    with begun(lab, "echo", tmp_path / "echo") as echo, uploads(lab, *sizes):
        for node in NODES:

            def full(node: str = node) -> bool:
                group = lab.ask(node, {"op": "status"}, 10)["groups"][0]
                assert group["log_memory_bytes"] <= ALL_BYTES
                reasons = [flow["unrenewable"] for flow in told(lab, node).values()]
                return reasons.count("logs-too-long") > 10

            await_condition(full, WITHIN_S, f"no more room on {node}")
        with begun(lab, "echo-plain", tmp_path / "late") as late:
            await_condition(
                lambda: protections(lab, lab.node_in_role("primary")) == ["protected"] * (len(sizes) + 2),
                WITHIN_S,
                "all of them protected, with a log or without",
            )
            make_fault(lab, "crash-host", "primary")
            enough(late)
        experiment.revive(lab)
        await_condition(lambda: echoes(lab) == [("protected", "renewable")], WITHIN_S, "the echo is renewed")
        make_fault(lab, "crash-host", "primary")
        enough(echo)


def echoes(lab: Lab) -> list[tuple[object, object]]:
    """How the primary has the connections of the echo."""
    service = f":{WORKLOADS['echo'].port(4)}/tcp"
    found = told(lab, lab.node_in_role("primary")).values()
    return [(one["protection"], one["unrenewable"]) for one in found if str(one["flow"]).endswith(service)]
