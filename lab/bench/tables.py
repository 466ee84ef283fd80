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


class MarkerError(ValueError):
    """The text has no place for the tables."""


def cells(row: Row) -> list[str]:
    """Return what a table shows of `row`, one text per heading."""
    numbers = [show(value) for value in (row.median, row.min, row.max, row.p99)]
    ratio = "" if row.ratio_to_native is None else f"{row.ratio_to_native:.3f}"
    return [row.scenario.partition(".")[2], row.system, row.unit, *numbers, ratio, str(row.n)]


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
        lines = [HEADINGS, ["---"] * 3 + ["--:"] * 6, *map(cells, own)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
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
        for number, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="right" if number > 2 else "left", overflow="fold")
        for row in own:
            table.add_row(*cells(row))
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
