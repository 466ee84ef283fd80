"""Servers as processes: started, found dead, started again, ended with all they forked."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from fttcp.ownership.model import Cause
from fttcp.server.aftermath import kill_leftovers
from fttcp.server.hooks import Hooks
from fttcp.server.launch import LaunchError, carriers
from fttcp.server.process import Supervisor
from fttcp.server.procfs import process_stat, processes, session_members
from fttcp.server.settings import HealthSection, HooksSection, ProbeSection, RestartSection
from tests.health import DAEMON, LISTEN, Watched, free_port, looked_after, python, until


def test_death_is_told_at_once_and_the_server_comes_back(tmp_path: Path) -> None:
    async def body() -> None:
        async with looked_after(tmp_path, "sleep 1000") as server:
            await until(lambda: server.healthy)
            first, told_s = server.pid, 0.0
            changed = server.health._verdict._on_change  # type: ignore[union-attr]

            def told(healthy: bool, cause: Cause, reason: str, serves: bool) -> None:
                nonlocal told_s
                told_s = told_s or time.monotonic()
                changed(healthy, cause, reason, serves)

            server.health._verdict._on_change = told  # type: ignore[union-attr]
            killed_s = time.monotonic()
            os.kill(first, signal.SIGKILL)
            await until(lambda: server.failed(Cause.SERVER_DIED))
            assert told_s - killed_s < 0.1
            await until(lambda: server.healthy)
            assert server.pid != first and server.state["restarts"] == 1

    asyncio.run(body())


def test_a_server_that_rests_is_fit_and_starts_when_it_is_woken(tmp_path: Path) -> None:
    async def body() -> None:
        port = free_port()
        probe = ProbeSection(type="tcp", port=port, interval_ms=50)
        command = python(tmp_path, LISTEN, port)
        health = HealthSection(probe=[probe])
        async with looked_after(tmp_path, command, port, health=health, resting=True) as server:
            assert server.healthy and server.state["resting"] and not server.state["pids"]
            assert server.health is not None
            server.health.hold("its disk hangs")
            assert not server.healthy and server.state["reason"] == "its disk hangs"
            server.health.hold("")
            assert server.healthy
            for _ in range(2):
                server.health.wake()
                assert not server.healthy
                await until(lambda: server.healthy)
                assert not server.state["resting"]
                pid = server.pid
                server.changes.clear()
                server.health.rest()
                await until(lambda: not server.state["pids"])
                assert not session_members(pid)
                assert server.healthy and not server.changes and not server.told("server-given-up")

    asyncio.run(body())


def test_a_server_that_follows_is_fit_before_it_listens(tmp_path: Path) -> None:
    """It comes to that with the other one's calls. By itself it is fit when it listens."""

    async def body() -> None:
        port, follows = free_port(), ["follower"]
        async with looked_after(
            tmp_path, "sleep 1000", port, health=HealthSection(), follows=lambda: bool(follows)
        ) as server:
            await until(lambda: server.healthy)
            assert server.health is not None
            looked = asyncio.get_running_loop().time()
            await until(lambda: asyncio.get_running_loop().time() > looked + 0.1)
            assert server.healthy and not server.told("listens")
            follows.clear()
            await until(lambda: not server.healthy)
            server.health.restart(failed=True)
            await until(lambda: server.state["restarts"] == 1)

    asyncio.run(body())


def test_the_prepared_environment_is_that_of_the_next_start(tmp_path: Path) -> None:
    """And a start that cannot be prepared is tried again as the restart policy says, and tells why."""

    async def body() -> None:
        told, lives = Watched(), list[str]()
        out = tmp_path / "out"

        async def prepare() -> dict[str, str]:
            lives.append(str(len(lives)))
            if len(lives) == 1:
                raise LaunchError("no room for its log")
            return {"LIFE": lives[-1]}

        class Listener:
            downs: ClassVar[list[str]] = []

            def server_started(self) -> None: ...

            def server_ended(self, reason: str) -> None: ...

            def server_down(self, reason: str, final: bool) -> None:
                self.downs.append(reason)

        script = tmp_path / "life.sh"
        script.write_text(f"#!/bin/sh\necho $LIFE $(uname -m) >> {out}\nexec sleep 1000\n")
        script.chmod(0o755)
        hooks = Hooks(HooksSection(), {}, told.note)
        servers = Supervisor(
            "web", [str(script)], RestartSection(delay_ms=0), tmp_path, hooks, told.note,
            prepare=prepare, through=("setarch", "linux32"),
        )  # fmt: skip
        servers.start(Listener())
        await until(lambda: out.exists() and out.read_text().count("\n") == 1)
        assert Listener.downs == ["no room for its log"]
        servers.restart(failed=False)
        await until(lambda: out.read_text().count("\n") == 2)
        await servers.stop()
        assert [line.split()[0] for line in out.read_text().splitlines()] == ["1", "2"]
        assert {line.split()[1] for line in out.read_text().splitlines()} == {"i686"}, "executed through it"

    asyncio.run(body())


def test_a_server_that_does_not_start_in_time_is_unfit_for_a_while(tmp_path: Path) -> None:
    async def body() -> None:
        restart = RestartSection(start_within_s=1)
        async with looked_after(tmp_path, "false", restart=restart, resting=True) as server:
            assert server.healthy and server.health is not None
            server.health.wake()
            await until(lambda: len(server.stuck_why) == 1)
            assert "not up within 1 s when this node was to serve: false ended" in server.stuck_why[0]
            server.health.rest()
            assert not server.healthy and server.state["reason"] == server.stuck_why[0]
            await until(lambda: server.healthy)
            assert server.state["resting"] and not server.state["pids"]

    asyncio.run(body())


def test_a_server_that_is_up_in_time_is_never_called_stuck(tmp_path: Path) -> None:
    async def body() -> None:
        restart = RestartSection(start_within_s=1)
        async with looked_after(tmp_path, "sleep 1000", restart=restart, resting=True) as server:
            assert server.health is not None
            server.health.wake()
            await until(lambda: server.healthy)
            looked = server.health._timer
            await until(lambda: server.health is not None and server.health._timer is not looked)
            assert server.healthy and not server.stuck_why

    asyncio.run(body())


def test_a_stopped_server_hangs_and_is_begun_anew(tmp_path: Path) -> None:
    async def body() -> None:
        async with looked_after(tmp_path, "sleep 1000") as server:
            await until(lambda: server.healthy)
            first = server.pid
            os.kill(first, signal.SIGSTOP)
            await until(lambda: server.failed(Cause.SERVER_HUNG))
            assert server.changes[-1][2] == f"hang: process {first} (sleep) is stopped (state T)"
            assert server.doubts[0] > 0, "doubted before it is known"
            await until(lambda: server.healthy and server.pid != first)
            assert server.doubts[1:] == [0]

    asyncio.run(body())


def test_a_server_that_was_stopped_for_a_moment_was_doubted_only(tmp_path: Path) -> None:
    async def body() -> None:
        async with looked_after(tmp_path, "sleep 1000", hang_after_ms=8_000) as server:
            await until(lambda: server.healthy)
            os.kill(server.pid, signal.SIGSTOP)
            await until(lambda: len(server.doubts) == 1 and server.doubts[0] > 0, 30)
            os.kill(server.pid, signal.SIGCONT)
            await until(lambda: server.doubts[1:] == [0], 30)
            assert server.healthy and not server.failed(Cause.SERVER_HUNG)

    asyncio.run(body())


def test_a_stopped_process_that_means_nothing_is_not_doubted(tmp_path: Path) -> None:
    async def body() -> None:
        settings = HealthSection(hang_action="ignore")
        async with looked_after(tmp_path, "sleep 1000", health=settings, hang_after_ms=40) as server:
            await until(lambda: server.healthy)
            os.kill(server.pid, signal.SIGSTOP)
            health = server.health
            assert health is not None
            await until(lambda: health._progress.doubtful)
            assert server.healthy and server.doubts == []

    asyncio.run(body())


def test_what_the_server_forked_ends_with_it(tmp_path: Path) -> None:
    async def body() -> None:
        command = "sh -c 'trap \"\" TERM; sleep 1000 & setsid sleep 1001 & wait'"
        async with looked_after(tmp_path, command) as server:
            await until(lambda: server.healthy)
            pid, number = server.pid, numbers(server)[0]
            await until(lambda: len(carriers(number)) == 3 and len(session_members(pid)) == 2)
            assert server.health is not None
            server.health.restart()
            await until(lambda: server.healthy and server.pid != pid)
            assert carriers(number) == []
            assert server.state["restarts"] == 0, "a planned restart is no failure"

    asyncio.run(body())


def numbers(server: Watched) -> list[str]:
    """The launch numbers of a supervised server's commands."""
    assert server.health is not None
    commands = server.health._server._commands  # type: ignore[attr-defined]
    return [command.running.number for command in commands if command.running]


def test_a_server_that_goes_to_the_background_is_told_what_to_do(tmp_path: Path) -> None:
    async def body() -> None:
        port = free_port()
        async with looked_after(tmp_path, python(tmp_path, DAEMON, port), port) as server:
            await until(lambda: "went to the background" in server.state["reason"])
            assert "pid_file" in server.state["reason"] and not server.healthy

    asyncio.run(body())


def test_what_went_to_the_background_ends_also_when_the_daemon_stops_at_that_moment(tmp_path: Path) -> None:
    async def body() -> None:
        port = free_port()
        async with looked_after(tmp_path, python(tmp_path, DAEMON, port), port) as server:
            await until(lambda: bool(numbers(server)))
            (number,) = numbers(server)
            while server.state["pid"] is not None:
                await asyncio.sleep(0)  # not a moment longer: now it is being cleaned up
        assert carriers(number) == []

    asyncio.run(body())


def test_somebody_elses_server_on_the_port_does_not_count(tmp_path: Path) -> None:
    async def body() -> None:
        port = free_port()
        other = subprocess.Popen([*python(tmp_path, LISTEN, port).split()])
        try:
            async with looked_after(tmp_path, "sleep 1000", port) as server:
                await until(lambda: server.state["reason"].startswith(f"process {other.pid} (python"))
                assert f"listens on {port}/tcp, not this server" in server.state["reason"]
                assert not server.healthy
        finally:
            other.kill()
            other.wait()

    asyncio.run(body())


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def body() -> None:
        async with looked_after(tmp_path, "no-such-program-here") as server:
            await until(lambda: "no such program" in server.state["reason"])
            assert not server.healthy

    asyncio.run(body())


def test_after_too_many_restarts_it_gives_up_until_it_is_asked(tmp_path: Path) -> None:
    async def body() -> None:
        policy = RestartSection(delay_ms=10, limit=3)
        flag = tmp_path / "flag"
        command = f"sh -c 'test -e {flag} && exec sleep 1000; echo no >&2; exit 7'"
        async with looked_after(tmp_path, command, restart=policy) as server:
            await until(lambda: bool(server.state["gave_up"]))
            assert "status 7; gave up after 3 restarts within 60 s" in server.state["reason"]
            assert server.told("server-given-up")
            flag.touch()
            assert server.health is not None
            server.health.configure(HealthSection(), RestartSection(), HooksSection(), 200)
            await until(lambda: server.healthy)
            assert not server.state["gave_up"]

    asyncio.run(body())


def test_another_restart_policy_takes_effect_without_a_restart(tmp_path: Path) -> None:
    async def body() -> None:
        async with looked_after(tmp_path, "sleep 1000", restart=RestartSection(delay_ms=10)) as server:
            await until(lambda: bool(server.state["pid"]))
            pid = server.state["pid"]
            assert server.health is not None
            server.health.configure(HealthSection(), RestartSection(policy="never"), HooksSection(), 200)
            assert server.state["pid"] == pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda: "not started again" in server.state["reason"])

    asyncio.run(body())


def test_a_server_that_ended_well_is_left_alone_when_so_told(tmp_path: Path) -> None:
    async def body() -> None:
        policy = RestartSection(policy="on-failure", delay_ms=0)
        once = tmp_path / "once"
        command = f"sh -c 'test -e {once} && exit 0; touch {once}; exit 1'"
        async with looked_after(tmp_path, command, restart=policy) as server:
            await until(lambda: "not started again" in server.state["reason"])
            assert "status 0" in server.state["reason"] and server.state["restarts"] == 1

    asyncio.run(body())


def killed_daemon(tmp_path: Path, command: str, alone: bool) -> tuple[int, str]:
    """Let another process supervise `command` until three processes of it run, and kill it; with ``alone``
    what is to outlive it, too. Returns the leader's pid, and the number of the launch."""
    script = (
        "import asyncio, pathlib, sys\n"
        "from fttcp.server.procfs import family\n"
        "from fttcp.server.launch import carriers\n"
        "from tests.health import looked_after, until\n"
        "from tests.unit.test_supervisor import numbers\n"
        "async def main():\n"
        "    async with looked_after(pathlib.Path(sys.argv[1]), sys.argv[2]) as server:\n"
        "        await until(lambda: server.healthy and\n"
        "            len({*carriers(*numbers(server)), *family([server.pid])}) == 3)\n"
        "        executor = server.health._server._executor._process.pid\n"
        "        print(server.pid, *numbers(server), executor, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), command], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    pid, number, executor = daemon.stdout.readline().split()
    for victim in (int(executor), daemon.pid) if alone else (daemon.pid,):
        os.kill(victim, signal.SIGKILL)
    daemon.wait()
    return int(pid), number


UNFINDABLE = """
import os, subprocess, sys, time
if os.environ.pop("FTTCP_LAUNCH", None):
    subprocess.Popen([sys.executable, __file__, "daemon"])
    os.execv(sys.executable, [sys.executable, *sys.argv, "server"])
if sys.argv[-1] == "daemon":
    os.setsid()
    subprocess.Popen(["sleep", "1002"])
time.sleep(1000)
"""
"""Only its parent tells whose it is, not its environment or session: as of PostgreSQL's backends."""


def test_what_servers_forked_ends_with_a_killed_daemon(tmp_path: Path) -> None:
    command = "sh -c 'sleep 1000 & setsid sleep 1001 & wait'"
    pid, number = killed_daemon(tmp_path, command, alone=False)
    asyncio.run(until(lambda: session_members(pid) == [] and carriers(number) == []))
    mine = f"1002{os.getpid()}"
    code = UNFINDABLE.replace("1002", mine)
    killed_daemon(tmp_path, python(tmp_path, code), alone=False)
    asyncio.run(until(lambda: not running("sleep", mine)))


def running(*argv: str) -> list[int]:
    """The processes with this command line."""
    wanted, found = "\0".join([*argv, ""]).encode(), []
    for pid in processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes() == wanted:
                found.append(pid)
    return found


def test_the_next_start_ends_what_a_killed_daemon_left(tmp_path: Path) -> None:
    pid, number = killed_daemon(tmp_path, "sh -c 'sleep 1000 & setsid sleep 1001 & wait'", alone=True)

    async def body() -> None:
        # the kernel stopped the leader with the daemon
        await until(lambda: (stat := process_stat(pid)) is not None and stat.state == "T")
        assert len(carriers(number)) == 3
        async with looked_after(tmp_path, "sleep 1000"):
            await until(lambda: session_members(pid) == [] and carriers(number) == [])

    asyncio.run(body())


def test_hooks_stand_around_the_servers_life(tmp_path: Path) -> None:
    async def body() -> None:
        log = tmp_path / "log"
        say = f"sh -c 'echo $FTTCP_HOOK $FTTCP_GROUP $FTTCP_STATUS >> {log}'"
        hooks = HooksSection(before_start=say, after_stop=say)
        async with looked_after(tmp_path, "sleep 1000", hooks=hooks) as server:
            await until(lambda: server.healthy)
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: server.failed(Cause.SERVER_DIED))
            await until(lambda: server.healthy)
        lines = log.read_text().split("\n")[:-1]
        assert lines == [
            "before-start web",
            "after-stop web -9",
            "before-start web",
            "after-stop web -15",
        ]

    asyncio.run(body())


def test_a_failing_hook_keeps_the_server_from_starting(tmp_path: Path) -> None:
    async def body() -> None:
        hooks = HooksSection(before_start="sh -c 'echo disk is not mounted; exit 4'")
        async with looked_after(tmp_path, "sleep 1000", hooks=hooks) as server:
            await until(lambda: "before_start failed" in server.state["reason"])
            assert server.told("hook-failed")[0]["why"] == "ended with status 4: disk is not mounted"
            assert server.state["pid"] is None

    asyncio.run(body())


def test_a_server_is_looked_after_while_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(made: Supervisor) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Supervisor, "_save_record", full)

    async def body() -> None:
        async with looked_after(tmp_path, "sleep 1000") as server:
            await until(lambda: server.healthy)
            first = server.pid
            assert "No space left" in server.told("background-failed")[0]["why"]
            os.kill(first, signal.SIGKILL)
            await until(lambda: server.healthy and server.pid != first)

    asyncio.run(body())


def test_a_start_whose_end_nobody_would_see_is_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor is left for one; what was started ends, and is started again."""
    opened, started = os.pidfd_open, list[int]()

    def open_later(pid: int) -> int:
        started.append(pid)
        if len(started) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(pid)

    monkeypatch.setattr(os, "pidfd_open", open_later)

    async def body() -> None:
        async with looked_after(tmp_path, "sleep 1000") as server:
            await until(lambda: server.healthy)
            assert server.pid == started[2] and all(process_stat(pid) is None for pid in started[:2])

    asyncio.run(body())


@pytest.mark.parametrize("text", ["", "7", "[7]", '[["a", 1, "b"]]', "[[1, 2]]", '{"a": 1}'])
def test_a_record_of_servers_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    record = tmp_path / "web.servers.json"
    record.write_text(text)
    with pytest.raises(OSError, match="not a record of servers"):
        kill_leftovers(record)
    assert record.exists()
