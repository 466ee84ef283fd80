"""What follows when one of the server's workers is killed, and the server lives on.

The kernel ends the connections of a process that dies. The engine holds such an end as long as the other
node's server does not end the same connection (timing.end_grace_ms). If there is one that it holds, the
other node carries on what this one has lost: it is asked to take over. Not for one that both servers have
lost, as by input that kills each of them.
"""

from __future__ import annotations

import asyncio

from fttcp.group.group import GroupRuntime
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import Phase, Role

WAIT_S = 0.02
"""For the other node's server, and for this one's main process, which may be dying, too."""


class WorkerDeath:
    """Of one group."""

    def __init__(self, group: GroupRuntime) -> None:
        self._group = group
        self._waits = False

    def crashed(self, why: str) -> None:
        """A worker was killed; of several at once the first one is told."""
        if not self._waits:
            self._waits = True
            wait_s = min(WAIT_S, self._group.end_grace_ns / 4e9)
            asyncio.get_running_loop().call_later(wait_s, self._conclude, why)

    def _conclude(self, why: str) -> None:
        self._waits = False
        group = self._group
        if group.finished.is_set() or not group.machine.view.vouched:
            return  # the whole server has died
        group.note("worker-died", "warning", reason=f"{why}; {self._follows()}")

    def _follows(self) -> str:
        """Tell the role machine, and return what it makes of that."""
        group = self._group
        role, held = group.machine.role, group.engine.status().ends_held
        commands = group.feed(ev.WorkerDied(held))
        if role is not Role.PRIMARY:
            return "the connections that it had here are not followed any more"
        if not held:
            return "no connection ends that the other node carries on"
        machine = group.machine
        leaves = machine.settings.saves_workers and machine.switchover_wanted
        if leaves or machine.phase is Phase.HANDOVER:
            return f"the other node takes over, and carries on what was lost here; connections: {held}"
        why = [f", since {group.why_not(one.reason)}" for one in commands if isinstance(one, do.Refuse)]
        return f"connections that end: {held}" + "".join(why)
