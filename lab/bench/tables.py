"""Rows as tables: for a terminal, and for the document that keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.bench.rows import Row, family, show

BEGIN = "<!-- figures: begin (written by fttcp bench) -->"
END = "<!-- figures: end -->"
HEADINGS = ("", "system", "unit", "median", "min", "max", "p99", "to native", "n")
CHANGED = "to fttcp"
"""One more, of tables with pairs that have a setting changed."""


class MarkerError(ValueError):
    """The text has no place for the tables."""


def lines(rows: Sequence[Row]) -> list[list[str]]:
    """Return the lines of a table of these, its headings first."""
    changed = any(row.ratio_to_fttcp is not None for row in rows)
    found = [[*HEADINGS, CHANGED] if changed else [*HEADINGS]]
    for row in rows:
        numbers = [show(value) for value in (row.median, row.min, row.max, row.p99)]
        native, fttcp = (
            "" if ratio is None else f"{ratio:.3f}" for ratio in (row.ratio_to_native, row.ratio_to_fttcp)
        )
        found.append([row.scenario.partition(".")[2], row.system, row.unit, *numbers, native, str(row.n)])
        found[-1] += [fttcp] if changed else []
    return found


def markdown(
    facts: Mapping[str, Mapping[str, Any]],
    titles: Mapping[str, str],
    rows: Sequence[Row],
    plots: Mapping[str, str],
) -> str:
    """Return all in Markdown: `facts` (title -> name -> value), then one table for each family of rows, with
    its title, and with its plot where `plots` names a file."""
    parts = [_listing(title.capitalize(), values) for title, values in facts.items()]
    for name, group in groupby(rows, key=lambda row: family(row.scenario)):
        own = list(group)
        parts.append(f"### {titles.get(name, name)}")
        if name in plots:
            parts.append(f"![{name}]({plots[name]})")
        headings, *table = lines(own)
        ruled = [headings, ["---"] * 3 + ["--:"] * (len(headings) - 3), *table]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in ruled))
        notes = [f"- {row.scenario}, {row.system}: {note}" for row in own for note in row.notes]
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


def show_rows(
    console: Console,
    facts: Mapping[str, Mapping[str, Any]],
    titles: Mapping[str, str],
    rows: Sequence[Row],
) -> None:
    """Print the rows for people, with what went into them."""
    for title, values in facts.items():
        console.print(_listing(title.capitalize(), values), highlight=False)
    for name, group in groupby(rows, key=lambda row: family(row.scenario)):
        own = list(group)
        table = Table(title=titles.get(name, name), title_justify="left", box=None, padding=(0, 2, 0, 0))
        headings, *shown = lines(own)
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="right" if number > 2 else "left", overflow="fold")
        for line in shown:
            table.add_row(*line)
        console.print(table)
        for row in own:
            for note in row.notes:
                console.print(f"  {row.scenario}, {row.system}: {note}", style="yellow", highlight=False)


def _listing(title: str, values: Mapping[str, Any]) -> str:
    words = (
        f"{key.replace('_', ' ')} "
        + (
            " ".join(f"{name} {part}" for name, part in value.items())
            if isinstance(value, Mapping)
            else str(value)
        )
        for key, value in values.items()
    )
    return f"{title}: " + "; ".join(words) + "."
