"""Requests whose replies are stored: whether retries are safe, here and after a takeover."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fttcp.group.engine_events import stored_told, why_behind, why_not_stored
from fttcp.group.hearing import Hearing
from fttcp.group.readiness import Hinders, Readiness, Reason
from fttcp.group.saying import Saying
from fttcp.ownership.model import EngineMode, Role
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import Engine, EngineEvent, StoredNews, StoredSettings
from fttcp.server.verdict import Note

_RISK = "after a takeover a retry may be executed again"


class StoredReplies:
    """What one group knows of that; of a group that stores none it knows nothing."""

    def __init__(
        self,
        machine: PairMachine,
        engine: Engine,
        hearing: Hearing,
        saying: Saying,
        readiness: Readiness,
        note: Note,
    ) -> None:
        self._machine, self._engine, self._hearing, self._saying = machine, engine, hearing, saying
        self._readiness, self._note = readiness, note
        self._settings: StoredSettings | None = None
        self._unread = ""
        self._owner = ""
        """Who served last, beside this node."""
        self.read = asyncio.Event()
        """Set once the engine has read what is stored, if it has to: it may start."""

    def use(self, settings: StoredSettings | None) -> None:
        """Go by these settings; None: the group stores no replies."""
        self._settings = settings
        if settings is None:
            self.read.set()

    def take(self, event: EngineEvent) -> bool:
        """The engine told something of them; return whether it is a reason to ask whether this node
        ``leaves``."""
        if event.reason == StoredNews.READ:
            self.read.set()
        elif event.reason == StoredNews.UNREAD:
            _, told = stored_told(event)
            self._unread = ": ".join(told[key] for key in ("file", "why") if key in told)
        self.look()
        return event.reason in (StoredNews.TROUBLE, StoredNews.IN_STEP) and self.leaves()

    def leaves(self) -> bool:
        """Return whether the role is to go to the backup, which can store, and has stored all; this node
        cannot. It may be refused: so it is asked now and then."""
        machine, settings = self._machine, self._settings
        if (
            settings is None
            or settings.go_on
            or machine.role is not Role.PRIMARY
            or machine.switchover_wanted
        ):
            return False
        status = self._engine.status()
        follows = status.mode == EngineMode.PAIRED and bool(status.stored_in_step)
        return bool(status.stored_trouble) and follows and not status.stored_peer_trouble

    def look(self) -> None:
        """See what there is to tell people, and the other nodes."""
        if self._settings is None:
            return
        owner = self._machine.view.owner()
        self._owner = self._owner if owner is None else owner.name
        self._readiness.hold("stored", self._reasons(self._settings), told=False)
        status = self._engine.status()
        behind = status.mode == EngineMode.PAIRED and not status.stored_in_step
        if behind != self._saying.stored_behind:
            self._saying.stored_behind = behind
            self._saying.again()

    def taken_over(self) -> None:
        """This node serves now: tell what it is known to lack."""
        if self._settings is not None and self._hearing.aside(self._owner).stored_behind:
            self._note("stored", "warning", what="lacks", why=f"{self._owner} was ahead: {_RISK}")

    def _reasons(self, settings: StoredSettings) -> Iterator[Reason]:
        if not self.read.is_set():
            why = f"cannot be read: {self._unread}" if self._unread else "is being read"
            todo = f"nothing, if it passes; else see {settings.dir}, it is tried again each second"
            yield Reason("stored-unread", f"what is stored {why}", todo, Hinders.SERVICE)
            return
        status, primary = self._engine.status(), self._machine.role is Role.PRIMARY
        if status.stored_trouble:
            yield Reason(
                "stored-disk",
                f"no request can be stored here: {why_not_stored(status.stored_trouble)}",
                f"make room on the file system of {settings.dir}, or mend it; it is tried again each second",
                Hinders.SERVICE if primary and not settings.go_on else Hinders.BACKUP,
            )
        if status.mode == EngineMode.PAIRED and not status.stored_in_step:
            why = why_behind(status.stored_lag, status.stored_peer_trouble)
            what = f"the backup has not stored all requests ({why}): {_RISK}"
            yield Reason("stored-behind", what, "nothing, if it passes; else `fttcp status` there")
        elif self._machine.in_step and not primary and self._hearing.aside(self._owner).stored_behind:
            what = f"{self._owner} says that this node has not stored all requests: {_RISK}"
            todo = f"nothing, if it passes; else `fttcp status` on {self._owner}"
            yield Reason("stored-behind", what, todo)
