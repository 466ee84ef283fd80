"""Commands that ask: what they print, and how they end."""

from __future__ import annotations

import asyncio
import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from fttcp.cli import doctor, questions
from fttcp.cli.main import main
from fttcp.cli.questions import ownership_line
from fttcp.cli.top import rates_of
from fttcp.cli.topology import _tree
from fttcp.face import control
from fttcp.face.frontend import Frontend
from fttcp.group.group import GroupRuntime
from fttcp.network.owner import Firewall, Standing
from fttcp.planes.base import StoredLag
from fttcp.report.history import FileSink
from tests.tool import Tool, failure, scene
from tests.unit.test_events import event


def test_a_daemon_that_does_not_know_all_is_asked_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        reply = json.loads((await tool("status", "--json")).output)
        group = reply["groups"][0]
        del group["firewall"], group["not_ready"], group["bulk_lane"]
        group["server"] = {"healthy": True, "pid": 7, "reason": "serving", "since": "today", "checks": []}
        group["server"]["follow"] = {"ready": True, "why": ""}
        for module in (questions, doctor):
            monkeypatch.setattr(module, "ask", lambda path, op: reply)
        shown = await tool("status")
        assert shown.exit_code == 0 and "healthy, pid 7: serving" in shown.output, shown.exception
        assert doctor._told(tmp_path / "control.sock") == ({}, {group["name"]: []}, {})

    scene(tmp_path, play)


def test_how_the_firewall_stands_is_told(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        assert "firewall" not in (await tool("status")).output
        alpha.firewall = Standing(Firewall.KEPT, "", True, True, [], 0)
        shown = (await tool("status")).output
        assert "rules stand, guard stands: others cannot flush them" in shown
        assert "MISSING" not in shown and "STOPPED" not in shown
        told = json.loads((await tool("status", "--json")).output)["groups"][0]["firewall"]
        assert (told["level"], told["rules"], told["guard"], told["stopped"]) == ("kept", True, True, 0)
        lost = ["ip fttcp-rules-web: 0 rules of 9"]
        alpha.firewall = Standing(Firewall.GUARDED, "too old", False, True, lost, 3)
        shown = (await tool("status")).output
        assert "rules are NOT ALL there, guard stands" in shown and "(too old)" in shown
        assert f"MISSING      {lost[0]}: find out" in shown and "STOPPED      3 packets" in shown
        alpha.firewall = Standing(Firewall.FLUSHABLE, "too old", True, False, [], 0)
        assert "FLUSHABLE    rules of iptables without a guard" in (await tool("status")).output

    scene(tmp_path, play)


def test_what_cannot_be_renewed_is_told(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        assert alpha.status()["unrenewable"] == {} and "renewal" not in (await tool("status")).output
        engine = replace(alpha.engine.status(), flows_catching=2, flows_unrenewable=(7, 3, 0, 0, 4, 0, 1, 0))
        alpha.engine.status = lambda: engine  # type: ignore[method-assign]
        assert alpha.status()["unrenewable"] == {"no-renewal": 3, "log-gap": 4, "not-in-time": 1}
        shown = (await tool("status")).output
        assert "renewal      catching up with 2; not renewable: 4 log-gap, 1 not-in-time" in shown
        assert "pool  " not in shown
        engine = replace(engine, spool_bytes=69632)
        assert "spool        69632 bytes of what clients have sent" in (await tool("status")).output
        engine = replace(engine, spool_error=errno.ENOSPC)
        told = "SPOOL        No space left on device: long uploads are not renewable"
        assert told in (await tool("status")).output

    scene(tmp_path, play)


def test_stored_replies_are_told(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        assert not alpha.status()["stored"]["requests"] and "stored  " not in (await tool("status")).output
        engine = replace(alpha.engine.status(), stored_requests=3, stored_file_bytes=500, stored_in_step=1)
        alpha.engine.status = lambda: engine  # type: ignore[method-assign]
        assert "stored       3 requests, 500 bytes on the disk\n" in (await tool("status")).output
        engine = replace(engine, stored_in_step=0, stored_lag=StoredLag.LATE)
        told = "STORED       3 requests, 500 bytes on the disk; the backup has not all: it did not store"
        assert told in (await tool("status")).output
        engine = replace(engine, stored_trouble=errno.ENOSPC)
        told = "STORED       3 requests, 500 bytes on the disk, which takes no more: No space left on device"
        assert told in (await tool("status")).output

    scene(tmp_path, play)


def test_output_that_does_not_wait_is_told(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        assert alpha.status()["commit"]["strict"] and "UNSAFE" not in (await tool("status")).output
        hasty = replace(alpha.engine.status(), strict_commit=0)
        alpha.engine.status = lambda: hasty  # type: ignore[method-assign]
        shown = (await tool("status")).output
        assert "  UNSAFE  " in shown and "experiment.strict_commit" in shown
        assert not alpha.status()["commit"]["strict"]

    scene(tmp_path, play)


def test_an_answer_that_changes_while_it_is_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def changes(value: object) -> str:
        raise RuntimeError("dictionary changed size during iteration")

    assert json.loads(control._answered({"groups": [{"name": "web"}]})) == {"groups": [{"name": "web"}]}
    with monkeypatch.context() as patch:
        patch.setattr(control, "_text", changes)
        written = control._encoded
        calls = iter([True, False])
        patch.setattr(control, "_encoded", lambda reply: (
            written(reply) if next(calls) else json.dumps(reply).encode()
        ))  # fmt: skip
        told = json.loads(control._answered({"groups": []}))
    assert told["reason"] == "internal" and "changed size" in told["error"]


def test_names_of_groups_are_completed(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        for words in ("switchover", "failover", "pause", "resume", "connections --group", "events --group"):
            command, *option = words.split()
            begun = " ".join(["fttcp", command, "--socket", f"{tmp_path}/control.sock", *option])

            async def completed(word: str, line: str = begun) -> list[str]:
                asked = {"_FTTCP_COMPLETE": "bash_complete", "COMP_WORDS": f"{line} {word}"}
                asked["COMP_CWORD"] = str(len(line.split()))
                run = CliRunner().invoke
                done = await asyncio.to_thread(run, main, [], env=asked, prog_name="fttcp")
                return done.output.split()

            assert await completed("w") == ["plain,web"], words
            assert await completed("x") == [], words

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
        assert told["restart"] == ["node.name"] and told["reason"] == "needs-restart" and not told["ok"]

    scene(tmp_path, play)


ASKING = (
    *("status", "topology", "connections", "top", "events", "events --follow", "reload", "pause --all"),
    *("pause x", "resume x", "switchover x", "failover x"),
)


@pytest.mark.parametrize("line", ASKING)
def test_without_a_daemon_every_command_says_so(tmp_path: Path, line: str) -> None:
    words = [*line.split(), "--socket", str(tmp_path / "none")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1 and "no daemon answers there" in done.stderr and not done.stdout
    assert failure(CliRunner().invoke(main, [*words, "--json"]))["reason"] == "no-daemon"


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        *((f"{line} --config {{}}", 2, "wrong-configuration") for line in ASKING),
        ("history --config {}", 2, "wrong-configuration"),
        ("cleanup --config {}", 2, "wrong-configuration"),
        ("key show --config {}", 2, "wrong-configuration"),
        ("doctor --config {}", 2, "wrong-configuration"),
        ("witness --status --config {}", 2, "wrong-configuration"),
        ("check-config {}", 2, "wrong-configuration"),
        ("history --state-dir /nowhere", 1, "no-history"),
        ("keygen {}", 1, "key-file"),
        ("key add {}", 1, "key-file"),
        ("doctor --config /nowhere", 2, "wrong-configuration"),
        ("history --since never", 2, "usage"),
        ("history --event takover", 2, "usage"),
        ("events --event takover", 2, "usage"),
    ],
)
def test_a_configuration_or_file_that_cannot_be_used_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, status: int, reason: str
) -> None:
    monkeypatch.setattr("fttcp.cli.doctor.check_machine", lambda machine: [])
    monkeypatch.setattr("fttcp.cli.doctor.see_machine", lambda: None)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[node\n")
    done = CliRunner().invoke(main, [*line.format(wrong).split(), "--json"])
    told = json.loads(done.stdout) if line.startswith("check-config") else failure(done)
    assert (done.exit_code, told["reason"], told["ok"]) == (status, reason, False)


def test_events_are_chosen_and_followed(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        history = face.reporting.history
        history.add("gate-open", "debug", "web")
        history.add("carrier", up=True)
        history.add("takeover", "warning", "web")
        history.add("divergence", "warning", "mail")

        async def numbers(*words: str) -> list[int]:
            return [
                e["number"] for e in json.loads((await tool("events", *words, "--json")).stdout)["events"]
            ]

        assert await numbers() == [2, 3, 4] and await numbers("--level", "debug") == [1, 2, 3, 4]
        assert await numbers("--level", "warning") == [3, 4] and await numbers("--group", "web") == [3]
        assert await numbers("--event", "carrier", "--event", "takeover") == [2, 3]
        assert await numbers("--group", "mail") == [4]  # it was on this node, and is no more
        unknown = json.loads((await tool("events", "--group", "wbe", "--json")).stdout)
        assert (unknown["ok"], unknown["reason"], unknown["groups"]) == (False, "unknown-group", ["web"])
        following = await tool("events", "--group", "wbe", "--follow")
        assert following.exit_code == 1 and "group 'wbe' is not on this node" in following.output
        assert await numbers("--since", "2") == [3, 4] and await numbers("--since", "2001-01-01") == [2, 3, 4]
        assert await numbers("--since", "9999-01-01") == [] and await numbers("--limit", "1") == [4]
        following = asyncio.create_task(tool("events", "-f", "--limit", "1", "--group", "web", "--json"))
        async with asyncio.timeout(5):
            while not face._control._followers:
                await asyncio.sleep(0.01)
        history.add("carrier", up=False)
        history.add("paused", "warning", "web")
        await face.close()
        lines = [json.loads(line) for line in (await following).stdout.splitlines()]
        assert [line["number"] for line in lines[:-1]] == [3, 6] and lines[-1]["reason"] == "ended"

    scene(tmp_path, play)


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
        (["history", "--since", "yesterday"], 2, "'yesterday' is neither an event's number nor a time"),
        (["history", "--state-dir", "/nowhere"], 1, "/nowhere: no such directory"),
        (["status", "--config", "/nowhere"], 2, "/nowhere: cannot be read: No such file"),
        (["cleanup", "--config", "/nowhere"], 2, "/nowhere: cannot be read: No such file"),
        (["plan"], 2, "/no/node.toml: there is no such file; name the right one with --config"),
        (["spread"], 2, "/no/node.toml: there is no such file; name the right one with --config"),
        (["witness", "--config", "/nowhere", "--init", "--status"], 2, "one of the two"),
        (["witness", "--config", "/nowhere", "--json"], 2, "--json goes with --status"),
    ],
)
def test_what_cannot_be_is_said(
    monkeypatch: pytest.MonkeyPatch, words: list[str], status: int, part: str
) -> None:
    monkeypatch.setattr("fttcp.cli.client.CONFIG", Path("/no/node.toml"))
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


def test_links_of_every_kind_are_shown_by_what_they_have() -> None:
    ends: dict[str, Any] = {"local": None, "remote": None, "heard": {"web": True}}
    links = [
        {"transport": "udp", "interface": "peer0"} | ends | {"local": "10.78.0.1", "remote": "10.78.0.2"},
        {"transport": "multicast", "interface": "svc0"} | ends | {"remote": "239.255.77.1"},
        {"transport": "serial", "interface": "/dev/ttyS0"} | ends | {"heard": {"web": False}},
    ]
    reply = {"cluster": "lab", "node": "alpha", "service_interface": "svc0", "groups": []}
    console = Console(width=200)
    with console.capture() as shown:
        console.print(_tree(reply | {"peers": [{"name": "beta", "links": links}]}))
    text = shown.get()
    for line in (
        "link 0 (peer link): peer0 10.78.0.1 - 10.78.0.2: up",
        "link 1: multicast svc0 239.255.77.1: up",
        "link 2: serial /dev/ttyS0: heard by no group",
    ):
        assert line in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("words", "hint"),
    [("statu", "Did you mean status?"), ("switch-over", "Did you mean switchover?"), ("xyzzy", "'xyzzy'.")],
)
def test_a_command_that_there_is_not_is_told_with_the_nearest(words: str, hint: str) -> None:
    done = CliRunner().invoke(main, [words])
    assert done.exit_code == 2 and done.output.rstrip().endswith(hint)
