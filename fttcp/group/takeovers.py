"""The takeovers of a group, each with the time of its steps."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from fttcp.ownership.commands import NoteTakeover
from fttcp.ownership.model import NS_PER_MS
from fttcp.planes.base import EngineEvent, EventKind

_STEPS = {
    EventKind.GATE_OPEN: "gate_ns",
    EventKind.ANNOUNCED: "announced_ns",
    EventKind.TAKEOVER_DONE: "done_ns",
}


@dataclass(slots=True)
class Takeover:
    """Monotonic times of the steps; None while a step has not happened."""

    record: NoteTakeover
    gate_ns: int | None = None
    announced_ns: int | None = None
    done_ns: int | None = None
    flows: int = 0

    def shown(self) -> dict[str, Any]:
        """Return it for ``status``: milliseconds since the zero of its cause."""
        record = self.record
        return {
            "cause": record.cause.value,
            "epoch": record.epoch,
            "detected_ms": self._since(record.detected_ns),
            "gate_ms": self._since(self.gate_ns),
            "announced_ms": self._since(self.announced_ns),
            "done_ms": self._since(self.done_ns),
            "flows": self.flows,
        }

    def _since(self, when_ns: int | None) -> float | None:
        return None if when_ns is None else round((when_ns - self.record.zero_ns) / NS_PER_MS, 3)


class Takeovers:
    """The last takeovers in which this node became the owner."""

    def __init__(self, keep: int = 50) -> None:
        self._all: deque[Takeover] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        """Takeovers by cause, since the start."""

    def begin(self, record: NoteTakeover) -> None:
        """Note a new takeover; the engine's steps that follow belong to it."""
        self._all.append(Takeover(record))
        self.counts[record.cause.value] += 1

    def note(self, event: EngineEvent) -> Takeover | None:
        """Put a step of the engine to the last takeover; return that, or None if it is no new step."""
        step = _STEPS.get(event.kind)
        if step is None or not self._all or getattr(self._all[-1], step) is not None:
            return None
        last = self._all[-1]
        setattr(last, step, event.when_ns)
        if event.kind is EventKind.TAKEOVER_DONE:
            last.flows = event.value
        return last

    def shown(self) -> list[dict[str, Any]]:
        """Return all, oldest first, for ``status``."""
        return [takeover.shown() for takeover in self._all]
