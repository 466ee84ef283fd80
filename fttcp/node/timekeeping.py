"""The wall clock of this node follows that of the primary, where the configuration wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from fttcp.group.group import GroupRuntime
from fttcp.planes import wallclock
from fttcp.planes.clocks import Clocks, Note
from fttcp.planes.following import ROUND_S, Step, follow
from fttcp.planes.wallclock import SLEW_PPM


class Hand(Protocol):
    """What there is to a wall clock; see ``fttcp.planes.wallclock``."""

    def keeper(self) -> str:
        """Return the time service that keeps it, or ''. Raises OSError."""

    def slew(self, offset_us: int) -> None:
        """Put it forward, in the next second. Raises OSError."""


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
        self._told, self._left_us, self._seconds = Step(), 0, 0

    async def second(self) -> None:
        """Lead the clock; to be done every second. Every ROUND_S it is looked whom to, and how far."""
        if self._seconds % ROUND_S == 0:
            await self._round()
        self._seconds += 1
        if self._left_us:
            self._lead()

    def _leader(self) -> str | None:
        return self._leads() if self._wanted() else None

    async def _round(self) -> None:
        step, peer = Step(), self._leader()
        if peer is None:
            self._told = Step()
        else:
            try:
                keeper = await asyncio.to_thread(self._hand.keeper)
                step = follow(peer, self._clocks.offset(peer), keeper)
                if step.peer:
                    self._hand.slew(0)  # whether that is allowed
            except OSError as error:
                step = _forbidden(error)
        self._left_us = step.slew_ns // 1000
        self._tell(step)

    def _lead(self) -> None:
        """One that ceases to follow stops at once: two that are led apart are a matter of leases."""
        if self._leader() != self._clocks.followed:
            self._left_us = 0
            return
        part_us = max(-SLEW_PPM, min(SLEW_PPM, self._left_us))
        self._left_us -= part_us
        try:
            self._hand.slew(part_us)
        except OSError as error:
            self._left_us = 0
            self._tell(_forbidden(error))

    def _tell(self, step: Step) -> None:
        """Note what is new. While nothing is known of the peer's clock there is nothing to say."""
        self._clocks.followed = step.peer
        if step.peer and step.peer != self._told.peer:
            self._note("clock-followed", "info", peer=step.peer)
        elif step.why and not self._told.why:
            self._note("clock-not-followed", "warning", why=step.why)
        if step.peer or step.why:
            self._told = step


def _forbidden(error: OSError) -> Step:
    return Step(why=f"{error.strerror}: the daemon needs CAP_SYS_TIME, and leave to call adjtimex(2)")
