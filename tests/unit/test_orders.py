"""Commands that change something: what they print, how they end, and what they refuse."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fttcp.face.frontend import Frontend
from fttcp.group.group import GroupRuntime
from fttcp.ownership.model import Cause, Phase
from tests.tool import Tool, failure, scene


def test_pause_reaches_both_nodes_and_holds_until_resume(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        done = await tool("pause", "web")
        assert done.exit_code == 0 and "PAUSED" in done.output and "other node knows" in done.output
        assert alpha.machine.paused and beta.machine.paused
        for said in (done.output, (await tool("status")).output, (await tool("top", "--once")).output):
            assert "PAUSED" in said and "`fttcp resume web`" in said
        for order in ("switchover", "failover"):
            refused = await tool(order, "web")
            assert refused.exit_code == 1 and "paused (maintenance)" in refused.output
            assert "until `fttcp resume web`" in refused.output
        again = json.loads((await tool("pause", "--all", "--json")).output)
        assert again["groups"] == [{"group": "web", "paused": True, "peer_knows": True, "asked": "pause"}]
        assert (await tool("resume", "web")).exit_code == 0
        assert not alpha.machine.paused and not beta.machine.paused
        kinds = [e["event"] for e in face.reporting.history.since(0)]
        assert kinds.count("paused") == kinds.count("resumed") == 0  # alpha's history is its own in this test
        assert (await tool("pause")).exit_code == 2
        assert "one of the two" in (await tool("pause", "web", "--all")).output

    scene(tmp_path, play)


def test_a_failed_primary_stays_during_maintenance(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        await tool("pause", "web")
        alpha.serving.changed(False, Cause.SERVER_DIED, "stopped for repair")
        await asyncio.sleep(0.3)
        assert alpha.machine.phase is Phase.PAIRED
        await tool("resume", "web")
        async with asyncio.timeout(5):
            while beta.machine.phase is not Phase.SOLO:
                await asyncio.sleep(0.01)

    scene(tmp_path, play)


def test_the_engine_is_told_of_a_server_in_doubt(tmp_path: Path) -> None:
    """And for how long that may be."""

    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        alpha.serving.doubted(2.5)
        alpha.serving.doubted(0)
        engine: Any = alpha.engine
        assert [order[1] for order in engine.orders if order[0] == "doubt"] == [2_500_000_000, 0]

    scene(tmp_path, play)


def test_switchover_waits_and_tells(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        done = json.loads((await tool("switchover", "web", "--json")).output)
        assert done["was"] == "primary" and done["role"] == "backup"

    scene(tmp_path, play)


def has_flows(group: GroupRuntime, *protections: str) -> None:
    """Let a group's engine have such flows; those that are not protected would end."""
    flows = [
        {"flow": f"client {n}", "protection": one, "reason": "none", "closed": 0, "remote": "192.0.2.7",
         "continues": one == "protected", "unrenewable": "renewable"}
        for n, one in enumerate(protections)
    ]  # fmt: skip
    ending = sum(not flow["continues"] for flow in flows)
    status = replace(group.engine.status(), flows_ending=ending, flows_protected=len(flows) - ending)
    group.engine.status = lambda: status  # type: ignore[method-assign]
    group.engine.flows = lambda limit, with_closed=True: flows  # type: ignore[method-assign,assignment]


def test_what_a_planned_act_would_reset_is_said_before(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        has_flows(alpha, "protected", "unprotected", "detached", "unprotected", "resetting")
        expected = "would reset 3 connections (1 detached, 2 unprotected)"
        for act in (("switchover", "web"), ("stop",)):
            refused = await tool(*act)
            assert refused.exit_code == 1 and expected in refused.output
            assert "--force goes ahead, --drain 30s waits for them" in refused.output
            late = await tool(*act, "--json", "--drain", "1ms")
            assert late.exit_code == 1 and "waits for 3 connections (1 detached, 2 unpr" in late.stderr
            told = json.loads(late.stdout)
            assert (told["reason"], told["ended"]) == ("would-end", 3) and told["drained_ms"] >= 1
            assert told["would_end"] == ["client 1", "client 2", "client 3"]
            checked = await tool(*act, "--check")
            assert checked.exit_code == 0 and "resets 3 connections" in checked.output
            assert "client 1  unprotected (none)" in checked.output
        assert (await tool("switchover", "web", "--drain", "soon")).exit_code == 2
        assert alpha.machine.phase is Phase.PAIRED
        waiting = asyncio.create_task(tool("switchover", "web", "--drain", "60s", "--json"))
        await asyncio.sleep(0)
        has_flows(alpha, "protected")
        drained = await waiting
        told = json.loads(drained.stdout)
        assert (told["done"], told["ended"], told["role"]) == (True, 0, "backup")

    scene(tmp_path, play)


def unasked(limit: int, with_closed: bool = True) -> Any:
    raise AssertionError("nobody needs the connections: their number will do")


def test_force_goes_ahead(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        has_flows(alpha, "unprotected")
        alpha.engine.flows = unasked  # type: ignore[method-assign]
        told = json.loads((await tool("switchover", "web", "--json", "--force")).stdout)
        assert (told["done"], told["ended"]) == (True, 1)

    scene(tmp_path, play)


def test_during_maintenance_a_stop_loses_all_that_is_protected_too(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        has_flows(alpha, "protected", "unprotected")
        assert (await tool("pause", "web")).exit_code == 0
        refused = await tool("stop")
        assert "would reset 2 connections (1 protected, 1 unprotected)" in refused.output
        assert alpha.ending() == 2

    scene(tmp_path, play)


def test_only_the_primary_waits_for_its_connections(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        assert (await tool("switchover", "web")).exit_code == 0
        told = failure(await tool("switchover", "web", "--drain", "1s", "--json"))
        assert (told["reason"], told["group"], told["primary"]) == ("not-primary", "web", "beta")
        assert told["error"].endswith("run on beta: fttcp switchover web --drain 1s")

    scene(tmp_path, play)


@pytest.mark.parametrize(
    ("words", "status", "reason", "more"),
    [
        (("failover", "web"), 1, "is-primary", {"group": "web"}),
        (("switchover", "x"), 1, "unknown-group", {"group": "x", "groups": ["web"]}),
        (("failover", "x"), 1, "unknown-group", {"group": "x"}),
        (("connections", "--group", "x"), 1, "unknown-group", {"group": "x"}),
        (("reload",), 1, "needs-restart", {"restart": ["node.name"]}),
        (("pause",), 2, "usage", {}),
        (("pause", "web", "x"), 1, "unknown-group", {"group": "x"}),
        (("switchover", "web", "--dance"), 2, "usage", {}),
        (("dance",), 2, "usage", {}),
    ],
)
def test_refusals_for_programs(
    tmp_path: Path, words: tuple[str, ...], status: int, reason: str, more: dict[str, Any]
) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        done = await tool(*words, "--json")
        told = failure(done)
        assert (done.exit_code, told["reason"]) == (status, reason)
        assert more.items() <= told.items()
        if words == ("pause", "web", "x"):  # what was done before the failure is told as well
            assert [group["group"] for group in told["groups"]] == ["web"] and alpha.machine.paused

    scene(tmp_path, play)


def test_orders_in_maintenance_and_to_a_fenced_group_tell_why(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        await tool("pause", "web")
        assert failure(await tool("switchover", "web", "--json"))["reason"] == "paused"
        alpha.close()
        for order in ("switchover", "failover", "pause", "resume"):
            assert failure(await tool(order, "web", "--json"))["reason"] == "fenced"

    scene(tmp_path, play)


def test_orders_to_a_group_that_waits_for_its_start_tell_so(tmp_path: Path) -> None:
    """It takes in nothing before: an order would be lost."""

    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        alpha.started = False
        for order in ("switchover", "failover", "pause", "resume"):
            assert failure(await tool(order, "web", "--json"))["reason"] == "not-started"
        alpha.started = True

    scene(tmp_path, play)


def test_what_is_not_done_in_time_has_an_exit_status_of_its_own(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        beta.feed = lambda event: []  # type: ignore[method-assign]  # it does not answer the offer
        beta._loop.remove_reader(beta.engine.event_fd())
        done = await tool("switchover", "web", "--json", "--timeout", "0.1")
        told = failure(done)
        assert done.exit_code == 3 and told["reason"] == "timed-out"
        assert (told["group"], told["role"], told["mode"]) == ("web", "primary", "handover")

    scene(tmp_path, play)


def test_failover_is_refused_by_the_primary(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        refused = await tool("failover", "web")
        assert refused.exit_code == 1 and "this node is the primary" in refused.output

    scene(tmp_path, play)


def test_a_primary_that_works_hands_over_in_a_failover(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        face.groups = {"web": beta}
        done = json.loads((await tool("failover", "web", "--json")).output)
        assert done["role"] == "primary" and done["takeover"]["cause"] == "switchover"
        assert beta.machine.role == "primary" and alpha.machine.role == "backup"

    scene(tmp_path, play)
