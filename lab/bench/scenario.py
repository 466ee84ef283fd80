"""What a scenario is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from lab.bench.rows import NATIVE, Key, Samples
from lab.bench.stage import Setup, Stage


@dataclass(frozen=True)
class Record:
    """Where the measure of one system in one pass leaves what it found."""

    samples: Samples
    scenario: str
    system: str
    number: int
    said: list[str]

    def add(self, unit: str, value: float, what: str = "") -> None:
        """Add a sample; `what` tells several of one measure apart."""
        self.samples.add(self._key(unit, what), self.number, value)
        self.said.append(
            f"{what} {value:,.3g} {unit}".strip() if value < 1000 else f"{what} {value:,.0f} {unit}".strip()
        )

    def pool(self, scenario: str, unit: str, value: float) -> None:
        """Add a sample to another scenario, in which those of many cases come together."""
        self.samples.append(Key(scenario, self.system, unit), value)

    def note(self, unit: str, text: str, what: str = "") -> None:
        """Tell what a reader must know of this pass."""
        self.samples.note(self._key(unit, what), text)
        self.said.append(text)

    def aside(self) -> Record:
        """Return another record of the same measure, of which nothing counts by itself."""
        return replace(self, samples=Samples(), said=[])

    def add_mean(self, one: Record, other: Record) -> None:
        """Add the mean of what two records aside have found."""
        found, too = (record.samples.of_pass(self.number) for record in (one, other))
        for key in (key for key in found if key in too):
            what = key.scenario.removeprefix(self.scenario).removeprefix(".")
            self.add(key.unit, (found[key] + too[key]) / 2, what)

    def _key(self, unit: str, what: str) -> Key:
        return Key(f"{self.scenario}.{what}" if what else self.scenario, self.system, unit)


class System:
    """The plain server: its host's own address. `needs`: programs; `reaches`: most flows at once, or None."""

    name = NATIVE
    needs: tuple[str, ...] = ()

    def prepare(self, stage: Stage) -> None:
        """Make it serve, in a lab that has just come up."""

    def mend(self, stage: Stage) -> None:
        """Make it serve again, after the hosts that were down have been made anew."""

    def address(self, stage: Stage) -> str:
        """Return where the client finds it."""
        return stage.address(self.serving(stage))

    def serving(self, stage: Stage) -> str:
        """Return the node whose server answers now."""
        return str(stage.primary()["node"])

    def most_flows(self) -> int | None:
        """Return how many flows it can have at once here; None when nothing is known to limit it."""
        return None

    def measured(self, case: Case, stage: Stage, record: Record) -> None:
        """Measure `case` once; raises LabError."""
        case.measure(stage, self, record)


Measure = Callable[[Stage, System, Record], None]


@dataclass(frozen=True)
class Case:
    """One thing to measure, of several systems, pass by pass in turn.

    `name`: the scenario and what is special, dotted. `unit`: of its main figure, for notes. `seconds`: how
    long one system takes in one pass, about. `short`: part of the short set. `label`: stands for the system's
    name in the rows. `disturbs`: the lab must be mended afterwards, and a takeover is no surprise. `fresh`:
    it needs a lab that nothing else has used. `mbit`: how the client's cable is shaped. `needs`: programs.
    """

    name: str
    setup: Setup
    systems: tuple[str, ...]
    measure: Measure
    unit: str
    seconds: float
    short: bool = False
    label: str = ""
    disturbs: bool = False
    fresh: bool = False
    mbit: float | None = None
    needs: tuple[str, ...] = ()


Block = tuple[Case, ...]
"""Cases that take turns within each pass; their labs are up at the same time."""


@dataclass(frozen=True)
class Scenario:
    """A family of cases: one table of the results."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def chosen(block: Block, patterns: tuple[str, ...], short: bool) -> Block:
    """Return the cases of `block` that one of the `patterns` names (all without patterns): a scenario, the
    first words of a case, or a pattern with *; with `short` only those of the short set."""
    return tuple(
        case
        for case in block
        if (case.short or not short) and (not patterns or any(matches(case.name, p) for p in patterns))
    )


def matches(name: str, pattern: str) -> bool:
    """Whether `pattern` names the case `name`."""
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")
