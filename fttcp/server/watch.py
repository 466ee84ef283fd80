"""Watches a server that somebody else runs, named by its pid file or systemd unit.

A number is not a process: the process behind it is held by a pidfd, and what it was read from is read again
after that. Whether it is the right one shows when it holds the group's listening sockets (monitor.py).
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path

from fttcp.server.launch import LaunchError, run
from fttcp.server.procfs import process_stat
from fttcp.server.server import ServerListener
from fttcp.server.settings import RestartSection
from fttcp.server.verdict import Note

_SEARCH_S = 0.2
_REPLACED_S = 5.0
_SYSTEMCTL_TIMEOUT_S = 5.0
_PID_MOST = 1 << 22
"""The kernel gives no higher one (PID_MAX_LIMIT)."""
_PID_FILE_MOST = 64

FindPid = Callable[[], Awaitable["int | str"]]
"""Returns the pid, or why there is none."""


def pid_in_file(path: Path) -> FindPid:
    """Return a function that reads the pid from a file."""

    async def find() -> int | str:
        try:
            text = _beginning(path).strip()
        except FileNotFoundError:
            return f"{path}: no such file yet"
        except (OSError, UnicodeDecodeError) as error:
            return f"{path}: cannot be read: {error}"
        pid = int(text) if text.isdecimal() else 0
        return pid if 0 < pid <= _PID_MOST else f"{path}: {text[:40]!r} is not a pid"

    return find


def _beginning(path: Path) -> str:
    """As much of a file as a pid takes, of whatever kind it is. Raises OSError, UnicodeDecodeError."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(file, _PID_FILE_MOST).decode("ascii")
    finally:
        os.close(file)


def pid_of_unit(unit: str) -> FindPid:
    """Return a function that asks systemd for the unit's main pid."""

    async def find() -> int | str:
        command = [
            "systemctl",
            "show",
            "--property=MainPID,LoadState,ActiveState,SubState,Result",
            "--",
            unit,
        ]
        try:
            shown = await run(command, _SYSTEMCTL_TIMEOUT_S)
        except LaunchError:
            return (
                f"unit {unit}: there is no systemctl on this host, so no units can be watched: "
                "use command or pid_file"
            )
        if shown.status != 0:
            return f"unit {unit}: systemctl {shown.shown()}"
        said = dict(line.partition("=")[::2] for line in shown.output.splitlines())
        pid = said.get("MainPID", "")
        if pid.isdecimal() and int(pid):
            return int(pid)
        if said.get("LoadState") not in (None, "loaded"):
            return f"unit {unit}: systemd says {said['LoadState']}: check the name in the configuration"
        result = said.get("Result", "?")
        return f"unit {unit} is {said.get('ActiveState', '?')} ({said.get('SubState', '?')}, result {result})"

    return find


class Watcher:
    """Same face as Supervisor, for a server that this daemon does not run."""

    ours = False
    restarts = 0
    gave_up = False

    def __init__(self, find: FindPid, restart_command: str | None, note: Note) -> None:
        """``restart_command`` is run when the server has to begin anew; None: that is left to people."""
        self._find, self._restart_command, self._note = find, restart_command, note
        self._loop = asyncio.get_running_loop()
        self._pid: int | None = None
        self._listener: ServerListener | None = None
        self._task: asyncio.Task[None] | None = None
        self._restarting: asyncio.Task[None] | None = None

    @property
    def pids(self) -> list[int]:
        """The watched process."""
        return [] if self._pid is None else [self._pid]

    @property
    def complete(self) -> bool:
        """True while it is there, and not being restarted."""
        return self._pid is not None and (self._restarting is None or self._restarting.done())

    def start(self, listener: ServerListener) -> None:
        """Begin to watch."""
        self._listener = listener
        self._task = self._loop.create_task(self._watch())

    def restart(self, failed: bool) -> bool:
        """Run the restart command, if there is one and it does not run already."""
        if self._restart_command is None or (self._restarting is not None and not self._restarting.done()):
            return False
        self._restarting = self._loop.create_task(self._run_restart(self._restart_command))
        return True

    def rest(self) -> None:
        """Nothing: it is somebody else's."""

    def wake(self) -> None:
        """Nothing: it is somebody else's."""

    def configure(self, settings: RestartSection) -> None:
        """Run another command from now on when the server has to begin anew."""
        self._restart_command = settings.watched_command

    def retry(self) -> None:
        """Nothing: it is looked for all the time."""

    async def _run_restart(self, command: str) -> None:
        try:
            finished = await run(shlex.split(command), 60.0)
            why = None if finished.status == 0 else finished.shown()
        except LaunchError as error:
            why = str(error)
        if why is not None:
            self._note("restart-failed", "error", command=command, why=why)

    def restore_record(self) -> bool:
        """There is none: somebody else runs the server."""
        return False

    async def stop(self) -> None:
        """Stop watching; the server is left alone."""
        tasks = [task for task in (self._task, self._restarting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        assert self._listener is not None
        while True:
            found = await self._find()
            if isinstance(found, str):
                self._listener.server_down(found, final=False)
            else:
                await self._attend(found)
            await asyncio.sleep(_SEARCH_S)

    async def _attend(self, pid: int) -> None:
        """Watch one process until it is gone."""
        assert self._listener is not None
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            self._listener.server_down(f"process {pid} does not exist", final=False)
            return
        gone = asyncio.Event()
        try:
            stat = process_stat(pid)
            if stat is None or stat.state in "ZX" or await self._find() != pid:
                self._listener.server_down(f"process {pid} has ended", final=False)
                return
            self._pid = pid
            self._loop.add_reader(pidfd, self._ended, pid, gone)
            self._listener.server_started()
            while not gone.is_set():
                await self._until_gone_or_replaced(pid, gone)
        finally:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
            self._pid = None

    def _ended(self, pid: int, gone: asyncio.Event) -> None:
        assert self._listener is not None
        if not gone.is_set():
            gone.set()
            self._listener.server_ended(f"process {pid} ended")

    async def _until_gone_or_replaced(self, pid: int, gone: asyncio.Event) -> None:
        """Wait a while; another pid at the source: the server was replaced (a re-executed nginx)."""
        assert self._listener is not None
        try:
            async with asyncio.timeout(_REPLACED_S):  # wait_for would lose a cancellation before Python 3.12
                await gone.wait()
        except TimeoutError:
            found = await self._find()
            if isinstance(found, int) and found != pid and process_stat(found) is not None:
                gone.set()
                self._listener.server_ended(f"process {pid} was replaced by {found}")
