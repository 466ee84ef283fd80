"""Servers as processes: started, found dead or hung, started again, ended with all they forked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fttcp.core.model import Cause
from fttcp.health.process import Supervisor
from fttcp.health.procfs import group_members, not_listening, process_stat
from fttcp.health.watch import Watcher, pid_in_file

Changes = list[tuple[bool, Cause]]


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def supervise(tmp_path: Path, command: str, changes: Changes) -> Supervisor:
    return Supervisor(
        "web", [command], [], 100, tmp_path, lambda healthy, cause, reason: changes.append((healthy, cause))
    )


def test_death_is_told_at_once_and_the_server_comes_back(tmp_path: Path) -> None:
    async def body() -> None:
        changes: Changes = []
        supervisor = supervise(tmp_path, "sleep 1000", changes)
        supervisor.start()
        await until(lambda: supervisor.state.healthy)
        first = supervisor.state.pid
        assert first is not None
        start = asyncio.get_running_loop().time()
        os.kill(first, signal.SIGKILL)
        await until(lambda: (False, Cause.SERVER_DIED) in changes)
        assert asyncio.get_running_loop().time() - start < 0.1
        await until(lambda: supervisor.state.healthy)
        assert supervisor.state.pid != first
        await supervisor.stop()
        assert supervisor.state.pid is None

    asyncio.run(body())


def test_a_stopped_server_hangs(tmp_path: Path) -> None:
    async def body() -> None:
        changes: Changes = []
        supervisor = supervise(tmp_path, "sleep 1000", changes)
        supervisor.start()
        await until(lambda: supervisor.state.healthy)
        os.kill(supervisor.state.pid or 0, signal.SIGSTOP)
        await until(lambda: (False, Cause.SERVER_HUNG) in changes)
        await until(lambda: supervisor.state.healthy)
        await supervisor.stop()

    asyncio.run(body())


def test_what_the_server_forked_ends_with_it(tmp_path: Path) -> None:
    async def body() -> None:
        changes: Changes = []
        supervisor = supervise(tmp_path, "sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000 & wait'", changes)
        supervisor.start()
        await until(lambda: supervisor.state.healthy)
        pid = supervisor.state.pid or 0
        await until(lambda: len(group_members(pid)) == 3)
        supervisor.restart()
        await until(lambda: supervisor.state.healthy and supervisor.state.pid != pid)
        assert group_members(pid) == []
        await supervisor.stop()

    asyncio.run(body())


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def body() -> None:
        supervisor = supervise(tmp_path, "no-such-program-here", [])
        supervisor.start()
        assert "no such program" in supervisor.state.reason and not supervisor.state.healthy
        await supervisor.stop()

    asyncio.run(body())


def test_the_next_start_ends_what_a_killed_daemon_left(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys, pathlib\n"
        "from fttcp.health.process import Supervisor\n"
        "async def main():\n"
        "    s = Supervisor('web', [\"sh -c 'sleep 1000 & wait'\"], [], 100, pathlib.Path(sys.argv[1]),\n"
        "        lambda h, c, r: print(s.state.pid, flush=True))\n"
        "    s.start()\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    pid = int(daemon.stdout.readline())
    daemon.kill()
    daemon.wait()

    async def body() -> None:
        await until(lambda: pid not in group_members(pid))  # the kernel ended the leader with the daemon
        supervisor = supervise(tmp_path, "sleep 1000", [])
        supervisor.start()
        await until(lambda: group_members(pid) == [])
        await supervisor.stop()

    asyncio.run(body())


def test_a_watched_process(tmp_path: Path) -> None:
    async def body() -> None:
        changes: Changes = []
        process = subprocess.Popen(["sleep", "1000"])
        file = tmp_path / "pid"
        watcher = Watcher(
            pid_in_file(file), [], 200, lambda healthy, cause, reason: changes.append((healthy, cause))
        )
        watcher.start()
        file.write_text(f"{process.pid}\n")
        await until(lambda: watcher.state.healthy)
        process.kill()
        process.wait()
        await until(lambda: changes[-1] == (False, Cause.SERVER_DIED))
        await watcher.stop()

    asyncio.run(body())


def test_proc_tells_what_nobody_listens_on() -> None:
    assert not_listening([(1, "tcp"), (1, "udp")]) == ["1/tcp", "1/udp"]
    stat = process_stat(os.getpid())
    assert stat is not None and stat.state == "R"
    assert process_stat(2**22 + 1) is None
