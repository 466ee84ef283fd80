"""From samples to figures, and their tables. Nothing here measures or decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil
from statistics import median
from typing import Any

NATIVE, PROTECTED, ADDED = "native", "protected", "added"
BEGIN = "<!-- figures: begin (written by make bench) -->"
END = "<!-- figures: end -->"
HEADINGS = ("", "system", "median", "min", "max", "n")
RATIO_HEADING = "protected / native"


class MarkerError(ValueError):
    """The text has no place for the tables."""


@dataclass(frozen=True)
class Key:
    """What a sample is a sample of: `measure` (a table), `name` (a row in it), the system, the unit."""

    measure: str
    name: str
    system: str
    unit: str


@dataclass(frozen=True)
class Figure:
    """What the samples of one key say. `ratio`: protected/native over the pairs of passes, median first."""

    measure: str
    name: str
    system: str
    unit: str
    median: float | None
    min: float | None
    max: float | None
    n: int
    ratio: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None
    notes: list[str] = field(default_factory=list)


class Samples:
    """Samples by key and pass: the native and the protected sample of one pass are a pair."""

    def __init__(self) -> None:
        self._values: dict[Key, dict[int, float]] = {}
        self._notes: dict[Key, list[str]] = {}

    def add(self, key: Key, number: int, value: float) -> None:
        """Add the sample of pass `number`."""
        self._values.setdefault(key, {})[number] = value

    def note(self, key: Key, text: str) -> None:
        """Add what a reader must know about one pass of `key`, be it counted or lost."""
        self._values.setdefault(key, {})
        self._notes.setdefault(key, []).append(text)

    def figures(self) -> list[Figure]:
        """Return one figure per key, in the order in which measures, and keys in them, came first."""
        measures = list(dict.fromkeys(key.measure for key in self._values))
        return [
            self._figure(key) for key in sorted(self._values, key=lambda key: measures.index(key.measure))
        ]

    def _figure(self, key: Key) -> Figure:
        values = list(self._values[key].values())
        ratios: list[float] = []
        if key.system == PROTECTED:
            native = self._values.get(Key(key.measure, key.name, NATIVE, key.unit), {})
            ratios = pairwise_ratios(self._values[key], native)
        middle, low, high = spread(values)
        notes = [f"{text} ({count}x)" for text, count in Counter(self._notes.get(key, ())).items()]
        return Figure(
            key.measure,
            key.name,
            key.system,
            key.unit,
            middle,
            low,
            high,
            len(values),
            *spread(ratios),
            notes,
        )


def spread(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Return median, smallest and largest of `values`, each None without values."""
    return (median(values), min(values), max(values)) if values else (None, None, None)


def pairwise_ratios(protected: Mapping[int, float], native: Mapping[int, float]) -> list[float]:
    """Return protected/native of each pass that has both."""
    return [value / native[number] for number, value in protected.items() if native.get(number)]


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest of `values` that at least `percent` of them do not exceed (nearest rank).

    Raises ValueError without values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("percentile: there are no values")
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def show(value: float | None) -> str:
    """Write a number with three digits that count, or all digits before the point."""
    if value is None:
        return "-"
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}"


def table_of(figures: Sequence[Figure]) -> list[list[str]]:
    """Return headings and one row per figure; ratios have a column only where there is one."""
    compared = any(figure.ratio is not None for figure in figures)
    headings = [*HEADINGS, RATIO_HEADING] if compared else [*HEADINGS]
    return [headings, *(_cells(figure)[: len(headings)] for figure in figures)]


def markdown(machine: Mapping[str, Any], settings: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """Return the tables, with what they were measured on and how, in Markdown."""
    parts = [_listing("Machine", machine), _listing("Settings", settings)]
    for measure, group in groupby(figures, key=lambda figure: figure.measure):
        rows = list(group)
        headings, *cells = table_of(rows)
        lines = [headings, ["---", "---", "--:", "--:", "--:", "--:", "--:"][: len(headings)], *cells]
        parts.append(f"### {measure}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
        notes = [f"- {row.name}, {row.system}: {note}" for row in rows for note in row.notes]
        if notes:
            parts.append("\n".join(notes))
    return "\n\n".join(parts)


def replace_tables(text: str, tables: str) -> str:
    """Return `text` with `tables` between its two marker lines; raises MarkerError without these."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkerError(f"the lines {BEGIN!r} and {END!r} are not both there, in this order: add them")
    return f"{before}{begin}\n\n{tables}\n\n{end}{after}"


def _cells(figure: Figure) -> list[str]:
    middle = f"{show(figure.median)} {figure.unit}" if figure.n else "-"
    ratio = (
        ""
        if figure.ratio is None
        else f"{figure.ratio:.3f} ({figure.ratio_min:.3f} to {figure.ratio_max:.3f})"
    )
    return [figure.name, figure.system, middle, show(figure.min), show(figure.max), str(figure.n), ratio]


def _listing(title: str, values: Mapping[str, Any]) -> str:
    return f"{title}: " + "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items()) + "."
