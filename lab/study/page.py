"""The report of an experiment: one page of HTML that needs no other file."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from html import escape
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

from lab.study.checks import COLUMNS
from lab.study.folder import Folder, Row, flat
from lab.study.schema import Study

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1b1f23; max-width: 60rem; margin: 2.5rem auto;
       padding: 0 1.2rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem }
p.question { color: #55606b; font-size: 1.1rem; margin: .3rem 0 1.5rem }
table { border-collapse: collapse; font-size: .86rem; width: 100% }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #e4e7eb; white-space: nowrap }
th { color: #55606b; font-weight: 600 }
th:first-child, td:first-child { text-align: left }
td.bad { color: #b3261e; text-align: left; white-space: normal }
figure { margin: 1.4rem 0 }
figure svg { width: 100%; height: auto }
pre { background: #f5f7f9; padding: .8rem 1rem; overflow-x: auto; font-size: .84rem }
td small { display: block }
.scroll { overflow-x: auto }
details { margin: .6rem 0 }
footer { color: #7b8794; font-size: .84rem; margin-top: 2.5rem }
"""
_FOOT = (
    "One machine is all hosts: compare what ran in one experiment, not two machines. "
    "Raw data: <code>runs.csv</code>, <code>runs/</code>."
)
SHOWN = ("takeover_ms", "longest_gap_ms", "mbit_s", "wait_p50_us", "wait_p99_us", "lost")
"""Columns of a summary, as far as runs have them."""


def write(study: Study, folder: Folder, figures: Sequence[tuple[str, Path]]) -> Path:
    """Write report.html; return its path."""
    rows = folder.rows()
    parts = [
        f"<h1>{escape(study.name)}</h1><p class=question>{escape(study.question)}</p>",
        f"<p>{_sentence(study, rows)}</p>",
        "<h2>Summary</h2>" + _summary(study, rows),
        *(f"<figure>{_inline(file)}</figure>" for _, file in figures),
        "<h2>Runs</h2>" + _runs(rows),
        f"<h2>The experiment</h2><pre>{escape((folder.path / 'study.toml').read_text())}</pre>",
        f"<footer>Linux {escape(platform.release())}, {escape(platform.machine())}. {_FOOT}</footer>",
    ]
    file = folder.path / "report.html"
    title = f"<title>{escape(study.name)}</title>"
    head = f"<!doctype html><html lang=en><meta charset=utf-8>{title}<style>{_STYLE}</style>"
    file.write_text(head + "".join(parts) + "</html>\n", encoding="utf-8")
    return file


def _sentence(study: Study, rows: Sequence[Row]) -> str:
    wanted = max(len(rows), study.repetitions * prod(map(len, study.sweep.values())))
    told = f"{len(rows)} of {wanted} runs, seed {study.seed}. "
    if not (failed := failures(rows)):
        return told + "In each of them every byte was right, and no connection was lost."
    return told + f"<b>{failed}</b>: see the table of runs. Medians are of the others."


def failures(rows: Sequence[Row]) -> str:
    """Return how many runs did not go well, by kind; "" if all did."""
    counts = {
        "with lost connections": len(lost(rows)),
        "without a test: the fault came after the clients": sum("late_ms" in row for row in rows),
        "not done": sum("error" in row for row in rows),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def counted(number: int) -> str:
    """Return that number of runs in words."""
    return f"{number} run" + ("" if number == 1 else "s")


def lost(rows: Sequence[Row]) -> list[Row]:
    """Return the runs in which a client did not get all, or not what it should."""
    return [row for row in rows if not (row["ok"] or "error" in row or "late_ms" in row)]


def combined(study: Study, rows: Sequence[Row]) -> list[tuple[dict[str, Any], list[Row]]]:
    """Return what was swept with its runs, in the order of the file."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row["parameters"].values()), []).append(row)
    names = list(study.sweep)

    def place(chosen: tuple[Any, ...]) -> list[int]:
        return [study.sweep[name].index(value) for name, value in zip(names, chosen, strict=True)]

    return [(dict(zip(names, chosen, strict=True)), found[chosen]) for chosen in sorted(found, key=place)]


def values(rows: Sequence[Mapping[str, Any]], column: str) -> list[float]:
    """Return what runs have in a column: those that went well; of `lost`, also those that lost."""
    counts = [row for row in rows if row["ok"] or (column == "lost" and "late_ms" not in row)]
    return [float(row[column]) for row in counts if row.get(column) is not None]


def spread(rows: Sequence[Mapping[str, Any]], column: str) -> tuple[float, float, float] | None:
    """Return least, median and most of a column; None if no run has it."""
    found = values(rows, column)
    return (min(found), median(found), max(found)) if found else None


def _summary(study: Study, rows: Sequence[Row]) -> str:
    columns = [column for column in SHOWN if spread(rows, column)]
    head = "".join(f"<th>{escape(name)}</th>" for name in (*(study.sweep or ["runs"]), "n", *columns))
    body = ""
    for parameters, mine in combined(study, rows):
        cells = [escape(str(value)) for value in parameters.values()] or ["all"]
        well = sum(row["ok"] for row in mine)
        cells.append(str(len(mine)) if well == len(mine) else f"{well} of {len(mine)}")
        for column in columns:
            found = spread(mine, column)
            if found and column == "lost":
                cells.append(lost_in(values(mine, column)))
                continue
            most = (
                f" <small>({found[0]:.4g} to {found[2]:.4g})</small>" if found and found[0] < found[2] else ""
            )
            cells.append(f"{found[1]:.4g}{most}" if found else "")
        body += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    table = f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"
    meant = "; ".join(f"{column}: {COLUMNS[column]}" for column in columns)
    what = "Medians, and from least to most, of the n runs that went well"
    return f"{table}<p><small>{what}. {escape(meant)}.</small></p>"


def lost_in(found: Sequence[float]) -> str:
    """Return how many connections were lost in all of these runs."""
    return f"{sum(found):.0f} in {counted(len(found))}"


def _runs(rows: Sequence[Row]) -> str:
    flats = [flat(row) for row in rows]
    swept = [key for row in rows for key in row["parameters"]]
    columns = [
        c
        for c in dict.fromkeys(("run", *swept, *(c for row in flats for c in row)))
        if c not in ("ok", "why", "error", "fault_us")
    ]
    head = "".join(f"<th>{escape(column)}</th>" for column in (*columns, "went well"))
    body = ""
    for row in flats:
        trouble = row.get("error") or row.get("why") or ""
        cells = "".join(f"<td>{escape(str(row.get(column, '')))}</td>" for column in columns)
        went = "<td>yes</td>" if row.get("ok") else f"<td class=bad>{escape(str(trouble) or 'no')}</td>"
        body += f"<tr>{cells}{went}</tr>"
    table = f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"
    begin = "<details open>" if len(rows) <= 20 else "<details>"
    return f"{begin}<summary>{counted(len(rows))}</summary>{table}</details>"


def _inline(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    return text[text.index("<svg") :]
