"""A group's server that is kept in step by its calls (`lockstep = "calls"`).

Each of its lives begins with a log of its own, as leader or as follower. People are told how far that is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from fttcp._numbers import CallsFamily
from fttcp.config import Config, GroupSection
from fttcp.group.hearing import Hearing
from fttcp.group.lives import Life, Part, Situation, begins_anew, part_of_next
from fttcp.group.readiness import Readiness, Reason
from fttcp.group.saying import Saying
from fttcp.group.serving import Serving
from fttcp.ownership.model import Mode, Role
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import CallsNews, CallsPart, CallsShown, CallsState, Engine, EngineEvent
from fttcp.planes.error import EngineError
from fttcp.server import calls
from fttcp.server.launch import LaunchError

THROUGH = tuple(calls.AS_ONE.split())
"""What executes the servers."""
_FAMILIES = calls.ALL & ~CallsFamily.LOCKS
"""A follower that joined late was seen to take another lock than its leader: their order is left alone."""
_SUFFIX = ".calls"
_ENDED = frozenset({CallsState.BROKEN, CallsState.ALONE})
_FIGURES = ("log_bytes", "retained", "sent", "held", "behind", "waits")
_PARTS = {Part.LEADER: CallsPart.LEADS, Part.FOLLOWER: CallsPart.FOLLOWS}


class Kept(Protocol):
    """The group, as far as its server's calls go; see ``GroupRuntime``."""

    name: str
    machine: PairMachine
    engine: Engine
    serving: Serving
    readiness: Readiness

    @property
    def fenced(self) -> bool: ...

    def note(self, kind: str, level: str = "info", **fields: Any) -> None: ...


class Calls:
    """What one group knows of its server's lives; of one whose calls are not followed it knows nothing."""

    def __init__(self, group: Kept, hearing: Hearing, saying: Saying) -> None:
        self._group, self._hearing, self._saying = group, hearing, saying
        self.patience_ms = 0
        """So long a leader waits for room in its log."""
        self._file: Path | None = None
        self._life: Life | None = None
        self._shown = CallsShown()

    def use(self, file: Path) -> None:
        """The calls are followed, by logs at this place."""
        self._file = file

    # ------------------------------------------------------------------ lives

    @property
    def follows(self) -> bool:
        """Whether the server does what another one has done, and nothing else."""
        return self._life is not None and self._life.part is Part.FOLLOWER and not self._life.ended

    async def begin(self) -> Mapping[str, str]:
        """The server is about to start: return what its environment needs. Raises LaunchError."""
        if self._file is None:
            return {}
        if self._group.fenced:
            raise LaunchError("the group cannot go on here: see the event `fenced`")
        now = self._situation()
        part = part_of_next(now)
        self._life, self._shown = None, CallsShown()
        try:
            await asyncio.to_thread(self._make, self._file)
            if self._group.fenced:  # meanwhile
                raise LaunchError("the group has ended")
            self._group.engine.calls(self._file, _PARTS[part])
        except (OSError, EngineError) as error:
            raise LaunchError(str(error)) from error
        self._life = Life(part, now.run)
        self.look()
        return calls.environment(self._file, part.value)

    def _make(self, file: Path) -> None:
        file.unlink(missing_ok=True)  # whoever has it mapped keeps it
        calls.make(file, self.patience_ms, _FAMILIES)

    def listens(self) -> None:
        """The server listens on its ports: it can be told what clients have said."""
        if self._life is not None and not self._group.fenced:
            self._group.engine.calls_listens()

    def close(self) -> None:
        """The engine is about to close, and the server to end: what is in the log is nobody's business."""
        if self._file is not None:
            with suppress(OSError):  # then the daemon's next start removes it
                self._file.unlink(missing_ok=True)

    def _situation(self) -> Situation:
        machine = self._group.machine
        owner = machine.view.owner()
        said = None if owner is None else owner.said
        if owner is None or said is None:
            return Situation(machine.phase)
        stays = owner.alive and said.mode is not Mode.HANDOVER
        return Situation(machine.phase, stays, said.run, self._hearing.aside(owner.name).leads)

    # ------------------------------------------------------------------ what happens to them

    def look(self) -> None:
        """See how far it is: tell nodes and people, and have the server begin anew if that helps."""
        life = self._life
        if life is None or self._group.fenced:
            return
        shown, now = self._group.engine.calls_shown(), self._situation()
        given = life.given or (life.part is Part.FOLLOWER and shown.log_bytes > 0)
        ended = CallsState(shown.state) in _ENDED
        life = replace(life, given=given, ended=ended, of=life.of if given else now.run)
        self._life, self._shown = life, shown
        leads = shown.state == CallsState.LEADS
        if leads is not self._saying.leads:
            self._saying.leads = leads
            self._saying.again()
        self._group.readiness.hold("calls", self._reasons(), told=False)
        if begins_anew(life, now):
            self._life = None
            self._group.serving.restart(failed=life.ended)

    def take(self, event: EngineEvent) -> None:
        """The engine tells something of them: tell people."""
        self.look()
        todo = _todo(self._group.name)
        match CallsNews(event.value):
            case CallsNews.CAUGHT_UP:
                self._group.note("calls-in-step", bytes=self._shown.log_bytes)
            case CallsNews.BROKEN:
                self._group.note("calls-broken", "warning", **self._broken())
            case CallsNews.TOO_LONG:
                self._group.note("calls-cut", "warning", on=self._whose(bool(event.reason)), todo=todo)
            case CallsNews.ALONE:
                self._group.note("calls-alone", "warning", todo=todo)

    def _reasons(self) -> Iterator[Reason]:
        """Why a takeover would end connections."""
        machine, state = self._group.machine, CallsState(self._shown.state)
        todo = _todo(self._group.name)
        match machine.role, state:
            case Role.PRIMARY, CallsState.CUT:
                what = "the log of the server's calls is longer than limits.calls_bytes: none can join it"
                yield Reason("calls-cut", what, todo)
            case Role.PRIMARY, CallsState.BROKEN:
                what = (
                    "the server's calls cannot be followed any more: `fttcp status` has the one that ended it"
                )
                yield Reason("calls-broken", what, todo)
            case Role.PRIMARY, CallsState.ALONE:
                what = "the server followed one that is gone, and goes on by itself: no other can follow it"
                yield Reason("calls-alone", what, todo)
            case Role.BACKUP, _ if state is not CallsState.CAUGHT_UP:
                what = "this node's server has not done all that the primary's has"
                yield Reason(
                    "calls-behind", what, "nothing, if it passes; else `fttcp status` on the primary"
                )

    # ------------------------------------------------------------------ what people see

    def _whose(self, theirs: bool) -> str:
        machine = self._group.machine
        partner = "" if machine.partner is None else machine.partner.name
        return partner if theirs else machine.settings.name

    def _broken(self) -> dict[str, Any]:
        """Return where the log broke: at the first call that was not followed, on whose node."""
        shown = self._shown
        where = calls.broken(shown.why, shown.made, shown.said, shown.pid, shown.thread, shown.number)
        return {"on": self._whose(bool(shown.theirs)), "program": shown.program} | where

    def shown(self) -> dict[str, Any]:
        """As in ``status --json``: docs/status.md tells the fields."""
        file, life = self._file, self._life
        if file is None:
            return {}
        shown, state = self._shown, CallsState(self._shown.state)
        told: dict[str, Any] = {
            "file": str(file),
            "library": str(calls.LIBRARY),
            "part": "none" if life is None else life.part.value,
            "state": state.name.lower().replace("_", "-"),
            "in_step": bool(shown.in_step),
            **{name: getattr(shown, name) for name in _FIGURES},
            "waited_us": shown.waited_ns // 1000,
            "broken": self._broken() if state is CallsState.BROKEN else None,
        }
        return {"calls": told}


def _todo(group: str) -> str:
    return f"`fttcp switchover {group}`: connections end, and the backup's server leads from then on"


def remove_left(config: Config) -> None:
    """Remove the logs that a daemon has left which was killed: its servers have ended. Raises OSError."""
    for file in config.run_dir.glob(f"*{_SUFFIX}"):
        file.unlink(missing_ok=True)


def place(config: Config, section: GroupSection) -> Path | None:
    """Return where the log of a group is; None if its servers' calls are not followed."""
    return config.run_dir / f"{section.name}{_SUFFIX}" if section.lockstep == "calls" else None
