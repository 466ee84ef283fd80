"""Runs the chosen cases, system by system in turn, and keeps going when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lab.bench import programs
from lab.bench.rows import FTTCP, Key, Samples
from lab.bench.scenario import Block, Case, Record
from lab.bench.stage import Setup, Stage
from lab.bench.systems import SYSTEMS
from lab.errors import LabError
from lab.network import NODES


@dataclass
class Runner:
    """One run: `repeat` passes of each block; `against`: the systems beside fttcp. `say` tells people how it
    goes, `keep` is called after each block with nothing but the samples so far being worth keeping."""

    blocks: Sequence[Block]
    repeat: int
    against: Sequence[str]
    samples: Samples
    say: Callable[[str], None]
    keep: Callable[[], None]
    errors: list[str] = field(default_factory=list)
    _stages: dict[Setup, Stage] = field(default_factory=dict)
    _done: int = 0

    def run(self) -> None:
        """Measure everything; what goes wrong is in `errors`. Whatever happens, no lab is left."""
        try:
            for block in self.blocks:
                self._close_all(keep={case.setup for case in block if not case.fresh})
                for number in range(self.repeat):
                    for case, name in turns(block, self.against):
                        self._once(case, name, number)
                self.keep()
        finally:
            self._close_all(keep=set())

    def steps(self) -> int:
        """Return how many single measures there are."""
        return self.repeat * sum(len(list(turns(block, self.against))) for block in self.blocks)

    def seconds(self) -> float:
        """Return about how long all takes."""
        return self.repeat * sum(
            case.seconds for block in self.blocks for case, _ in turns(block, self.against)
        )

    def _once(self, case: Case, name: str, number: int) -> None:
        label = case.label or name
        record = Record(self.samples, case.name, label, number, [])
        self._done += 1
        absent = programs.missing((*case.needs, *SYSTEMS[name].needs))
        if absent:
            if number == 0:
                self.errors.append(f"{case.name}, {label}: {absent}")
            return
        try:
            if case.fresh:
                self._close_all(keep=set())
            stage = self._stage(case.setup)
            stage.require(SYSTEMS[name])
            stage.rate(case.mbit)
            self._measure(case, name, stage, record)
            if case.disturbs:
                stage.mend()
        except LabError as error:
            self.errors.append(f"{case.name}, {label}, pass {number + 1}: {error}")
            self.samples.note(Key(case.name, label, case.unit), f"failed: {str(error).splitlines()[0]}")
            record.said.append("failed")
            self._close(case.setup)
        words = "; ".join(record.said) or "nothing to tell"
        self.say(f"{self._done}/{self.steps()} {case.name}, {label}: {words}")

    @staticmethod
    def _measure(case: Case, name: str, stage: Stage, record: Record) -> None:
        """Measure, and note what was not as it should be meanwhile."""
        watched = name == FTTCP and not case.disturbs
        before = stage.primary() if watched else None
        marks = {node: _last_event(stage, node) for node in NODES} if watched else {}
        SYSTEMS[name].measured(case, stage, record)
        if before is None:
            return
        if stage.primary()["epoch"] != before["epoch"]:
            record.note(case.unit, "a takeover during the pass")
        for node, mark in marks.items():
            events = stage.events(node, mark)
            reasons = {event["reason"] for event in events if event["event"] == "flow-detached"}
            if reasons:
                record.note(case.unit, f"flows detached during the pass: {', '.join(sorted(reasons))}")

    def _stage(self, setup: Setup) -> Stage:
        if setup not in self._stages:
            self.say("a lab: " + ("; ".join(setup.settings) or "settings as they are by default"))
            self._stages[setup] = stage = Stage(setup)  # first, so that an interrupt finds it
            stage.open()
        return self._stages[setup]

    def _close_all(self, keep: set[Setup]) -> None:
        for setup in [setup for setup in self._stages if setup not in keep]:
            self._close(setup)

    def _close(self, setup: Setup) -> None:
        if setup in self._stages:
            self._stages.pop(setup).close()


def _last_event(stage: Stage, node: str) -> int:
    return max((int(event["number"]) for event in stage.events(node, 0)), default=0)


def turns(block: Block, against: Sequence[str]) -> Iterator[tuple[Case, str]]:
    """Yield (case, system) in the order of one pass: the systems of a case directly one after the other."""
    for case in block:
        for name in case.systems:
            if name == FTTCP or name in against:
                yield case, name
