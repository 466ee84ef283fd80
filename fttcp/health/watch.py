"""Watches a server that somebody else runs, named by its pid file or systemd unit."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from fttcp.core.model import Cause
from fttcp.health.process import OnChange, ServerState
from fttcp.health.procfs import not_listening, process_stat

_SEARCH_S = 0.2

FindPid = Callable[[], int | None]


def pid_in_file(path: Path) -> FindPid:
    """Return a function that reads the pid from a file; None while there is none."""

    def find() -> int | None:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return int(text) if text.isdecimal() else None

    return find


def pid_of_unit(unit: str) -> FindPid:
    """Return a function that asks systemd for the unit's main pid; None while it has none."""

    def find() -> int | None:
        shown = subprocess.run(
            ["systemctl", "show", "--property=MainPID", "--value", "--", unit],
            capture_output=True, text=True, check=False, timeout=5,
        )  # fmt: skip
        text = shown.stdout.strip()
        return int(text) if text.isdecimal() and int(text) else None

    return find


class Watcher:
    """Same face as Supervisor, for a server that this daemon does not run."""

    def __init__(
        self, find: FindPid, ports: Sequence[tuple[int, str]], hang_after_ms: int, on_change: OnChange
    ) -> None:
        """``find`` runs in a thread whenever no process is known."""
        self._find, self._ports, self._on_change = find, tuple(ports), on_change
        self._hang_after_s = hang_after_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._pid: int | None = None
        self._healthy = False
        self._reason = "not found yet"
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> ServerState:
        """The state as ``status`` shows it."""
        return ServerState(self._pid, self._healthy, self._reason)

    def start(self) -> None:
        """Begin to watch."""
        self._task = self._loop.create_task(self._watch())

    def restart(self) -> None:
        """Nothing: the server is not ours to restart."""

    async def stop(self) -> None:
        """Stop watching; the server is left alone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            pid = await asyncio.to_thread(self._find)
            if pid is None or process_stat(pid) is None:
                await asyncio.sleep(_SEARCH_S)
                continue
            await self._attend(pid)

    async def _attend(self, pid: int) -> None:
        """Watch one process until it is gone."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        gone = asyncio.Event()
        self._pid = pid
        self._loop.add_reader(pidfd, gone.set)
        try:
            stopped_s = 0.0
            pause_s = min(_SEARCH_S, self._hang_after_s / 4)
            while not gone.is_set():
                stat = process_stat(pid)
                stopped_s = stopped_s + pause_s if stat is not None and stat.state in "Tt" else 0.0
                self._judge(stopped_s)
                try:
                    await asyncio.wait_for(gone.wait(), pause_s)
                except TimeoutError:
                    continue
            self._report(False, Cause.SERVER_DIED, f"process {pid} ended")
        finally:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
            self._pid = None

    def _judge(self, stopped_s: float) -> None:
        if stopped_s >= self._hang_after_s:
            self._report(False, Cause.SERVER_HUNG, "the process is stopped")
        elif not stopped_s and not self._healthy:
            silent = not_listening(self._ports)
            if silent:
                self._reason = f"nobody listens on {', '.join(silent)} yet"
            else:
                self._report(True, Cause.SERVER_DIED, "serving")

    def _report(self, healthy: bool, cause: Cause, reason: str) -> None:
        self._reason = reason
        if healthy != self._healthy:
            self._healthy = healthy
            self._on_change(healthy, cause, reason)
