"""The wall clock of this node follows that of the primary, where the configuration wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fttcp.group.group import GroupRuntime
from fttcp.planes import wallclock
from fttcp.planes.clocks import Clocks, Note
from fttcp.planes.following import Step, follow


class Hand(Protocol):
    """What there is to a wall clock; see ``fttcp.planes.wallclock``."""

    def keeper(self) -> str:
        """Return the time service that keeps it, or ''."""

    def slew(self, offset_us: int) -> None:
        """Put it forward, slowly. Raises OSError."""


def leader(groups: Mapping[str, GroupRuntime], own: str) -> str | None:
    """Return the peer that serves the first group, by name: the same for all nodes, so they follow nobody in
    a circle. None: this node does, or nobody."""
    owner = groups[min(groups)].owner() if groups else None
    return None if owner == own else owner


class Timekeeper:
    """Of one node."""

    def __init__(
        self,
        clocks: Clocks,
        leads: Callable[[], str | None],
        wanted: Callable[[], bool],
        note: Note,
        hand: Hand = wallclock,
    ) -> None:
        self._clocks, self._leads, self._wanted, self._note, self._hand = clocks, leads, wanted, note, hand
        self._last = Step()

    async def round(self) -> None:
        """Look, and have the clock led; to be done every ROUND_S. Raises OSError."""
        step = Step()
        if self._wanted() and (peer := self._leads()) is not None:
            keeper = await asyncio.to_thread(self._hand.keeper)
            step = follow(peer, self._clocks.offset(peer), keeper)
        if step.slew_ns:
            try:
                self._hand.slew(step.slew_ns // 1000)
            except OSError as error:
                step = Step(why=f"{error.strerror}: the daemon needs CAP_SYS_TIME")
        self._tell(step)

    def _tell(self, step: Step) -> None:
        before, self._last = self._last, step
        self._clocks.followed = step.peer
        told: dict[str, Any] = {"peer": step.peer} if step.peer else {"why": step.why}
        if step.peer and step.peer != before.peer:
            self._note("clock-followed", "info", **told)
        elif step.why and not before.why:
            self._note("clock-not-followed", "warning", **told)
