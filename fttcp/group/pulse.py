"""The pulse of groups whose role machines wait for nothing but time: one timer for all of a node."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fttcp.ownership.pair import PairMachine
from fttcp.wire import clock


class Resting(Protocol):
    """A group whose machine is at rest; see ``PairMachine.pulse``."""

    machine: PairMachine

    def deadline(self) -> None:
        """Something is to be decided."""


class Pulse:
    """Of one node, in its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._resting: dict[Resting, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def join(self, group: Resting) -> None:
        """Let its machine pulse from now on, as often as the shortest lease of those here wants it."""
        self._resting[group] = None
        self._arm(group.machine.settings.pulse_ns / 1e9)

    def leave(self, group: Resting) -> None:
        """It has a timer of its own, or is closed."""
        self._resting.pop(group, None)

    def _arm(self, after_s: float) -> None:
        when_s = self._loop.time() + after_s
        if self._timer is not None:
            if self._timer.when() <= when_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when_s, self._beat)

    def _beat(self) -> None:
        self._timer = None
        if self._resting:
            self._arm(min(group.machine.settings.pulse_ns for group in self._resting) / 1e9)
        now_ns = clock.now_ns()
        for group in [group for group in self._resting if not group.machine.pulse(now_ns)]:
            if group in self._resting:  # it may have left because of another one
                self._loop.call_soon(group.deadline)  # what one raises is nothing to the others
