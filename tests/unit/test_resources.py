"""Resources of a group: what orders and failures make of them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec

import pytest

from fttcp.ownership.model import Cause
from fttcp.server.agents.agent import Programs, agent_of
from fttcp.server.agents.ladder import Act, Outcome, Rung
from fttcp.server.agents.resources import Resources
from fttcp.server.agents.settings import ResourceSection
from fttcp.server.hooks import Hooks
from fttcp.server.launch import LaunchError
from fttcp.server.procfs import process_stat
from fttcp.server.settings import HealthSection, HooksSection, RestartSection
from tests.health import Notes, until

_P = ParamSpec("_P")
SOON = RestartSection(delay_ms=0, start_within_s=1)


def in_loop(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """A test that needs a loop."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Fake:
    """A resource that does at once what it is told, but for what is set here."""

    def __init__(self, name: str, done: list[str]) -> None:
        self.section = ResourceSection(name, start="x", stop="x", status="x", interval_s=1)
        self.runs = False
        self.fails: dict[Act, str] = {}
        self.hangs: set[Act] = set()
        self.raises: set[Act] = set()
        self.absent = ""
        self._done = done
        self.hung = asyncio.Event()

    async def act(self, act: Act, probe: bool) -> Outcome:
        self._done.append(f"{act} {self.section.name}")
        if act in self.hangs:
            await self.hung.wait()
        if act in self.raises:
            raise ValueError("embedded null byte")
        if self.absent and act is Act.STATUS:
            return Outcome(Rung.FAILED, self.absent, absent=True)
        if why := self.fails.get(act):
            return Outcome(Rung.FAILED, why)
        if act is Act.STATUS:
            return Outcome(Rung.RUNNING if self.runs else Rung.STOPPED, "" if self.runs else "gone")
        self.runs = act is Act.START
        return Outcome(Rung.STARTED if self.runs else Rung.STOPPED)


class Group:
    """What a group would hear of its resources."""

    def __init__(self, hooks: HooksSection | None = None, settings: RestartSection = SOON) -> None:
        self.done: list[str] = []
        self.notes: Notes = []
        self.changes: list[tuple[bool, str]] = []
        self.runs: list[bool] = []
        self.stuck: list[str] = []
        self.awaited = True
        self.alone = False
        self.disk, self.web = Fake("disk", self.done), Fake("web", self.done)
        self.resources = Resources(
            [self.disk, self.web],
            settings,
            Hooks(hooks or HooksSection(), {}, self._note),
            self._changed,
            self._note,
            lambda run, ready: self.runs.append(bool(run)),
            self._stuck,
            lambda: ["beta"] if self.alone else [],
        )

    def _note(self, kind: str, level: str = "info", **fields: Any) -> None:
        self.notes.append((kind, fields))

    def _changed(self, healthy: bool, cause: Cause, reason: str, serves: bool) -> None:
        self.changes.append((healthy, reason))
        if healthy and reason == "serving":
            self.awaited = False

    def _stuck(self, why: str) -> bool:
        if self.awaited:
            self.stuck.append(why)
        return self.awaited

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [fields for one, fields in self.notes if one == kind]

    def acts(self) -> list[str]:
        """What was done since the last call, without looks."""
        acts = [one for one in self.done if not one.startswith("status")]
        self.done.clear()
        return acts


@asynccontextmanager
async def resting(group: Group) -> AsyncIterator[Resources]:
    """The resources of a node that does not serve, when nothing runs."""
    group.resources.rest()
    group.resources.start()
    try:
        await until(lambda: group.runs[-1:] == [False])
        yield group.resources
    finally:
        for fake in (group.disk, group.web):
            fake.hangs.clear()
            fake.fails.clear()
        await group.resources.stop()
    assert not group.disk.runs and not group.web.runs


@in_loop
async def test_they_start_in_order_and_stop_in_reverse() -> None:
    group = Group()
    async with resting(group) as resources:
        assert resources.healthy and group.runs == [True, False]
        resources.wake()
        assert not resources.healthy
        await until(lambda: resources.healthy)
        assert group.acts() == ["start disk", "start web"]
        assert [check["state"] for check in resources.shown()["checks"]] == ["ok", "ok"]
        resources.rest()
        assert resources.healthy and group.runs[-1]
        await until(lambda: not group.runs[-1])
        assert group.acts() == ["stop web", "stop disk"]


@in_loop
async def test_what_an_earlier_daemon_left_is_stopped() -> None:
    group = Group()
    group.disk.runs = group.web.runs = True
    async with resting(group):
        assert group.acts() == ["stop web", "stop disk"]


@in_loop
async def test_what_runs_already_is_not_started_again() -> None:
    group = Group()
    group.disk.runs = group.web.runs = True
    group.resources.rest()
    group.resources.start()
    group.resources.wake()
    await until(lambda: group.resources.healthy)
    assert group.acts() == []
    await group.resources.stop()


@in_loop
async def test_a_start_that_fails_is_undone_and_this_node_is_unfit_for_a_while() -> None:
    group = Group()
    async with resting(group) as resources:
        group.web.fails[Act.START] = "no port"
        resources.wake()
        await until(lambda: bool(group.stuck))
        resources.rest()
        assert not resources.healthy and resources.reason == "no port"
        await until(lambda: not group.runs[-1])
        assert group.acts() == ["start disk", "start web", "stop web", "stop disk"]
        assert group.told("resource-failed") == [{"resource": "web", "act": "start", "why": "no port"}]
        await until(lambda: resources.healthy)  # after start_within_s


@in_loop
async def test_one_that_ceases_to_run_while_this_node_serves_has_all_begin_anew() -> None:
    group = Group()
    async with resting(group) as resources:
        resources.wake()
        await until(lambda: resources.healthy)
        group.acts()
        group.disk.runs = False
        await until(lambda: group.changes[-2:] == [(False, "gone"), (True, "serving")])
        assert group.acts() == ["stop web", "stop disk", "start disk", "start web"]
        assert resources.shown()["restarts"] == 1 and not group.stuck


@in_loop
async def test_it_is_given_up_after_the_limit_and_tried_again_when_asked() -> None:
    group = Group(settings=RestartSection(delay_ms=0, limit=1, start_within_s=1))
    async with resting(group) as resources:
        resources.wake()
        await until(lambda: resources.healthy)
        group.web.runs = False
        group.web.fails[Act.START] = "no port"
        await until(lambda: bool(group.told("server-given-up")))
        assert not resources.healthy and resources.shown()["gave_up"]
        group.web.fails.clear()
        resources.configure(HealthSection(), SOON, HooksSection(), 0)
        await until(lambda: resources.healthy)


@in_loop
async def test_a_start_that_hangs_ends_with_the_role() -> None:
    group = Group()
    async with resting(group) as resources:
        group.web.hangs.add(Act.START)
        resources.wake()
        await until(lambda: "start web" in group.done)
        resources.rest()
        await until(lambda: not group.runs[-1])
        assert group.acts() == ["start disk", "start web", "stop web", "stop disk"]


@in_loop
async def test_one_that_does_not_stop_counts_as_running_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fttcp.server.agents.resources._AGAIN_S", 0.01)
    group = Group()
    async with resting(group) as resources:
        resources.wake()
        await until(lambda: resources.healthy)
        group.acts()
        group.web.fails[Act.STOP] = "busy"
        resources.rest()
        await until(lambda: len(group.told("resource-stuck")) > 1)
        assert group.runs[-1] and set(group.acts()) == {"stop web"}
        group.web.fails.clear()
        await until(lambda: not group.runs[-1])


@in_loop
async def test_a_daemon_that_stops_does_not_wait_for_ever_for_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fttcp.server.agents.resources._CLOSES_S", 0)
    group = Group()
    group.resources.rest()
    group.resources.start()
    group.resources.wake()
    await until(lambda: group.resources.healthy)
    group.web.fails[Act.STOP] = "busy"
    await group.resources.stop()
    assert group.acts()[-1] == "stop web" and group.disk.runs and group.runs[-1]


@in_loop
async def test_a_daemon_that_stops_tries_again_what_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fttcp.server.agents.resources._AGAIN_S", 0.01)
    group = Group()
    async with resting(group) as resources:
        resources.wake()
        await until(lambda: resources.healthy)
        group.web.fails[Act.STOP] = "busy"
        ended = asyncio.ensure_future(resources.stop())
        await until(lambda: len(group.told("resource-stuck")) > 2)
        assert group.runs[-1] and not ended.done()
        group.web.fails.clear()
        await ended
        assert not group.runs[-1]


@in_loop
async def test_what_cannot_be_looked_at_counts_as_running_until_it_is_stopped() -> None:
    group = Group()
    async with resting(group) as resources:
        resources.wake()
        await until(lambda: resources.healthy)
        group.acts()
        group.web.absent = "cannot be started: out of processes"
        group.web.hangs.add(Act.STOP)
        await until(lambda: "stop web" in group.done)
        assert group.runs[-1]
        resources.rest()
        group.web.hung.set()
        await until(lambda: not group.runs[-1])
        assert group.acts() == ["stop web", "stop disk"]


@in_loop
async def test_a_look_that_fails_after_all_were_down_says_that_something_may_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fttcp.server.agents.resources._AGAIN_S", 0.01)
    group = Group()
    group.web.absent = "there is no agent"
    async with resting(group) as resources:
        group.web.absent = ""
        group.web.fails = {Act.STATUS: "no answer", Act.STOP: "busy"}
        resources.configure(HealthSection(), SOON, HooksSection(), 0)
        await until(lambda: group.runs[-1])
        await until(lambda: not resources.healthy and resources.reason == "busy")


@in_loop
async def test_what_does_not_stop_on_the_node_that_is_to_serve_has_it_give_that_up() -> None:
    group = Group()
    group.disk.fails = {Act.STATUS: "no answer", Act.STOP: "busy"}
    group.resources.rest()
    group.resources.wake()
    group.resources.start()
    await until(lambda: group.stuck == ["busy"])
    group.disk.fails.clear()
    await group.resources.stop()


@in_loop
async def test_a_fault_in_an_act_is_a_failure_of_the_resource() -> None:
    group = Group()
    async with resting(group) as resources:
        group.web.raises = {Act.START}
        resources.wake()
        await until(lambda: bool(group.stuck))
        assert group.stuck == ["its start: ValueError: embedded null byte"]
        resources.rest()


@in_loop
async def test_a_node_on_which_one_cannot_run_is_not_fit_until_it_can() -> None:
    group = Group()
    group.web.absent = "there is no agent"
    async with resting(group) as resources:
        assert not resources.healthy and resources.reason == "there is no agent"
        group.web.absent = ""
        await until(lambda: resources.healthy)


@in_loop
async def test_nothing_starts_before_the_hook_has_succeeded() -> None:
    for command, wanted in (("true", ["start disk", "start web"]), ("sh -c 'echo no; exit 3'", [])):
        group = Group(HooksSection(wait_for=command))
        async with resting(group) as resources:
            resources.wake()
            await until(lambda group=group: resources.healthy or bool(group.stuck))  # type: ignore[misc]
            assert group.acts() == wanted
            if not wanted:
                resources.rest()
                assert resources.reason.endswith("nothing was started: ended with status 3: no")


@in_loop
async def test_a_start_that_nothing_makes_safe_is_told() -> None:
    for hooks, alone in (
        (HooksSection(), True),
        (HooksSection(), False),
        (HooksSection(wait_for="true"), True),
    ):
        group = Group(hooks)
        group.alone = alone
        async with resting(group) as resources:
            resources.wake()
            await until(lambda resources=resources: resources.healthy)  # type: ignore[misc]
            wanted = [{"peer": "beta"}] if alone and not hooks.wait_for else []
            assert group.told("resources-unfenced") == wanted


@in_loop
async def test_what_runs_already_does_not_serve_before_the_hook_has_succeeded() -> None:
    for command in ("true", "false"):
        group = Group(HooksSection(wait_for=command))
        group.disk.runs = group.web.runs = True
        group.resources.rest()
        group.resources.wake()
        group.resources.start()
        await until(lambda group=group: not group.awaited or bool(group.stuck))  # type: ignore[misc]
        assert bool(group.stuck) == (command == "false") and group.told("hook-failed") == [
            {"hook": "wait_for", "why": "ended with status 1"} for _ in group.stuck
        ]
        await group.resources.stop()


@in_loop
async def test_a_hook_that_hangs_is_ended_in_time() -> None:
    group = Group(HooksSection(wait_for="sleep 1000", timeout_ms=50))
    async with resting(group) as resources:
        resources.wake()
        await until(lambda: bool(group.stuck))
        assert "took too long" in group.stuck[0] and group.acts() == []


@in_loop
async def test_commands_are_run_and_what_they_leave_goes_on(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    section = ResourceSection(
        "sleeper",
        start=f"sh -c 'sleep 1000 >/dev/null 2>&1 & echo $! >{pid}'",
        stop=f"sh -c 'kill $(cat {pid})'",
        status=f"sh -c 'kill -0 $(cat {pid})'",
        start_timeout_s=5,
    )
    agent = agent_of(section, {})
    assert isinstance(agent, Programs)
    assert (await agent.act(Act.STATUS, True)).rung is Rung.STOPPED
    assert (await agent.act(Act.START, False)).rung is Rung.STARTED
    assert (await agent.act(Act.STATUS, False)).rung is Rung.RUNNING
    assert (await agent.act(Act.STOP, False)).rung is Rung.STOPPED
    await until(lambda: not _runs(pid.read_text()))
    assert (await agent.act(Act.STOP, False)).rung is Rung.STOPPED, "a stop that fails for nothing runs"


def _runs(pid: str) -> bool:
    stat = process_stat(int(pid))
    return stat is not None and stat.state != "Z"


@in_loop
async def test_a_start_that_takes_too_long_is_ended_with_its_children() -> None:
    section = ResourceSection(
        "slow", start="sh -c 'sleep 999.5'", stop="true", status="true", start_timeout_s=1
    )
    outcome = await agent_of(section, {}).act(Act.START, False)
    assert (outcome.rung, outcome.why) == (Rung.FAILED, "its start took too long and was killed")


@in_loop
async def test_dummy_of_resource_agents(tmp_path: Path) -> None:
    section = ResourceSection("dummy", agent="ocf:heartbeat:Dummy", parameters={"state": f"{tmp_path}/state"})
    agent = agent_of(section, {})
    acts = (Act.STATUS, Act.START, Act.STATUS, Act.STOP, Act.STATUS, Act.STOP)
    found = [(await agent.act(act, index == 0)).rung for index, act in enumerate(acts)]
    assert found == [Rung.STOPPED, Rung.STARTED, Rung.RUNNING, Rung.STOPPED, Rung.STOPPED, Rung.STOPPED]
    wrong = ResourceSection("dummy", agent="ocf:heartbeat:Dummy", parameters={"stat": "x"})
    outcome = await agent_of(wrong, {}).act(Act.STATUS, True)
    assert not outcome.absent and outcome.rung is Rung.FAILED, "it may run with what it was told before"
    assert outcome.why == "agent ocf:heartbeat:Dummy has no parameter 'stat' (did you mean state?)"


@in_loop
async def test_only_what_has_no_program_and_was_not_seen_to_run_is_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = agent_of(
        ResourceSection("x", start="no-such-program", stop="true", status="no-such-program"), {}
    )
    agent = agent_of(ResourceSection("x", agent="ocf:nobody:Nothing"), {})
    for one in (nothing, agent):
        assert (await one.act(Act.STATUS, True)).absent
        assert not (await one.act(Act.STATUS, False)).absent
    dummy = agent_of(ResourceSection("x", agent="ocf:heartbeat:Dummy"), {})
    monkeypatch.setattr("fttcp.server.agents.agent._META_DATA_S", 0.0)
    found = await dummy.act(Act.STATUS, True)
    assert found.rung is Rung.FAILED and not found.absent

    async def exhausted(*args: object, **kwargs: object) -> None:
        raise LaunchError("true: cannot be started: Resource temporarily unavailable")

    monkeypatch.setattr("fttcp.server.agents.agent.run", exhausted)
    found = await agent_of(ResourceSection("x", start="true", stop="true", status="true"), {}).act(
        Act.STATUS, True
    )
    assert found.rung is Rung.FAILED and not found.absent


@pytest.mark.parametrize(
    ("state", "status", "wanted"),
    [
        ("active", 0, Rung.RUNNING),
        ("reloading", 0, Rung.RUNNING),
        ("inactive", 0, Rung.STOPPED),
        ("failed", 0, Rung.STOPPED),
        ("activating", 0, Rung.FAILED),
        ("deactivating", 0, Rung.FAILED),
        ("", 0, Rung.FAILED),
        ("Failed to connect to bus: Host is down", 1, Rung.FAILED),
    ],
)
def test_a_unit_is_stopped_only_if_systemd_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, status: int, wanted: Rung
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n[ $1 = show ] && echo {state} && exit {status}\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = asyncio.run(agent_of(ResourceSection("x", unit="x.service"), {}).act(Act.STATUS, True))
    assert found.rung is wanted and not found.absent


@in_loop
async def test_an_agent_that_advises_no_time_has_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "resource.d/example/Zero"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n[ $1 = meta-data ] || exit 7\n"
        'echo \'<resource-agent><actions><action name="monitor" timeout="0"/></actions></resource-agent>\'\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("OCF_ROOT", str(tmp_path))
    agent = agent_of(ResourceSection("zero", agent="ocf:example:Zero"), {})
    assert (await agent.act(Act.STATUS, True)).rung is Rung.STOPPED
