"""What a group does and tells behind its orders to the engine: log, routes, restarts, the disk."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fttcp.group.calls import Calls
from fttcp.group.claims import Claims
from fttcp.group.common import Common
from fttcp.group.engine_events import described
from fttcp.group.hearing import Hearing
from fttcp.group.kept import Kept
from fttcp.group.serving import Serving
from fttcp.group.shown import shown_first, unfit_shown
from fttcp.group.stored import StoredReplies
from fttcp.group.takeovers import Takeovers
from fttcp.ownership import commands as do
from fttcp.ownership.model import Cause, Mode, Phase, Role
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import EngineEvent, EventKind
from fttcp.server.server import Caretaker


@dataclass(frozen=True, slots=True)
class Moved:
    """The machine went from one phase to another."""

    was: Phase
    role: Role
    mode: Mode
    epoch: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class Stepped:
    """This node got in step with another one, or is no longer."""

    peer: str
    in_step: bool


@dataclass(frozen=True, slots=True)
class Unfit:
    """Other nodes than before wait, and are not made the backup of this primary."""

    why: dict[str, str]


Item = do.Command | EngineEvent | Moved | Stepped | Unfit


class Told(Protocol):
    """The group, as far as it has to do with what comes late; see ``GroupRuntime``."""

    machine: PairMachine
    common: Common
    server: Caretaker | None
    serving: Serving
    stored: StoredReplies
    calls: Calls
    finished: asyncio.Event

    def note(self, kind: str, level: str = "info", **fields: Any) -> None: ...

    def why_not(self, refusal: str) -> str: ...

    def publish(self) -> None: ...

    def look(self) -> None: ...


class Late:
    """Carries it out behind all that is urgent on this node, in the order of what happened."""

    def __init__(
        self,
        group: Told,
        hearing: Hearing,
        claims: Claims,
        takeovers: Takeovers,
        shape_routes: Callable[[bool], None],
        mirror_to: Callable[[int], None],
        keep_maintenance: Callable[[int], None],
    ) -> None:
        """The last three: see ``GroupRuntime``."""
        self._group, self._hearing, self._claims, self._takeovers = group, hearing, claims, takeovers
        self._shape_routes, self._mirror_to = shape_routes, mirror_to
        self._maintenance = Kept(keep_maintenance, self._not_kept)
        self._keeping: set[asyncio.Task[int]] = set()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Item] = deque()
        self._coming = False
        self._phase = group.machine.phase
        self._in_step = self._paused = False
        self._unfit: dict[str, str] = {}

    def put(self, *items: Item) -> None:
        """Do this later, and look afterwards what the group waits for."""
        self._waiting.extend(items)
        if not self._coming:
            self._coming = True
            self._group.common.behind.put(self._do)

    def compare(self) -> None:
        """See what the last event has changed in the machine, and tell it later."""
        machine = self._group.machine
        if machine.phase is not self._phase:
            self.put(Moved(self._phase, machine.role, machine.mode, machine.epoch, machine.reason))
            self._phase = machine.phase
        unfit = unfit_shown(machine)
        if unfit != self._unfit:
            self._unfit = unfit
            self.put(Unfit(unfit))
        if machine.in_step is not self._in_step:
            self._in_step = machine.in_step
            self.put(Stepped(shown_first(machine).name, self._in_step))

    def _do(self) -> None:
        try:
            while self._waiting:
                self._carry_out(self._waiting.popleft())
        finally:
            self._coming = False
            if self._waiting:  # one of them failed: the others are not to suffer from it
                self.put()
        self._group.look()

    def _carry_out(self, item: Item) -> None:
        group = self._group
        match item:
            case Moved(was=was, role=role, mode=mode, epoch=epoch, cause=cause):
                group.note("role", role=role, mode=mode, epoch=epoch, was=was)
                if group.server is not None:
                    group.server.role_changed(role, epoch, cause)
            case Stepped(peer=peer, in_step=True):
                group.note("in-step", peer=peer)
            case Stepped(peer=peer):
                group.note("out-of-step", "warning", peer=peer)
            case Unfit(why=why_of):
                for name, why in why_of.items():
                    group.note("not-followed", "warning", peer=name, why=why)
            case do.MirrorTo(peer=peer):
                self._mirror_to(peer)
            case do.NoteTakeover(cause=cause, epoch=epoch):
                group.note("takeover", "warning", cause=cause, epoch=epoch)
                group.stored.taken_over()
            case do.ShapeRoutes(backup=backup):
                self._shape_routes(backup)
            case do.RestartServer():
                group.serving.restart()
            case do.Promote():
                group.serving.promote(item)
            case do.KeepMaintenance(count=count):
                self._keep(count)
            case do.Refuse(reason=reason):
                group.note("refused", "warning", why=group.why_not(reason))
            case do.Finish():
                group.finished.set()
            case do.Fence(why=why):
                group.note("fenced", "error", why=why)
                if group.machine.settings.exclusive and group.server is not None:
                    group.server.rest()
            case EngineEvent():
                self._tell(item)

    def _keep(self, count: int) -> None:
        """Store the count of pauses and resumes, and tell if it means a change."""
        group = self._group
        task = self._loop.create_task(self._maintenance.store(count))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        if group.machine.paused != self._paused:
            self._paused = group.machine.paused
            group.note("paused" if self._paused else "resumed", "warning")

    def _not_kept(self, why: str) -> None:
        if why:
            self._group.note("maintenance-not-kept", "error", why=why)

    def _tell(self, event: EngineEvent) -> None:
        """Note an engine's event for people."""
        group = self._group
        if event.kind is EventKind.INTRUSION:
            self._hearing.met(event)
            if event.reason:
                return  # another group of this node tells of it
        if event.kind is EventKind.CLAIMED:
            self._claims.heard(event, self._claims.missing(len(group.machine.view.peers)))
            return
        if event.kind is EventKind.MAC_CHANGED:
            self._claims.moved(event)
            group.publish()
            return
        if event.kind is EventKind.CALLS:
            group.calls.take(event)
            return
        step = self._takeovers.note(event)
        if event.kind is EventKind.MIRROR_SEEN or (event.kind is EventKind.ANNOUNCED and not step):
            return  # the latter: a later round of the same announcement
        if event.kind is EventKind.TAKEOVER_DONE and step:
            group.note("takeover-done", **step.shown())
            return
        level, fields = described(event, group.machine.settings.peers)
        group.note(event.kind.name.lower().replace("_", "-"), level, **fields)
