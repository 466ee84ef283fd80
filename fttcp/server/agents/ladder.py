"""In which order resources start and stop: pure.

They start one after the other, each when those before it run; they stop in reverse. What runs already is
found by asking first. One that fails brings all down.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Act(StrEnum):
    """What is done to a resource."""

    STATUS = "status"
    START = "start"
    STOP = "stop"


class Rung(StrEnum):
    """What is known of a resource."""

    UNKNOWN = "unknown"
    STOPPED = "stopped"
    STARTED = "started"
    """Its start has succeeded; it was not looked at yet."""
    RUNNING = "running"
    FAILED = "failed"
    """It neither runs nor is it stopped, as far as is known: it has to be stopped."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next thing to do."""

    index: int
    act: Act


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a resource is after an act, and why if that was not wanted. ``absent``: it cannot run on this host,
    so it does not."""

    rung: Rung
    why: str = ""
    absent: bool = False


class Ladder:
    """The resources of one group, in the order of their start. One act is done at a time."""

    def __init__(self, count: int) -> None:
        self.rungs = [Rung.UNKNOWN] * count
        self.wanted = False
        self.broken = ""
        """Why all comes down although it is wanted; the word of the first that failed."""
        self.stuck = ""
        """Why one does not stop: nothing goes on before it does."""
        self.absent = ""
        """Why one cannot run on this host, as far as is known."""

    @property
    def any(self) -> bool:
        """One runs, or may."""
        return any(rung not in (Rung.STOPPED, Rung.UNKNOWN) for rung in self.rungs)

    @property
    def up(self) -> bool:
        """All run."""
        return not self.broken and all(rung is Rung.RUNNING for rung in self.rungs)

    @property
    def down(self) -> bool:
        """None runs."""
        return all(rung is Rung.STOPPED for rung in self.rungs)

    def want(self, wanted: bool) -> None:
        """They are to run, or not; what has failed before is forgiven."""
        self.wanted = wanted
        self.again()

    def again(self) -> None:
        """Try once more; what cannot run here is looked at again."""
        self.broken = ""
        if self.absent:
            self.absent = ""
            self.rungs = [Rung.UNKNOWN if rung is Rung.STOPPED else rung for rung in self.rungs]

    def next(self) -> Step | None:
        """Return what to do; None: all is as it is wanted, or as near to that as it can be now."""
        if Rung.UNKNOWN in self.rungs:
            return Step(self.rungs.index(Rung.UNKNOWN), Act.STATUS)
        climbs = self.wanted and not self.broken
        first = next((i for i, rung in enumerate(self.rungs) if rung is not Rung.RUNNING), None)
        if climbs and first is None:
            return None
        above = first + 1 if climbs and first is not None else 0
        for i in range(len(self.rungs) - 1, above - 1, -1):
            if self.rungs[i] is not Rung.STOPPED:
                return Step(i, Act.STOP)
        if not climbs or first is None:
            return None
        acts = {Rung.STOPPED: Act.START, Rung.STARTED: Act.STATUS}
        return Step(first, acts.get(self.rungs[first], Act.STOP))

    def done(self, step: Step, outcome: Outcome | None) -> None:
        """Take in how it went; None: it was interrupted, so nobody knows."""
        before = self.rungs[step.index]
        if outcome is None:
            self.rungs[step.index] = before if step.act is Act.STATUS else Rung.FAILED
            return
        why, absent = outcome.why or outcome.rung.value, outcome.absent and before is Rung.UNKNOWN
        fell = before in (Rung.RUNNING, Rung.STARTED) and outcome.rung is Rung.STOPPED
        if step.act is Act.STATUS and fell:
            self.rungs[step.index] = Rung.FAILED  # it may have left something: one stop is always done
        else:
            self.rungs[step.index] = Rung.STOPPED if absent else outcome.rung
        self.stuck = why if step.act is Act.STOP and outcome.rung is not Rung.STOPPED else ""
        if absent:
            self.absent = why
        found = step.act is Act.STATUS and before is Rung.UNKNOWN and not absent
        failed = step.act is not Act.STOP and not found and outcome.rung not in (Rung.RUNNING, Rung.STARTED)
        if failed or (self.stuck and self.wanted):
            self.broken = self.broken or why
