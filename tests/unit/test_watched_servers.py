"""Servers of somebody else: watched by a pid file or as a unit, found dead, begun anew."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from fttcp.ownership.model import Cause
from fttcp.server.procfs import process_stat
from fttcp.server.watch import Watcher, pid_in_file, pid_of_unit
from tests.health import DAEMON, LISTEN, Watched, free_port, looked_after, python, until


def test_a_double_forked_server_is_watched_by_its_pid_file(tmp_path: Path) -> None:
    async def body() -> None:
        port, file = free_port(), tmp_path / "pid"

        def watcher(watched: Watched) -> Watcher:
            return Watcher(pid_in_file(file), None, watched.note)

        async with looked_after(tmp_path, "", port, server=watcher) as server:
            await until(lambda: "no such file yet" in server.state["reason"])
            subprocess.run(python(tmp_path, DAEMON, port, file).split(), check=True)
            await until(lambda: server.healthy)
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: server.failed(Cause.SERVER_DIED))
            assert "ended" in server.changes[-1][2]

    asyncio.run(body())


@pytest.mark.parametrize("text", ["9" * 20, "9" * 5000, "0", "-1", "7 8", "\u0664"])
def test_what_is_no_pid_is_told_and_read_again(tmp_path: Path, text: str) -> None:
    async def body() -> None:
        file, other = tmp_path / "pid", subprocess.Popen(["sleep", "1000"])
        file.write_text(text)
        try:
            watcher = lambda watched: Watcher(pid_in_file(file), None, watched.note)  # noqa: E731
            async with looked_after(tmp_path, "", server=watcher) as server:
                await until(lambda: str(file) in server.state["reason"])
                file.write_text(f"{other.pid}\n")
                await until(lambda: server.healthy)
        finally:
            other.kill()
            other.wait()

    asyncio.run(body())


def test_a_pid_file_that_is_a_fifo_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    assert "is not a pid" in str(asyncio.run(pid_in_file(tmp_path / "pid")()))


def test_a_reused_pid_does_not_count(tmp_path: Path) -> None:
    async def body() -> None:
        port, file = free_port(), tmp_path / "pid"
        stranger = subprocess.Popen(["sleep", "1000"])
        real = subprocess.Popen(python(tmp_path, LISTEN, port).split())
        try:
            file.write_text(f"{stranger.pid}\n")

            def watcher(watched: Watched) -> Watcher:
                return Watcher(pid_in_file(file), None, watched.note)

            async with looked_after(tmp_path, "", port, server=watcher) as server:
                await until(lambda: f"process {real.pid} (python" in server.state["reason"])
                assert not server.changes
                file.write_text(f"{real.pid}\n")
                await until(lambda: server.healthy)
        finally:
            for process in (stranger, real):
                process.kill()
                process.wait()

    asyncio.run(body())


def test_a_unit_is_watched_and_restarted(tmp_path: Path, monkeypatch: object) -> None:
    main, log = tmp_path / "main", tmp_path / "log"
    fake = tmp_path / "systemctl"
    fake.write_text(
        f'#!/bin/sh\nif [ "$1" = restart ]; then echo $2 >>{log}; exit 0; fi\n'
        f"printf 'LoadState=loaded\\nActiveState=failed\\nSubState=failed\\nResult=exit-code\\n'\n"
        f"echo MainPID=$(cat {main} 2>/dev/null || echo 0)\n"
    )
    fake.chmod(0o755)
    process = subprocess.Popen(["sleep", "1000"])

    async def body() -> None:
        def watcher(watched: Watched) -> Watcher:
            return Watcher(pid_of_unit("web.service"), "systemctl restart web.service", watched.note)

        async with looked_after(tmp_path, "", server=watcher) as server:
            await until(
                lambda: "unit web.service is failed (failed, result exit-code)" in server.state["reason"]
            )
            main.write_text(str(process.pid))
            await until(lambda: server.healthy)
            assert server.health is not None
            server.health.restart()
            await until(lambda: log.exists() and log.read_text() == "web.service\n")
            process.kill()
            process.wait()
            await until(lambda: server.failed(Cause.SERVER_DIED))

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")  # type: ignore[attr-defined]
    asyncio.run(body())


def test_without_systemd_that_is_said(tmp_path: Path, monkeypatch: object) -> None:
    async def reason() -> str:
        def watcher(watched: Watched) -> Watcher:
            return Watcher(pid_of_unit("web.service"), None, watched.note)

        async with looked_after(tmp_path, "", server=watcher) as server:
            await until(lambda: "unit web.service" in server.state["reason"])
            return str(server.state["reason"])

    fake = tmp_path / "systemctl"
    fake.write_text("#!/bin/sh\necho 'System has not been booted with systemd as init system' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")  # type: ignore[attr-defined]
    assert "not been booted with systemd" in asyncio.run(reason())
    fake.unlink()
    for name in ("setpriv",):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))  # type: ignore[attr-defined]
    assert "there is no systemctl on this host" in asyncio.run(reason())


def test_proc_tells_about_processes() -> None:
    stat = process_stat(os.getpid())
    assert stat is not None and stat.state == "R" and stat.parent == os.getppid()
    assert process_stat(2**22 + 1) is None
