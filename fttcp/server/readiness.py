"""Has this node's server what it needs to follow another one's? Asked of a program of the operator."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from fttcp.server.hooks import Hooks
from fttcp.server.verdict import Note

_HOOK = "ready_to_follow"
_AGAIN_S = 1.0


class Readiness:
    """Numbers the starts of a server, and asks after each one until the answer is yes."""

    def __init__(self, hooks: Hooks, tell: Callable[[int, bool], None], note: Note) -> None:
        """``tell(run, ready)`` is called in the loop whenever one of them changes."""
        self._hooks, self._tell, self._note = hooks, tell, note
        self.run = 0
        """The server's present start; 0 while it does not run."""
        self.ready = True
        self.why = ""
        """Why it is not ready, for people."""
        self._task: asyncio.Task[None] | None = None

    def started(self) -> None:
        """The server was started: whatever was known of the one before is void."""
        self._become(secrets.randbits(63) | 1, not self._hooks.has(_HOOK))

    def ended(self) -> None:
        """The server does not run."""
        self._cancel()
        self._become(0, self.ready)

    def ask(self, believed: bool = False) -> None:
        """The server listens, or may have to follow from now on: ask, again and again. ``believed``: what was
        known holds until the answer is there."""
        self._cancel()
        if not self._hooks.has(_HOOK):
            self._become(self.run, True)
            return
        self._become(self.run, believed and self.ready)
        self._task = asyncio.get_running_loop().create_task(self._ask())

    def shown(self) -> dict[str, object]:
        """As in ``status --json``."""
        return {"ready": self.ready, "why": self.why}

    async def close(self) -> None:
        """Ask no more."""
        task = self._task
        self._cancel()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    async def _ask(self) -> None:
        while (why := await self._hooks.why_not(_HOOK)) is not None:
            if why != self.why:
                self.why = why
                self._note("not-ready", "warning", why=why)
            self._become(self.run, False)
            await asyncio.sleep(_AGAIN_S)
        self.why = ""
        self._note("ready-to-follow", "info")
        self._become(self.run, True)

    def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self._task = None

    def _become(self, run: int, ready: bool) -> None:
        if (run, ready) != (self.run, self.ready):
            self.run, self.ready = run, ready
            self._tell(run, ready)
