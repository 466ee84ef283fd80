"""Hook programs at turns of a server's or a role's life.

Bounded in time, their failures told; no takeover waits for one.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import deque
from collections.abc import Mapping

from fttcp.ownership.model import Role
from fttcp.server.launch import LaunchError, run
from fttcp.server.settings import HooksSection
from fttcp.server.verdict import Note

_QUEUE_MOST = 16


class Hooks:
    """The hooks of one group. The environment of each one is FTTCP_HOOK and what is given here."""

    def __init__(self, settings: HooksSection, environment: Mapping[str, str], note: Note) -> None:
        """``environment``: FTTCP_NODE, FTTCP_GROUP, FTTCP_ADDRESSES, FTTCP_PORTS."""
        self._settings, self._environment, self._note = settings, dict(environment), note
        self._queue: deque[tuple[str, dict[str, str]]] = deque(maxlen=_QUEUE_MOST)
        self._worker: asyncio.Task[None] | None = None

    def configure(self, settings: HooksSection) -> None:
        """Use other programs from now on."""
        self._settings = settings

    def has(self, name: str) -> bool:
        """True if a program is configured for this turn."""
        return self.of(name) is not None

    def of(self, name: str) -> str | None:
        """The program of a turn, if there is one."""
        program: str | None = getattr(self._settings, name)
        return program

    async def run(self, name: str, **environment: str) -> bool:
        """Run a hook to its end; return whether it succeeded (or there is none). A failure is an event."""
        why = await self.why_not(name, **environment)
        if why is not None:
            self._note("hook-failed", "error", hook=name, why=why)
        return why is None

    async def why_not(self, name: str, **environment: str) -> str | None:
        """Run a hook to its end; return why it did not succeed, None if it did (or there is none)."""
        why, _ = await self.result(name, **environment)
        return why

    async def result(self, name: str, **environment: str) -> tuple[str | None, str]:
        """The same, with the last part of what it said."""
        command: str | None = getattr(self._settings, name)
        if command is None:
            return None, ""
        env = {**self._environment, "FTTCP_HOOK": name.replace("_", "-")}
        env |= {f"FTTCP_{key.upper()}": value for key, value in environment.items()}
        try:
            finished = await run(shlex.split(command), self._settings.timeout_ms / 1000, env)
        except LaunchError as error:
            return str(error), ""
        if finished.status != 0:
            return finished.shown(), finished.output
        self._note("hook-done", "debug", hook=name, output=finished.output.strip()[-200:])
        return None, finished.output

    def role_changed(self, before: Role | None, role: Role, epoch: int, cause: str) -> None:
        """Run the hook for that behind everything else, if this node began or ceased to serve."""
        serves, served = role is Role.PRIMARY, before is Role.PRIMARY
        if serves != served:
            hook = "on_takeover" if serves else "on_demotion"
            self.later(hook, role=role.value, epoch=str(epoch), cause=cause)

    def later(self, name: str, **environment: str) -> None:
        """Run a hook when those before it have ended; of too many that wait the oldest are not run."""
        if not self.has(name):
            return
        if len(self._queue) == _QUEUE_MOST:
            self._note("hook-failed", "error", hook=self._queue[0][0], why="skipped: hooks take too long")
        self._queue.append((name, environment))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._queue:
            name, environment = self._queue.popleft()
            await self.run(name, **environment)

    async def close(self) -> None:
        """Let what was asked for end; each one is bounded by its timeout."""
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)
