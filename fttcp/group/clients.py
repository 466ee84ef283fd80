"""Has a server had a client since it was started? Told by what its group's engine counts."""

from __future__ import annotations

from fttcp.ownership import events as ev
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import Engine

_FLOWS = ("flows_opened", "flows_refused", "syn_floods", "udp_sessions")
"""All that begin, tracked or not."""


class Clients:
    """Of one group on one node, where it matters (``Settings.memory``)."""

    def __init__(self, machine: PairMachine, engine: Engine) -> None:
        self._machine, self._engine = machine, engine
        self._before = 0
        """Those of servers before this one."""

    def came_before(self, event: ev.Event) -> bool:
        """True if the machine is to be told of the first one before this event. The engine runs."""
        settings, view = self._machine.settings, self._machine.view
        if not settings.memory:
            return False
        if isinstance(event, ev.ServerKnown) and event.run != view.run:
            self._before = self._count()
            return False
        return not view.served and not isinstance(event, ev.ClientServed) and self._count() > self._before

    def _count(self) -> int:
        counters = self._engine.counters()
        return sum(counters[name] for name in _FLOWS)
