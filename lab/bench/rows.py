"""From samples to rows: the statistics of the bench. Nothing here measures, prints or decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil
from statistics import median

NATIVE, FTTCP = "native", "fttcp"


@dataclass(frozen=True)
class Key:
    """What a sample is a sample of: `scenario` (dotted, from general to special), the system, the unit."""

    scenario: str
    system: str
    unit: str


@dataclass(frozen=True)
class Row:
    """What the samples of one key say; the fields are those of the JSON rows.

    `ratio_to_native`: the median of the ratios of each sample to the native one of the same pass; None where
    there is no such pair. `ratio_to_fttcp`: the same of a pair with a setting changed (`fttcp compare=false`)
    to the one as it is by default. `notes`: what a reader must know about single passes, with how often.
    """

    scenario: str
    system: str
    unit: str
    median: float | None
    min: float | None
    max: float | None
    p99: float | None
    ratio_to_native: float | None
    n: int
    notes: list[str] = field(default_factory=list)
    ratio_to_fttcp: float | None = None


class Samples:
    """Samples by key and pass: those of one pass were taken one directly after the other."""

    def __init__(self) -> None:
        self._values: dict[Key, dict[int, float]] = {}
        self._notes: dict[Key, list[str]] = {}

    def add(self, key: Key, number: int, value: float) -> None:
        """Add the sample of pass `number`."""
        self._values.setdefault(key, {})[number] = value

    def append(self, key: Key, value: float) -> None:
        """Add a sample of which there may be several in a pass, so that it is half of no pair."""
        self.add(key, -1 - len(self._values.get(key, {})), value)

    def note(self, key: Key, text: str) -> None:
        """Add what a reader must know about one pass of `key`, be it counted or lost."""
        self._values.setdefault(key, {})
        self._notes.setdefault(key, []).append(text)

    def notes(self) -> list[str]:
        """Return all notes."""
        return [text for texts in self._notes.values() for text in texts]

    def of_pass(self, number: int) -> dict[Key, float]:
        """Return the samples of one pass."""
        return {key: values[number] for key, values in self._values.items() if number in values}

    def rows(self) -> list[Row]:
        """Return one row per key: those of one family (the first word) together, and in it those of one
        scenario, in the order in which these came first."""
        families = list(dict.fromkeys(family(key.scenario) for key in self._values))
        scenarios = list(dict.fromkeys(key.scenario for key in self._values))
        places = {name: (families.index(family(name)), place) for place, name in enumerate(scenarios)}
        return [self._row(key) for key in sorted(self._values, key=lambda key: places[key.scenario])]

    def _row(self, key: Key) -> Row:
        values = self._values[key]
        ratios = self._ratios(key, NATIVE) if key.system != NATIVE else []
        changed = self._ratios(key, FTTCP) if key.system.startswith(f"{FTTCP} ") else []
        counts = Counter(self._notes.get(key, ()))
        return Row(
            key.scenario,
            key.system,
            key.unit,
            median=median(values.values()) if values else None,
            min=min(values.values(), default=None),
            max=max(values.values(), default=None),
            p99=percentile(values.values(), 99) if values else None,
            ratio_to_native=median(ratios) if ratios else None,
            n=len(values),
            notes=[f"{text} ({count}x)" for text, count in counts.items()],
            ratio_to_fttcp=median(changed) if changed else None,
        )

    def _ratios(self, key: Key, system: str) -> list[float]:
        return pairwise_ratios(self._values[key], self._values.get(replace(key, system=system), {}))


def family(scenario: str) -> str:
    """Return the first word of a scenario's name: the table in which it stands."""
    return scenario.partition(".")[0]


def pairwise_ratios(values: Mapping[int, float], native: Mapping[int, float]) -> list[float]:
    """Return value/native of each pass (from 0 on) that has both."""
    return [value / native[number] for number, value in values.items() if number >= 0 and native.get(number)]


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest of `values` that at least `percent` of them do not exceed (nearest rank).

    Raises ValueError without values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("percentile: there are no values")
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def silences_ms(arrivals_s: Sequence[float], at_s: float) -> tuple[float | None, float | None]:
    """Return the longest silences in ms: of those that ended before `at_s`, and of those that ended after.

    None where there was none.
    """
    silences = [(later, (later - earlier) * 1000) for earlier, later in pairwise(arrivals_s)]
    before = [length for end, length in silences if end < at_s]
    after = [length for end, length in silences if end >= at_s]
    return max(before, default=None), max(after, default=None)


def show(value: float | None) -> str:
    """Write a number with three digits that count, or all digits before the point."""
    if value is None:
        return "-"
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}"
