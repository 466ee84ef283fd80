"""Memory and open files of real servers against their limits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from fttcp.ownership.model import Cause
from fttcp.server import procfs, resources
from fttcp.server.procfs import cgroup_memory
from fttcp.server.settings import HealthSection
from tests.health import looked_after, python, until

LEAK_FILES = """
import os, resource, time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
leaked = []
while len(leaked) < 58:
    leaked.append(os.open("/dev/null", os.O_RDONLY))
    time.sleep(0.005)
time.sleep(1000)
"""
LOCKED_IN = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (1, 1))
print("locked", flush=True)
input()
"""
LEAK_MEMORY = """
import time
leaked = []
while len(leaked) < 100:
    leaked.append(b"x" * (1 << 20))
    time.sleep(0.005)
time.sleep(1000)
"""


def test_a_server_that_leaks_files_is_warned_of_before_it_is_too_late(tmp_path: Path) -> None:
    async def body() -> None:
        settings = HealthSection(resources_interval_ms=50, fd_percent=90)
        async with looked_after(tmp_path, python(tmp_path, LEAK_FILES), health=settings) as server:
            await until(lambda: bool(server.told("health-warning")))
            (warning,) = server.told("health-warning")
            assert (
                warning["check"] == "files" and f"open files of process {server.pid}: " in warning["reason"]
            )
            assert "of 64" in warning["reason"] and server.healthy

    asyncio.run(body())


def test_a_process_that_has_locked_itself_in_lacks_no_files() -> None:
    words = [sys.executable, "-c", LOCKED_IN]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sandbox:
        assert sandbox.stdout and sandbox.stdout.readline() == b"locked\n"
        assert procfs.open_files(sandbox.pid) > 1 and procfs.limit(sandbox.pid, "Max open files") == 1
        assert not resources.files([sandbox.pid])
        assert resources.files([os.getpid()])
        sandbox.communicate(b"\n")


def test_a_server_that_leaks_memory_can_be_begun_anew(tmp_path: Path) -> None:
    async def body() -> None:
        settings = HealthSection(resources_interval_ms=50, memory_limit_mib=60, memory_action="restart")
        async with looked_after(tmp_path, python(tmp_path, LEAK_MEMORY), health=settings) as server:
            await until(lambda: server.healthy)
            pid = server.pid
            await until(lambda: server.failed(Cause.RESOURCES_EXHAUSTED))
            assert "memory: resident memory (memory_limit_mib): " in server.changes[-1][2]
            await until(lambda: server.healthy and server.pid != pid)
            assert server.state["restarts"] == 1

    asyncio.run(body())


def test_a_host_without_memory_is_told(tmp_path: Path) -> None:
    async def body() -> None:
        settings = HealthSection(resources_interval_ms=50, host_available_mib=2**24)
        async with looked_after(tmp_path, "sleep 1000", health=settings) as server:
            await until(lambda: bool(server.told("health-warning")))
            assert "MiB of memory left, less than 16777216" in server.told("health-warning")[0]["reason"]

    asyncio.run(body())


def test_the_tightest_cgroup_counts(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "7").mkdir(parents=True)
    (proc / "7/cgroup").write_text("0::/system.slice/web.service\n")
    inner = root / "system.slice/web.service"
    inner.mkdir(parents=True)
    for directory, used, most in ((inner, "900", "1000"), (inner.parent, "4000", "4050"), (root, "9", "max")):
        (directory / "memory.current").write_text(f"{used}\n")
        (directory / "memory.max").write_text(f"{most}\n")
    assert cgroup_memory(7, proc, root) == (4000, 4050)
    (inner.parent / "memory.max").write_text("max\n")
    assert cgroup_memory(7, proc, root) == (900, 1000)
    (proc / "7/cgroup").write_text("4:memory:/box\n0::/\n")
    (root / "memory/box").mkdir(parents=True)
    (root / "memory/box/memory.usage_in_bytes").write_text("5\n")
    (root / "memory/box/memory.limit_in_bytes").write_text("10\n")
    assert cgroup_memory(7, proc, root) == (5, 10)
