"""Starts programs so that nothing of them is left: servers, probes, hooks.

Each one leads a session of its own, is killed or stopped by the kernel when the daemon ends
(PR_SET_PDEATHSIG, set by util-linux's setpriv; aftermath.py ends the rest), and carries a number in its
environment that all its children inherit. By its process group and by that number everything that it forked
is found and killed, also what has made itself a session of its own; a program that overwrites its environment
is found by the process group only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fttcp.server.procfs import process_stat, processes

NUMBER = "FTTCP_LAUNCH"
_NOT_FOR_SERVERS = "-net_admin,-net_raw,-sys_nice,-ipc_lock"
"""What a daemon without root needs and its servers do not: all but the right to low ports."""
_TAIL_BYTES = 2048
_DRAINS = 16
_SWEEPS = 200
_SWEEP_PAUSE_S = 0.005


class LaunchError(Exception):
    """A program cannot be started; the sentence says why."""


class NoProgram(LaunchError):
    """There is no such program."""


@dataclass(slots=True)
class Launched:
    """A running program. ``number`` is in the environment of everything that it forks."""

    process: subprocess.Popen[bytes]
    pidfd: int
    start_ticks: int
    number: str

    @property
    def pid(self) -> int:
        """Of the program itself, which leads its process group."""
        return self.process.pid

    def kill(self, signum: signal.Signals) -> None:
        """Signal its whole process group; harmless when nobody is left."""
        kill_group(self.pid, signum)

    def reap(self) -> int:
        """The pidfd is readable: return how it ended (negative: by that signal), and end its group."""
        status = self.process.wait()
        self.kill(signal.SIGKILL)
        os.close(self.pidfd)
        return status


def _command(
    argv: Sequence[str], at_our_end: str, options: Sequence[str] = (), through: Sequence[str] = ()
) -> list[str]:
    program = shutil.which(argv[0])
    if program is None:
        raise NoProgram(f"{argv[0]}: no such program in PATH: install it, or correct the command")
    return ["setpriv", *options, "--pdeathsig", at_our_end, "--", *through, program, *argv[1:]]


def new_number() -> str:
    """Of a launch: nobody else has it."""
    return secrets.token_hex(8)


def launch(
    argv: Sequence[str], number: str, more: Mapping[str, str] | None = None, through: Sequence[str] = ()
) -> Launched:
    """Start a server; its output goes to our standard error. ``more``: for its environment; ``through``: what
    executes it in its own place. Raises LaunchError."""
    try:
        process = subprocess.Popen(
            _command(
                argv, "STOP", [f"--{kind}-caps={_NOT_FOR_SERVERS}" for kind in ("inh", "ambient")], through
            ),
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
            close_fds=True,
            env={**os.environ, **(more or {}), NUMBER: number},
        )
        pidfd = _pidfd_of(process)
    except OSError as error:
        raise LaunchError(f"{argv[0]}: cannot be started: {error.strerror} (setpriv?)") from error
    stat = process_stat(process.pid)
    return Launched(process, pidfd, stat.start_ticks if stat else 0, number)


def _pidfd_of(process: subprocess.Popen[bytes]) -> int:
    """Of what was started just now. Nobody would see the end of one that has none: it ends at once.
    Raises OSError."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        kill_group(process.pid, signal.SIGKILL)
        process.wait()
        raise


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: ``status`` is negative for a signal, None when it took too long."""

    status: int | None
    output: str

    def shown(self) -> str:
        """In words, with the last line of its output."""
        how = "took too long and was killed" if self.status is None else f"ended with {ending(self.status)}"
        lines = self.output.strip().splitlines()
        return f"{how}: {lines[-1].strip()[:200]}" if lines else how


def ending(status: int) -> str:
    """`signal SIGKILL`, `signal 35` (those of real time have no names), or `status 3`."""
    if status >= 0:
        return f"status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"


async def run(
    argv: Sequence[str],
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    *,
    leave: bool = False,
    most: int = _TAIL_BYTES,
) -> Finished:
    """Run a short program to its end, or kill it and all its children after ``timeout_s``, and when
    cancelled. ``leave``: what it has started goes on when it ends by itself. The last ``most`` bytes of what
    it says are kept. Raises LaunchError."""
    number = new_number()
    try:
        async with asyncio.timeout(timeout_s):
            command = _command(argv, "KILL")
            return await _run(command, {**os.environ, **(env or {}), NUMBER: number}, leave, most)
    except TimeoutError:
        await asyncio.shield(asyncio.to_thread(kill_carriers, number))
        return Finished(None, "")
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.to_thread(kill_carriers, number))
        raise
    except OSError as error:
        raise LaunchError(f"{argv[0]}: cannot be started: {error.strerror} (setpriv?)") from error


async def _run(command: Sequence[str], env: Mapping[str, str], leave: bool, most: int) -> Finished:
    """asyncio's own subprocesses are not ended as long as a grandchild holds their pipe open."""
    loop, tail, ended = asyncio.get_running_loop(), bytearray(), asyncio.Event()
    output, given = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.set_blocking(given, True)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=given, stderr=given, start_new_session=True, env=env
        )
        pidfd = _pidfd_of(process)
    except OSError:
        os.close(output)
        raise
    finally:
        os.close(given)
    loop.add_reader(pidfd, ended.set)
    loop.add_reader(output, _drain, output, tail, most)
    try:
        await ended.wait()
        _drain(output, tail, most)
    finally:
        if not (leave and ended.is_set()):
            kill_group(process.pid, signal.SIGKILL)
        loop.remove_reader(pidfd)
        loop.remove_reader(output)
        os.close(pidfd)
        os.close(output)
        if process.poll() is None:  # killed just now: nobody waits for it, in the worst case for a disk
            loop.run_in_executor(None, process.wait)
    return Finished(process.returncode, tail.decode(errors="replace"))


def _drain(output: int, tail: bytearray, most: int) -> None:
    """Take in what was said, and keep the last of it."""
    for _ in range(_DRAINS):
        try:
            data = os.read(output, 4096)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(output)
            return
        tail += data
        del tail[:-most]


def kill_group(pgrp: int, signum: signal.Signals) -> None:
    """Signal a process group, if it exists."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pgrp, signum)


def carriers(number: str) -> list[int]:
    """The living processes that have this number in their environment."""
    wanted = f"{NUMBER}={number}".encode()
    return [pid for pid in processes() if wanted in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is not ours to look at
        return []


def kill_carriers(number: str) -> bool:
    """Kill what carries the number until nobody does; return whether anybody did. Blocks for milliseconds."""
    return kill_all(lambda: carriers(number))


def kill_all(find: Callable[[], Sequence[int]]) -> bool:
    """Kill the processes that are found until there are none; return whether there were any. Blocks for
    milliseconds.

    A process may fork and end while we look, so that neither it nor its child is met: only the second look
    in a row that finds nobody is believed.
    """
    found, empty = False, 0
    for _ in range(_SWEEPS):
        left = find()
        empty = 0 if left else empty + 1
        if empty == 2:
            break
        found = found or bool(left)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if left:
            time.sleep(_SWEEP_PAUSE_S)  # until the kernel has ended them
    return found
