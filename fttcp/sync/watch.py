"""Tells when something in a directory changes: by inotifywait, here or on the other host."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence

from fttcp.sync.programs import ProgramError, complaint, running

PROGRAM = "inotifywait"


def watcher(directory: str) -> list[str]:
    """Return the command that prints a line for each change below a directory, but not for our own work."""
    events = "close_write,create,delete,move,attrib"
    return [PROGRAM, "-m", "-r", "-q", "-e", events, "--exclude", r"/\.fttcp-", "--format", "%w%f", directory]


async def follow(argv: Sequence[str], changed: Callable[[], None]) -> None:
    """Call ``changed`` for each line that a program prints, and raise ProgramError when it ends."""
    async with running(argv) as process:
        assert process.stdout is not None
        while await process.stdout.readline():
            changed()
        raise ProgramError(f"changes are not noticed: {await complaint(process) or 'the program has ended'}")


def watch_for_another(directory: str) -> int:
    """Watch for a node that reads our output, and end when it does: it closes our input. Return the
    status."""
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *watcher(directory)], stdin=subprocess.DEVNULL
    )
    ended = os.pidfd_open(child.pid)
    try:
        ready, _, _ = select.select([sys.stdin, ended], [], [])
        if ended not in ready:
            child.terminate()
        return child.wait()
    finally:
        os.close(ended)


async def settle(changes: asyncio.Event, quiet_s: float, most_s: float) -> None:
    """Return when nothing has changed for ``quiet_s``, or after ``most_s``."""
    loop = asyncio.get_running_loop()
    last = loop.time() + most_s
    while (left := min(quiet_s, last - loop.time())) > 0:
        changes.clear()
        try:
            async with asyncio.timeout(left):
                await changes.wait()
        except TimeoutError:
            return
