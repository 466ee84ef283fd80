"""Runs the hooks of a warm group, as its role machine wants: ``checkpoint`` and ``restore``."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from fttcp.group.readiness import Readiness, Reason
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.checkpoints import NONE_YET
from fttcp.ownership.model import Phase
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import Engine
from fttcp.server.hooks import Hooks

_LOST = (
    "another node has served, and none of its checkpoints is known here; "
    "to serve with what this node has, restart its daemon"
)


class Owner(Protocol):
    """What a group is for its checkpoints."""

    machine: PairMachine
    engine: Engine
    readiness: Readiness

    def note(self, kind: str, level: str = "info", **fields: Any) -> None:
        """Tell people."""

    def feed(self, event: ev.Event) -> object:
        """Tell the role machine."""


class Checkpoints:
    """Those of one group on one node."""

    def __init__(self, group: Owner, hooks: Hooks, grace_s: float) -> None:
        """``grace_s``: so long a word about an older connection may be under way."""
        self._group, self._hooks, self._grace_s = group, hooks, grace_s
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    def shown(self) -> dict[str, str]:
        """As in ``status --json``."""
        known = self._group.machine.checkpoints
        return {
            "told": "" if known.told == NONE_YET else known.told,
            "heard": known.heard,
            "trouble": self._trouble,
        }

    def make(self, name: str) -> None:
        """``MakeCheckpoint``: ``CheckpointEnded`` follows, if no ``EndCheckpoint`` comes before."""
        self.close()
        self._task = asyncio.get_running_loop().create_task(self._make(name))

    def close(self) -> None:
        """A hook that runs is ended."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _make(self, name: str) -> None:
        group = self._group
        self._trouble = await self._hooks.why_not("checkpoint", checkpoint=name) or ""
        if self._trouble:
            group.note("checkpoint-failed", "error", why=self._trouble)
        else:
            group.engine.checkpoint(False)
            await asyncio.sleep(self._grace_s)
            group.engine.checkpoint(True)
            group.note("checkpoint", name=name)
        self._task = None
        group.feed(ev.CheckpointEnded(name, not self._trouble))

    def look(self) -> None:
        """Tell what a backup would lack now."""
        machine, reasons = self._group.machine, []
        none = machine.checkpoints.told == NONE_YET
        if machine.phase is Phase.PAIRED and (self._trouble or none):
            what = f"the hook checkpoint {self._trouble}" if self._trouble else "no checkpoint is complete"
            what += ": nothing is protected" if none else ": the backup would begin with an older one"
            reasons = [Reason("checkpoint", what, "nothing, if it passes; else see what the hook says")]
        self._group.readiness.hold("checkpoint", reasons, told=False)

    async def restore(self, wanted: do.Promote) -> str:
        """Before the server starts; return why it must not, or ''."""
        name = wanted.checkpoint
        if wanted.lost:
            return _LOST
        if not name:
            return ""
        why, output = await self._hooks.result("restore", checkpoint=name)
        if why is not None:
            return f"the hook restore {why}"
        said = output.strip().splitlines()[-1:]
        if said != [name]:
            return f"the hook restore did not say last that it has restored {name!r}: {said}"
        self._group.note("restored", name=name)
        return ""
