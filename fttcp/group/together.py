"""The orders of groups that decide at the same time.

To open a gate takes microseconds. What follows from it (threads that wake, announcements) takes hundreds, on
cores that the loop needs for the next gate. So it waits, and so do collections of garbage.
"""

from __future__ import annotations

import asyncio
import gc

from fttcp.planes.base import Engine


class Together:
    """Of one node, in its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._held: dict[Engine, None] = {}
        self._grew = self._collects = False

    def hold(self, engine: Engine) -> None:
        """Hold what follows from this engine's orders, until a turn of the loop in which no engine came."""
        if engine in self._held:
            return
        if not self._held:
            self._collects = gc.isenabled()
            gc.disable()
            self._loop.call_soon(self._look)
        self._held[engine] = None
        self._grew = True
        engine.hold()

    def leave(self, engine: Engine) -> None:
        """It is about to be closed."""
        self._held.pop(engine, None)

    def _look(self) -> None:
        if self._grew:
            self._grew = False
            self._loop.call_soon(self._look)
            return
        held, self._held = self._held, {}
        if self._collects:
            gc.enable()
        for engine in held:
            engine.release()
