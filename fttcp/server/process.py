"""Runs a group's servers and says, at once, when one of them dies.

Death is seen through a pidfd, so nothing waits for a poll. A server that ended is started again as the
restart policy says. What it forked is killed with it: by us, or, when the daemon was killed, as
aftermath.py tells.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from fttcp.server.aftermath import Executor, Row, kill_leftovers
from fttcp.server.hooks import Hooks
from fttcp.server.launch import Launched, LaunchError, ending, kill_carriers, launch, new_number
from fttcp.server.restart import RestartPolicy
from fttcp.server.server import ServerListener
from fttcp.server.settings import RestartSection
from fttcp.server.verdict import Note

RECORD = "servers.json"


class _Command:
    """One supervised command and its life."""

    def __init__(self, command: str, settings: RestartSection) -> None:
        self.text, self.argv = command, shlex.split(command)
        self.policy = RestartPolicy(settings)
        self.running: Launched | None = None
        self.started_s = 0.0
        self.planned = False
        """We end it ourselves, to start it afresh."""
        self.ending = False
        """It was killed; the pidfd has not told yet."""
        self.cleaning = False
        """It is gone, and what it left is being ended."""
        self.ended = asyncio.Event()
        self.again = asyncio.Event()
        """Do not wait any longer with the next start."""
        self.task: asyncio.Task[None] | None = None


class Supervisor:
    """The servers of one group, started and kept running by this daemon."""

    ours = True

    def __init__(
        self,
        group: str,
        commands: Sequence[str],
        settings: RestartSection,
        run_dir: Path,
        hooks: Hooks,
        note: Note,
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
        through: Sequence[str] = (),
    ) -> None:
        """``environment``: what the servers get beside ours. ``prepare`` is called before the first of them
        starts, whenever none runs: it returns what they get beside that, or raises LaunchError. ``through``:
        what executes each of them in its own place."""
        self._prepare = prepare
        self._note = note
        self._environment, self._prepared = environment or {}, dict[str, str]()
        self._through = through
        self._commands = [_Command(command, settings) for command in commands]
        self._settings, self._hooks = settings, hooks
        self._record = run_dir / f"{group}.{RECORD}"
        self._loop = asyncio.get_running_loop()
        self._listener: ServerListener | None = None
        self._executor = Executor()
        self._stopping = False
        self._wanted = asyncio.Event()
        """Cleared while the servers rest."""
        self._wanted.set()

    @property
    def pids(self) -> list[int]:
        """The leaders of what runs now."""
        return [command.running.pid for command in self._commands if command.running is not None]

    @property
    def complete(self) -> bool:
        """True while every command runs, and none is being ended."""
        return all(command.running is not None and not command.ending for command in self._commands)

    @property
    def restarts(self) -> int:
        """How often a server was started again because it had ended by itself."""
        return sum(command.policy.total for command in self._commands)

    @property
    def gave_up(self) -> bool:
        """True if a command is not started any more, since it ended too often."""
        return any(command.policy.gave_up for command in self._commands)

    def start(self, listener: ServerListener) -> None:
        """Kill what an earlier daemon left, then start every command."""
        self._listener = listener
        kill_leftovers(self._record)
        for command in self._commands:
            command.task = self._loop.create_task(self._live(command))

    def restart(self, failed: bool) -> bool:
        """Start the servers afresh. ``failed``: because of a check, so it counts for the restart policy."""
        running = [one for one in self._commands if one.running is not None and not one.ending]
        for command in running:
            assert command.running is not None
            command.ending, command.planned = True, not failed
            command.running.kill(signal.SIGKILL)  # the pidfd tells, and it is started again
        return bool(running)

    def rest(self) -> None:
        """End the servers that run, and start none until they are woken."""
        self._wanted.clear()
        self.restart(failed=False)

    def wake(self) -> None:
        """Start the servers, if they rest; what was given up before is forgiven."""
        self._wanted.set()
        self.retry()

    def configure(self, settings: RestartSection) -> None:
        """Use other settings from now on; what runs is left alone."""
        self._settings = settings
        for command in self._commands:
            command.policy.configure(settings)

    def retry(self) -> None:
        """Start what was given up, or waits for its next start, now."""
        for command in self._commands:
            command.policy.forgive()
            command.again.set()

    async def stop(self) -> None:
        """End every server: SIGTERM, then SIGKILL for what is left of it after a grace time."""
        self._stopping = True
        running = [command for command in self._commands if command.running is not None]
        for command in self._commands:
            command.again.set()
            if command.running is None and not command.cleaning and command.task is not None:
                command.task.cancel()  # waits for its next start, or for a hook
        for command in running:
            assert command.running is not None
            command.running.kill(signal.SIGCONT)
            command.running.kill(signal.SIGTERM)
        await asyncio.gather(*(self._finish(command) for command in running))
        tasks = [command.task for command in self._commands if command.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._record.unlink(missing_ok=True)
        self._executor.end()

    async def _finish(self, command: _Command) -> None:
        """Wait until a signalled command is gone; kill it when that takes too long."""
        try:
            async with asyncio.timeout(self._settings.stop_grace_ms / 1000):
                await command.ended.wait()
        except TimeoutError:
            if command.running is not None:
                command.running.kill(signal.SIGKILL)

    # ------------------------------------------------------------------ life of one command

    async def _live(self, command: _Command) -> None:
        """Start, watch, clean up, and start again, for ever or until the policy says no."""
        while not self._stopping:
            await self._wanted.wait()
            why = await self._spawn(command)
            if why is None:
                await command.ended.wait()
                command.cleaning = True
                why, delay_s = await self._clean_up(command)
                command.cleaning = False
            else:
                delay_s = command.policy.ended(0.0, True, self._loop.time())
            await self._pause(command, why, delay_s)

    async def _spawn(self, command: _Command) -> str | None:
        """Start a command; return why that failed, or None."""
        command.ended.clear()
        command.planned = command.ending = False
        if not await self._hooks.run("before_start", command=command.text):
            return "the hook before_start failed, so the server was not started (see the event hook-failed)"
        try:
            if self._prepare is not None and not self._rows():
                self._prepared = dict(await self._prepare())
        except LaunchError as error:
            return str(error)
        if not self._wanted.is_set():
            return "it is to rest"
        number = new_number()
        try:
            self._executor.tell([*self._rows(), (0, 0, number)])  # first: we may be killed at any moment
            running = launch(command.argv, number, {**self._environment, **self._prepared}, self._through)
        except LaunchError as error:
            return str(error)
        try:
            self._executor.tell([*self._rows(), (running.pid, running.start_ticks, number)])
        except LaunchError as error:
            running.kill(signal.SIGKILL)
            running.reap()
            return str(error)
        command.running, command.started_s = running, self._loop.time()
        self._loop.add_reader(running.pidfd, self._died, command)
        try:
            self._save_record()
        except OSError as error:  # the executor knows; without both the server would outlive a kill
            self._note("background-failed", "error", why=f"{self._record} cannot be written: {error}")
        self._tell_started()
        return None

    def _died(self, command: _Command) -> None:
        """The pidfd is readable: tell first; all else comes after."""
        assert command.running is not None and self._listener is not None
        self._loop.remove_reader(command.running.pidfd)
        if not self._stopping:
            why = "restarted: its connections are continued nowhere" if command.planned else "ended"
            self._listener.server_ended(f"{command.argv[0]} {why}")
        command.ended.set()

    async def _clean_up(self, command: _Command) -> tuple[str, float | None]:
        """Reap; return how it ended and when it is to be started again."""
        assert command.running is not None
        running, command.running = command.running, None
        status = running.reap()
        why = f"{command.argv[0]} ended with {ending(status)}"
        left = await asyncio.to_thread(kill_carriers, running.number)
        if not command.planned and status == 0 and left:
            why += (
                ": it went to the background, where nobody watches it, and was ended; "
                "keep it in the foreground, or run it elsewhere and name its pid_file"
            )
        await self._hooks.run("after_stop", command=command.text, status=str(status), reason=why)
        if command.planned:
            return "is started afresh", 0.0
        now_s = self._loop.time()
        return why, command.policy.ended(now_s - command.started_s, status != 0, now_s)

    async def _pause(self, command: _Command, why: str, delay_s: float | None) -> None:
        """Wait until it is time for the next start."""
        assert self._listener is not None
        if self._stopping:
            return
        command.again.clear()
        if delay_s is None:
            settings = self._settings
            if command.policy.gave_up:
                why += f"; gave up after {settings.limit} restarts within {settings.window_s} s"
            else:
                why += f"; not started again (restart policy {settings.policy})"
        elif delay_s:
            why += f"; started again in {delay_s:g} s"
        self._listener.server_down(why, final=delay_s is None)
        if delay_s is None:
            await command.again.wait()
        else:
            try:
                async with asyncio.timeout(delay_s):
                    await command.again.wait()
            except TimeoutError:
                return

    def _tell_started(self) -> None:
        if self._listener is not None and self.complete:
            self._listener.server_started()

    # ------------------------------------------------------------------ what outlives a killed daemon

    def _rows(self) -> list[Row]:
        running = [command.running for command in self._commands if command.running is not None]
        return [(one.pid, one.start_ticks, one.number) for one in running]

    def restore_record(self) -> bool:
        """Write the record again, if it is gone; say whether it was."""
        gone = bool(self.pids) and not self._record.exists()
        if gone:
            self._save_record()
        return gone

    def _save_record(self) -> None:
        draft = self._record.with_suffix(".new")
        draft.write_text(json.dumps(self._rows()), encoding="ascii")
        draft.replace(self._record)
