"""What each check says of a server, and the one verdict that follows: pure.

A check is ``ok``, ``failing`` (wrong, but not often enough yet), ``warning`` or ``failed``. The server is
healthy while it serves and no check has failed. Every state comes with a sentence for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fttcp.ownership.model import Cause

OnChange = Callable[[bool, Cause, str, bool], None]
"""(healthy, cause of a failure, a sentence for people, whether a server that is not healthy serves all the
same until another one does)"""
Note = Callable[..., None]
"""note(event, level, **fields): tell people."""


class State(StrEnum):
    """What a check says."""

    WAITING = "waiting"
    """Nothing is known yet."""
    OK = "ok"
    FAILING = "failing"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(slots=True)
class Check:
    """One check. ``cause`` is what a failure counts as; ``last`` what was seen last."""

    name: str
    kind: str
    action: str
    cause: Cause
    state: State = State.WAITING
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    reason: str = "no result yet"
    failures: int = 0
    """How often it turned from something better to a warning or a failure."""
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def spares(self) -> bool:
        """A server that fails in this serves all the same until another one does."""
        return self.cause is Cause.RESOURCES_EXHAUSTED and self.action == "failover"

    def shown(self) -> dict[str, Any]:
        """As in ``status --json``."""
        return {
            "name": self.name,
            "kind": self.kind,
            "action": self.action,
            "state": self.state.value,
            "since": self.since.isoformat(timespec="milliseconds"),
            "reason": self.reason,
            "failures": self.failures,
            "last": self.last,
        }


class Verdict:
    """All checks of one group's server."""

    def __init__(self, on_change: OnChange, note: Note, restart: Callable[[], None]) -> None:
        """``on_change`` is called for every change of health, or of whether it serves without, within ``say``
        or ``serve``; ``restart`` after that when a check failed whose action it is."""
        self._on_change, self._note, self._restart = on_change, note, restart
        self._checks: dict[str, Check] = {}
        self._serving = False
        self._serving_reason, self._serving_cause = "not started", Cause.SERVER_DIED
        self.healthy = False
        self.serves = False
        """It is not healthy, and serves all the same."""
        self.since = datetime.now(UTC)
        self.reason = "not started"
        self.closed = False
        self._changing = False

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Checks come, go and begin: what follows is judged when all that is done, and not in between."""
        self._changing = True
        try:
            yield
        finally:
            self._changing = False
        self._judge()

    def add(self, check: Check) -> Check:
        """Have a check taken into account."""
        self._checks[check.name] = check
        return check

    def remove(self, check: Check) -> None:
        """Forget a check; what it said counts no more."""
        del self._checks[check.name]
        self._judge()

    def shown(self) -> list[dict[str, Any]]:
        """The checks as in ``status --json``."""
        return [check.shown() for check in self._checks.values()]

    def serve(self, serving: bool, cause: Cause, reason: str) -> None:
        """The servers run and listen, or do not."""
        self._serving, self._serving_cause, self._serving_reason = serving, cause, reason
        self._judge()

    def say(self, check: Check, state: State, reason: str, **last: Any) -> None:
        """A check says this now. ``failed`` counts as a warning when its action is no more than that."""
        if state is State.FAILED and check.action in ("warn", "ignore"):
            state = State.WARNING
        before, check.reason = check.state, reason
        if last:
            check.last = last
        if state is before:
            self._judge()
            return
        check.state, check.since = state, datetime.now(UTC)
        check.failures += state in (State.WARNING, State.FAILED)
        if state is State.WARNING and check.action == "warn":
            self._note("health-warning", "warning", check=check.name, reason=reason)
        elif before is State.WARNING and state is State.OK and check.action == "warn":
            self._note("health-warning-over", "info", check=check.name, reason=reason)
        self._judge()
        if state is State.FAILED and check.action == "restart":
            self._restart()

    def _judge(self) -> None:
        if self._changing:
            return
        checks = self._checks.values()
        failed = [c for c in checks if c.state is State.FAILED]
        unknown = [c for c in checks if c.state is State.WAITING and c.kind in PROBES]
        unknown = [c for c in unknown if c.action in ("failover", "restart")]
        wrong = min(failed + unknown, key=lambda check: check.spares, default=None)
        healthy, cause, self.reason = self._serving, self._serving_cause, self._serving_reason
        serves = healthy and wrong is not None and wrong.spares
        if healthy and wrong is not None:
            healthy, cause, self.reason = False, wrong.cause, f"{wrong.name}: {wrong.reason}"
        if (healthy, serves) != (self.healthy, self.serves) and not self.closed:
            self.healthy, self.since, self.serves = healthy, datetime.now(UTC), serves
            self._on_change(healthy, cause, self.reason, serves)


PROBES = frozenset({"tcp", "http", "udp", "exec"})
"""The kinds of checks that must have succeeded once before a server counts as healthy."""


@dataclass(slots=True)
class Thresholds:
    """Counts results in a row: up after ``rise`` good ones, down after ``fall`` bad ones.

    The first good result of all is believed at once; bad ones before it mean that the server is not up yet.
    """

    rise: int
    fall: int
    up: bool | None = None
    streak: int = 0
    """Results in a row that contradict ``up``."""

    def take(self, good: bool) -> bool | None:
        """Take a result in; return whether it is up now, None while that is unknown."""
        if self.up is None:
            self.up = True if good else None
        elif good == self.up:
            self.streak = 0
        else:
            self.streak += 1
            if self.streak >= (self.rise if good else self.fall):
                self.up, self.streak = good, 0
        return self.up
