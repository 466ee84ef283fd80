"""The commands against a node whose engines have no packets: what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fttcp.cli.main import main
from fttcp.cli.questions import ownership_line
from fttcp.cli.top import rates_of
from fttcp.core.model import Cause, Phase
from fttcp.runtime.frontend import Frontend
from fttcp.runtime.group import GroupRuntime
from fttcp.runtime.history import FileSink
from tests.unit.test_events import event
from tests.unit.test_frontend import frontend

Tool = Callable[..., Awaitable[Result]]
Scene = Callable[[Tool, Frontend, GroupRuntime, GroupRuntime], Awaitable[None]]


def scene(tmp_path: Path, play: Scene) -> None:
    """Play a scene with alpha's daemon, and a tool that runs a command against it."""

    async def tool(*arguments: str) -> Result:
        words = [*arguments, "--socket", str(tmp_path / "control.sock")]
        return await asyncio.to_thread(CliRunner().invoke, main, words)

    async def run() -> None:
        async with frontend(tmp_path) as (face, alpha, beta):
            await play(tool, face, alpha, beta)

    asyncio.run(run())


def test_pause_reaches_both_nodes_and_holds_until_resume(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        done = await tool("pause", "web")
        assert done.exit_code == 0 and "PAUSED" in done.output and "other node knows" in done.output
        assert alpha.machine.paused and beta.machine.paused
        assert "PAUSED" in (await tool("status")).output
        for order in ("switchover", "failover"):
            refused = await tool(order, "web")
            assert refused.exit_code == 1 and "paused (maintenance)" in refused.output
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
        alpha.server_changed(False, Cause.SERVER_DIED, "stopped for repair")
        await asyncio.sleep(0.3)
        assert alpha.machine.phase is Phase.PAIRED
        await tool("resume", "web")
        async with asyncio.timeout(5):
            while beta.machine.phase is not Phase.SOLO:
                await asyncio.sleep(0.01)

    scene(tmp_path, play)


def test_switchover_waits_and_tells(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        done = json.loads((await tool("switchover", "web", "--json")).output)
        assert done["was"] == "primary" and done["role"] == "backup"

    scene(tmp_path, play)


def test_failover_is_refused_by_the_primary(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        refused = await tool("failover", "web")
        assert refused.exit_code == 1 and "this node is the primary" in refused.output

    scene(tmp_path, play)


def test_failover_takes_over_after_the_grants(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        face.groups = {"web": beta}
        done = json.loads((await tool("failover", "web", "--json")).output)
        assert done["role"] == "primary" and done["takeover"]["cause"] == "failover"
        assert beta.machine.role == "primary" and alpha.machine.role == "backup"

    scene(tmp_path, play)


def test_questions_have_an_answer_for_people_and_for_programs(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        face.reporting.history.add("carrier", up=True)
        for command in ("status", "topology", "connections", "events"):
            people = await tool(command)
            assert people.exit_code == 0 and people.output.strip(), command
            assert isinstance(json.loads((await tool(command, "--json")).output), dict)
        assert "served by alpha" in (await tool("topology")).output
        assert "carrier up true" in (await tool("events")).output

    scene(tmp_path, play)


def test_a_refused_reload_lists_the_reasons(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        refused = await tool("reload")
        assert refused.exit_code == 1 and "node.name" in refused.output
        told = json.loads((await tool("reload", "--json")).output)
        assert told["restart"] == ["node.name"] and not told["done"]

    scene(tmp_path, play)


def test_without_a_daemon_every_command_says_so(tmp_path: Path) -> None:
    for words in (["status"], ["events", "--follow"], ["pause", "web"], ["reload"], ["failover", "web"]):
        done = CliRunner().invoke(main, [*words, "--socket", str(tmp_path / "none")])
        assert done.exit_code == 1 and "no daemon answers there" in done.output


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ([], [1, 2, 3]),
        (["--group", "web"], [1, 2, 3]),
        (["--group", "x"], []),
        (["--event", "takeover"], [2]),
        (["--level", "warning"], [3]),
        (["--limit", "1"], [3]),
        (["--since", "2031-06-01"], []),
    ],
)
def test_history_reads_what_is_kept(tmp_path: Path, options: list[str], numbers: list[int]) -> None:
    sink = FileSink(tmp_path, 100_000)
    for kept in (event(1), event(2, kind="takeover"), event(3, level="warning")):
        sink.write(kept)
    sink.close()
    words = ["history", "--state-dir", str(tmp_path), *options]
    told: dict[str, Any] = json.loads(CliRunner().invoke(main, [*words, "--json"]).output)
    assert [e["number"] for e in told["events"]] == numbers
    lines = CliRunner().invoke(main, words).output.splitlines()
    assert len(lines) == max(1, len(numbers))


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["history", "--since", "yesterday"], 2, "'yesterday' is not a time"),
        (["history", "--state-dir", "/nowhere"], 1, "/nowhere: no such directory"),
        (["status", "--config", "/nowhere"], 2, "/nowhere: cannot be read: No such file"),
        (["cleanup", "--config", "/nowhere"], 2, "/nowhere: cannot be read: No such file"),
        (["witness", "--config", "/nowhere", "--init", "--status"], 2, "one of the two"),
        (["witness", "--config", "/nowhere", "--json"], 2, "--json goes with --status"),
    ],
)
def test_what_cannot_be_is_said(words: list[str], status: int, part: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status and part in done.output


def test_top_gives_one_picture_when_not_on_a_terminal(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        await tool("pause", "web")
        face.reporting.history.add("carrier", "warning", up=False)
        people = await tool("top", "--interval", "0.1")
        assert people.exit_code == 0, people.output
        for part in ("PAUSED", "primary (paired)", "in step", "by the second", "carrier up false"):
            assert part in people.output
        told = json.loads((await tool("top", "--interval", "0.1", "--json")).output)
        assert set(told) == {"node", "groups", "rates"}

    scene(tmp_path, play)


def test_rates_are_differences_of_the_same_daemon() -> None:
    def look(monotonic: float, opened: int, pid: int = 1) -> dict[str, Any]:
        group = {"name": "web", "counters": {"flows_opened": opened, "unknown": opened}}
        return {"monotonic": monotonic, "pid": pid, "groups": [group]}

    before, now = look(10.0, 100), look(12.0, 150)
    assert rates_of(now["groups"][0], before, now) == {"flows_opened": 25.0}
    assert rates_of(now["groups"][0], look(10.0, 100, pid=2), now) == {}
    assert rates_of({"name": "new", "counters": {"flows_opened": 5}}, before, now) == {}


def test_the_arbiter_and_its_record_in_one_line() -> None:
    arbiter = {"kind": "witness", "endpoints": ["192.0.2.9:7720"], "reachable": True, "residual_risk": ""}
    record = {"epoch": 7, "holder": "alpha", "mode": "paired", "backup": "beta"}
    line = ownership_line({"arbiter": arbiter, "record": record})
    assert line == "witness at 192.0.2.9:7720: answers; record: alpha paired with beta, epoch 7"
    lost = ownership_line({"arbiter": {**arbiter, "reachable": False}, "record": None})
    assert lost == "witness at 192.0.2.9:7720: DOES NOT ANSWER"
    alone = {"kind": "none", "endpoints": [], "reachable": None, "residual_risk": "both may serve"}
    assert ownership_line({"arbiter": alone, "record": None}) == "none: both may serve"
