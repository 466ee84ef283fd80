"""How a server's workers end: killed, or because they or their master want it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess

import pytest

from fttcp.server.launch import ending
from fttcp.server.workers import Workers, exit_status
from tests.health import until


@pytest.mark.parametrize("reaped", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_how_a_process_has_ended_is_known(number: signal.Signals | None, reaped: bool) -> None:
    process = subprocess.Popen(["sleep", "1000" if number else "0"])
    handle = os.pidfd_open(process.pid)
    try:
        if number:
            os.kill(process.pid, number)
        select.select([handle], [], [], 10)
        if reaped:
            process.wait()
            if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 15):
                pytest.skip("before Linux 6.15 nobody knows")
        assert exit_status(process.pid, handle) == (number or 0)
    finally:
        process.wait()
        os.close(handle)


def test_crashes_are_told_and_other_ends_are_not() -> None:
    async def body() -> None:
        told: list[str] = []
        workers = Workers(told.append)
        processes = [subprocess.Popen(["sleep", "1000"]) for _ in range(4)]
        pids = [process.pid for process in processes]
        workers.watch(pids)
        workers.watch(pids)
        assert len(workers) == 4
        for process, number in zip(
            processes[:3], (signal.SIGRTMIN + 1, signal.SIGSEGV, signal.SIGPIPE), strict=True
        ):
            process.send_signal(number)
        await until(lambda: len(workers) == 1)
        assert told == [f"process {pids[1]} (sleep) was ended by SIGSEGV"]
        workers.forget()
        assert len(workers) == 0
        for process in processes:
            process.kill()
            process.wait()
        workers.watch(pids)  # gone meanwhile
        await asyncio.sleep(0)
        assert len(workers) == 0 and len(told) == 1

    asyncio.run(body())


def test_how_it_ended_in_words() -> None:
    assert [ending(status) for status in (3, -9, -35)] == ["status 3", "signal SIGKILL", "signal 35"]
