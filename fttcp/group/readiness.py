"""Why a group is not ready on this node: one list, to which each part of a node adds what it finds.

A part tells under its own name all that is wrong now, as often as it likes: `hold("routes", [Reason(...)])`.
What it told before and does not tell now is over. `status`, `/health/ready`, and the metrics show the list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fttcp.server.verdict import Note


class Hinders(StrEnum):
    """What a node cannot do for a reason."""

    SERVICE = "service"
    """Serve: it is no good as a primary either."""
    BACKUP = "backup"
    """Stand by, or have one that does: a primary goes on, and is ready as long as it serves."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a group is not ready. A part has one for each ``why`` at most."""

    why: str
    """A word for programs, which never changes."""
    what: str
    """A sentence for people: what is the case."""
    todo: str
    """And what they are to do about it."""
    hinders: Hinders = Hinders.BACKUP


class Readiness:
    """The reasons of one group, with the time since when each holds."""

    def __init__(self, note: Note) -> None:
        """``note`` tells people what comes and goes."""
        self._note = note
        self._held: dict[tuple[str, str], tuple[Reason, datetime]] = {}

    def hold(self, source: str, reasons: Iterable[Reason], told: bool = True) -> None:
        """Take all reasons that a part of the node has now. ``told``: one that comes, goes, or has another
        sentence is an event; not so where another event says it already."""
        now = {reason.why: reason for reason in reasons}
        over = [key for key in self._held if key[0] == source and key[1] not in now]
        for key in over:
            reason, _ = self._held.pop(key)
            if told:
                self._note("ready-again", "info", reason=reason.why)
        for why, reason in now.items():
            known = self._held.get((source, why))
            self._held[source, why] = (reason, datetime.now(UTC) if known is None else known[1])
            if told and (known is None or known[0].what != reason.what):
                self._note("not-ready", "warning", reason=why, why=reason.what, todo=reason.todo)

    def has(self, why: str) -> bool:
        """True while that is a reason."""
        return any(key[1] == why for key in self._held)

    def shown(self) -> list[dict[str, Any]]:
        """The list as in ``status --json``, what holds longest first."""
        return [
            {
                "why": reason.why,
                "what": reason.what,
                "todo": reason.todo,
                "hinders": reason.hinders.value,
                "since": since.isoformat(timespec="milliseconds"),
            }
            for reason, since in sorted(self._held.values(), key=lambda held: held[1])
        ]
