"""Programs that are run for a copy: idle for processor and disk, ended with us, each in a session of its
own."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

_IDLE = ("nice", "-n", "19", "ionice", "-c", "3")
_END_S = 5.0
_LINE_BYTES = 1 << 30
_TAIL_BYTES = 4096
REMOTE_RSYNC = shlex.join([*_IDLE, "rsync"])
"""For rsync's option --rsync-path."""


class ProgramError(Exception):
    """A program failed; the sentence says what to do."""


def on_host(remote_shell: str, host: str, words: Sequence[str]) -> list[str]:
    """Return the command that runs words on another host, as ssh does: in one text, for a shell there."""
    return [*shlex.split(remote_shell), host, shlex.join(words)]


@asynccontextmanager
async def running(argv: Sequence[str]) -> AsyncIterator[Process]:
    """Start a program, its three streams piped; at the end of the block it and its children are ended.
    Raises ProgramError."""
    try:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", *_IDLE, *argv),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
            limit=_LINE_BYTES,
        )
    except OSError as error:
        raise ProgramError(f"{argv[0]}: {error.strerror}: apt-get install util-linux") from error
    try:
        yield process
    finally:
        await asyncio.shield(_end(process))


async def _end(process: Process) -> None:
    """By SIGTERM, so that rsync keeps what has come of a file; whoever stays is killed."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await process.wait()
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


async def run(argv: Sequence[str], given: bytes = b"") -> tuple[int, str, str]:
    """Run a program to its end; return its status, its output, and its last errors. Raises ProgramError."""
    async with running(argv) as process:
        output, errors = await process.communicate(given)
        return process.returncode or 0, output.decode(errors="replace"), gist(errors)


async def complaint(process: Process) -> str:
    """Return the last that a program said that has closed its output."""
    assert process.stderr is not None
    return gist(await process.stderr.read())


def gist(errors: bytes) -> str:
    """Return the last lines of errors, as one."""
    lines = errors[-_TAIL_BYTES:].decode(errors="replace").splitlines()
    return "; ".join(line.strip() for line in lines[-3:] if line.strip())
