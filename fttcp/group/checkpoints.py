"""Checkpoints of a warm group: when one is made, which one counts, what a server begins with at a takeover.

The node that serves has one made, again and again; when it is complete, and no word about an older connection
can be under way any more, it tells the others. These let go of all connections that they have followed up to
then, and would begin with that one. So what a backup follows is never older than what it would begin with.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from fttcp.group.readiness import Readiness, Reason
from fttcp.ownership.model import Body, Phase, Role
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import Engine
from fttcp.server.hooks import Hooks

_SERVING = frozenset({Phase.SOLO, Phase.PAIRING, Phase.PAIRED})
_SERVES = "0"
"""What a node tells that serves, and has no complete one yet."""
_NONE = (
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

    def publish(self) -> None:
        """Say to the peers what there is to say."""


class Checkpoints:
    """Those of one group on one node."""

    def __init__(self, group: Owner, hooks: Hooks, every_s: float, grace_s: float) -> None:
        """``grace_s``: so long a word about an older connection may be under way."""
        self._group, self._hooks = group, hooks
        self._every_s, self._grace_s = every_s, grace_s
        self.told = ""
        """The last complete one of this node in this role: what the others would begin with; "": it does not
        serve."""
        self._heard = ""
        """What this node's server would begin with: the last one that another node has told."""
        self._elsewhere = False
        """Another node has served since this one did: what this one has is old."""
        self._made = 0
        self._serving = self._paired = False
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    def shown(self) -> dict[str, str]:
        """As in ``status --json``."""
        return {
            "told": "" if self.told == _SERVES else self.told,
            "heard": self._heard,
            "trouble": self._trouble,
        }

    # ------------------------------------------------------------------ the node that serves

    def look(self) -> None:
        """The role may have changed."""
        phase = self._group.machine.phase
        serving, paired = phase in _SERVING, phase is Phase.PAIRED
        began = (serving and not self._serving) or (paired and not self._paired)
        self._serving, self._paired = serving, paired
        if serving:
            self._heard, self._elsewhere = "", False
        if began or not serving:
            self.close()
        if serving and not self.told:
            self.told = _SERVES
            self._group.publish()
        if began:
            self._task = asyncio.get_running_loop().create_task(self._again_and_again())
        elif not serving and self.told:
            self.told = ""
            self._group.publish()
        self._hold(paired)

    def close(self) -> None:
        """None is made any more; a hook that runs is ended."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _again_and_again(self) -> None:
        while True:
            await self._make()
            await asyncio.sleep(self._every_s)

    async def _make(self) -> None:
        group = self._group
        self._made += 1
        name = f"{group.machine.epoch}.{self._made}"
        self._trouble = await self._hooks.why_not("checkpoint", checkpoint=name) or ""
        if self._trouble:
            group.note("checkpoint-failed", "error", why=self._trouble)
        else:
            group.engine.checkpoint(False)
            await asyncio.sleep(self._grace_s)
            group.engine.checkpoint(True)
            self.told = name
            group.publish()
            group.note("checkpoint", name=name)
        self._hold(self._paired)

    def _hold(self, paired: bool) -> None:
        reasons = []
        none = self.told == _SERVES
        if paired and (self._trouble or none):
            what = f"the hook checkpoint {self._trouble}" if self._trouble else "no checkpoint is complete"
            what += ": nothing is protected" if none else ": the backup would begin with an older one"
            reasons = [Reason("checkpoint", what, "nothing, if it passes; else see what the hook says")]
        self._group.readiness.hold("checkpoint", reasons, told=False)

    # ------------------------------------------------------------------ the others

    def hear(self, body: Body, checkpoint: str) -> None:
        """Another node says this, before the role machine hears of it."""
        if not checkpoint or body.role is not Role.PRIMARY or self._group.machine.role is Role.PRIMARY:
            return
        self._elsewhere = True
        if checkpoint != _SERVES and checkpoint != self._heard:
            self._heard = checkpoint
            self._group.engine.checkpoint(True)

    async def restore(self) -> str:
        """Before the server starts; return why it must not, or ''."""
        if not self._elsewhere:
            return ""
        if not self._heard:
            return _NONE
        wanted = self._heard
        why, output = await self._hooks.result("restore", checkpoint=wanted)
        if why is not None:
            return f"the hook restore {why}"
        said = output.strip().splitlines()[-1:]
        if said != [wanted]:
            return f"the hook restore did not say last that it has restored {wanted!r}: {said}"
        self._group.note("restored", name=wanted)
        return ""
