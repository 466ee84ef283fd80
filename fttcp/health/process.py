"""Runs a group's servers and says, at once, when one of them dies or hangs.

Death is seen through a pidfd, so nothing waits for a poll. A stopped process (state T) is found by
looking a few times per ``hang_after_ms``. A server that died is started again, later and later if it
keeps dying. Each one leads a session of its own, is killed by the kernel when the daemon's process
ends (PR_SET_PDEATHSIG, set by util-linux's setpriv), and what it forked is killed with it: by us, or,
when the daemon was killed, by the next start from the record in the run directory.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fttcp.core.model import Cause
from fttcp.health.procfs import group_members, not_listening, process_stat

_LISTEN_POLL_S = 0.02
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 10.0
_STEADY_S = 10.0
_STOP_GRACE_S = 3.0
RECORD = "servers.json"

OnChange = Callable[[bool, Cause, str], None]
"""(healthy, cause of a failure, a sentence for people)"""


class ServerError(Exception):
    """A server cannot be started; the sentence says why."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """For ``status``: pid of the first server, whether all are healthy, and why not."""

    pid: int | None
    healthy: bool
    reason: str


class _Command:
    """One supervised command."""

    def __init__(self, command: str) -> None:
        self.argv = shlex.split(command)
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.start_ticks = 0
        self.started_at = 0.0
        self.backoff_s = _BACKOFF_FIRST_S
        self.timer: asyncio.TimerHandle | None = None
        self.planned = False
        """We end it ourselves, to start it afresh."""

    def spawn(self) -> None:
        """Start it. Raises ServerError."""
        program = shutil.which(self.argv[0])
        if program is None:
            raise ServerError(f"{self.argv[0]}: no such program in PATH: install it, or correct the command")
        setpriv = ["setpriv", "--pdeathsig", "KILL", "--", program, *self.argv[1:]]
        try:
            self.process = subprocess.Popen(
                setpriv, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True, close_fds=True
            )
        except OSError as error:
            raise ServerError(f"{self.argv[0]}: cannot be started: {error.strerror} (setpriv?)") from error
        self.pidfd = os.pidfd_open(self.process.pid)
        stat = process_stat(self.process.pid)
        self.start_ticks = stat.start_ticks if stat else 0

    def reap(self) -> str:
        """The process ended: end what it left behind; return how it ended."""
        assert self.process is not None
        status = self.process.wait()
        self.kill(signal.SIGKILL)
        os.close(self.pidfd)
        self.process, self.pidfd = None, -1
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return f"{self.argv[0]} ended with {how}"

    def kill(self, number: signal.Signals) -> None:
        """Signal its whole process group; harmless when nobody is left."""
        assert self.process is not None
        _kill_group(self.process.pid, number)


def _kill_group(pgrp: int, number: signal.Signals) -> None:
    try:
        os.killpg(pgrp, number)
    except ProcessLookupError:
        return


class Supervisor:
    """The servers of one group, started and kept running by this daemon."""

    def __init__(
        self,
        group: str,
        commands: Sequence[str],
        ports: Sequence[tuple[int, str]],
        hang_after_ms: int,
        run_dir: Path,
        on_change: OnChange,
    ) -> None:
        """``on_change`` is called in the loop for every change of health."""
        self._group, self._ports, self._on_change = group, tuple(ports), on_change
        self._commands = [_Command(command) for command in commands]
        self._hang_after_s = hang_after_ms / 1000
        self._record = run_dir / f"{group}.{RECORD}"
        self._loop = asyncio.get_running_loop()
        self._healthy = False
        self._reason = "not started"
        self._poll: asyncio.TimerHandle | None = None
        self._stopped_since: dict[int, float] = {}
        self._stopping = False

    @property
    def state(self) -> ServerState:
        """The state as ``status`` shows it."""
        pids = [command.process.pid for command in self._commands if command.process is not None]
        return ServerState(pids[0] if pids else None, self._healthy, self._reason)

    def start(self) -> None:
        """Kill what an earlier daemon left, then start every command."""
        kill_leftovers(self._record)
        for command in self._commands:
            self._start(command)

    def restart(self) -> None:
        """Start the servers afresh: unhealthy until they listen again."""
        self._report(False, Cause.SERVER_DIED, "restarted: its connections are continued nowhere")
        for command in self._commands:
            if command.process is not None:
                command.planned = True
                command.kill(signal.SIGKILL)  # the pidfd tells, and it is started again

    async def stop(self) -> None:
        """End every server: SIGTERM, then SIGKILL for what is left of it after a grace time."""
        self._stopping = True
        for timer in (self._poll, *(command.timer for command in self._commands)):
            if timer is not None:
                timer.cancel()
        running = [command for command in self._commands if command.process is not None]
        for command in running:
            command.kill(signal.SIGCONT)
            command.kill(signal.SIGTERM)
        await asyncio.gather(*(self._ended(command) for command in running))
        self._record.unlink(missing_ok=True)

    async def _ended(self, command: _Command) -> None:
        """Wait until a signalled command is gone; kill it when that takes too long."""
        ended = asyncio.Event()
        self._loop.remove_reader(command.pidfd)
        self._loop.add_reader(command.pidfd, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), _STOP_GRACE_S)
        except TimeoutError:
            command.kill(signal.SIGKILL)
            await ended.wait()
        self._loop.remove_reader(command.pidfd)
        command.reap()

    # ------------------------------------------------------------------ life of one command

    def _start(self, command: _Command) -> None:
        command.timer = None
        try:
            command.spawn()
        except ServerError as error:
            self._report(False, Cause.SERVER_DIED, str(error))
            self._start_later(command)
            return
        command.started_at = self._loop.time()
        self._loop.add_reader(command.pidfd, self._died, command)
        self._save_record()
        self._schedule_poll(_LISTEN_POLL_S)

    def _start_later(self, command: _Command) -> None:
        command.timer = self._loop.call_later(command.backoff_s, self._start, command)
        command.backoff_s = min(2 * command.backoff_s, _BACKOFF_MOST_S)

    def _died(self, command: _Command) -> None:
        """The pidfd is readable: tell first, then clean up and start again."""
        self._loop.remove_reader(command.pidfd)
        self._report(False, Cause.SERVER_DIED, f"{command.argv[0]} ended")
        self._stopped_since.pop(command.pidfd, None)
        how = command.reap()
        self._reason = how
        if self._loop.time() - command.started_at > _STEADY_S:
            command.backoff_s = _BACKOFF_FIRST_S
        if command.planned:
            command.planned = False
            self._start(command)
        else:
            self._start_later(command)

    # ------------------------------------------------------------------ looking

    def _schedule_poll(self, delay_s: float) -> None:
        if self._poll is not None:
            self._poll.cancel()
        self._poll = self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        """Look for hanging processes; while unhealthy, for ports that begin to be listened on."""
        for command in self._commands:
            self._look_for_hang(command)
        if not self._healthy and all(command.process is not None for command in self._commands):
            silent = not_listening(self._ports)
            if not silent and not self._stopped_since:
                self._report(True, Cause.SERVER_DIED, "serving")
            elif silent:
                self._reason = f"nobody listens on {', '.join(silent)} yet"
        self._schedule_poll(self._hang_after_s / 4 if self._healthy else _LISTEN_POLL_S)

    def _look_for_hang(self, command: _Command) -> None:
        if command.process is None:
            return
        stat, now = process_stat(command.process.pid), self._loop.time()
        if stat is None or stat.state not in "Tt":
            self._stopped_since.pop(command.pidfd, None)
            return
        since = self._stopped_since.setdefault(command.pidfd, now)
        if now - since >= self._hang_after_s:
            self._report(False, Cause.SERVER_HUNG, f"{command.argv[0]} is stopped (state {stat.state})")
            command.planned = True
            command.kill(signal.SIGKILL)

    def _report(self, healthy: bool, cause: Cause, reason: str) -> None:
        self._reason = reason
        if healthy != self._healthy and not self._stopping:
            self._healthy = healthy
            self._on_change(healthy, cause, reason)

    # ------------------------------------------------------------------ what outlives a killed daemon

    def _save_record(self) -> None:
        running = [(c.process.pid, c.start_ticks) for c in self._commands if c.process is not None]
        draft = self._record.with_suffix(".new")
        draft.write_text(json.dumps(running), encoding="ascii")
        draft.replace(self._record)


def kill_leftovers(record: Path) -> int:
    """Kill the process groups that a killed daemon left, by its ``GROUP.servers.json``; remove that file, and
    return how many there were. Only members that are older than their pid's next use are killed."""
    if not record.exists():
        return 0
    killed = 0
    for pgrp, start_ticks in json.loads(record.read_text(encoding="ascii")):
        leader = process_stat(pgrp)
        same = leader.start_ticks == start_ticks if leader is not None else bool(group_members(pgrp))
        if same:
            killed += 1
            _kill_group(pgrp, signal.SIGKILL)
    record.unlink()
    return killed
