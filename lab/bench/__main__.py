"""``python -m lab.bench``: measure, and give the figures as tables, as JSON, and to docs/performance.md."""

from __future__ import annotations

import datetime
import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

import fttcp
from lab.bench import measure
from lab.bench.report import Figure, MarkerError, Samples, markdown, replace_tables, table_of

GIB = 1 << 30
LEAST_WIDTH = 110
"""Columns of the tables on a terminal that is narrower, or on none."""


def _only(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    """Split --only; an unknown name is a usage error."""
    names = [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in measure.MEASURES]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: wanted are names of {', '.join(measure.MEASURES)}")
    return names


@click.command()
@click.option("--repeat", type=click.IntRange(min=1), default=7, show_default=True, help="Passes per figure.")
@click.option(
    "--only",
    callback=_only,
    default=",".join(measure.MEASURES),
    show_default=True,
    metavar="NAME,...",
    help="What to measure.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all to FILE."
)
@click.option(
    "--markdown",
    "markdown_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Replace the tables between the two marker lines of FILE.",
)
def bench(repeat: int, only: list[str], json_file: Path | None, markdown_file: Path | None) -> None:
    """Measure the gap around faults, the added round trip, and throughput, native against protected.

    Needs root. The exit status is 0 when everything could be measured; what the figures are changes nothing.
    """
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    words, samples = Console(stderr=True), Samples()
    machine, settings = describe_machine(), describe_settings(repeat)
    try:
        if markdown_file:
            replace_tables(markdown_file.read_text(), "")  # complain now, not after minutes
        errors = measure.Bench(repeat, only, samples, lambda text: words.print(text, highlight=False)).run()
        figures = samples.figures()
        if json_file:
            facts = {"machine": machine, "settings": settings, "figures": [asdict(f) for f in figures]}
            json_file.write_text(json.dumps(facts, indent=1) + "\n")
        if markdown_file:
            tables = markdown(machine, settings, figures)
            markdown_file.write_text(replace_tables(markdown_file.read_text(), tables))
    except MarkerError as error:
        raise click.ClickException(f"{markdown_file}: {error}") from error
    finally:
        signal.signal(signal.SIGTERM, previous)
    show(Console(width=max(words.width, LEAST_WIDTH)), machine, settings, figures)
    if errors:
        raise click.ClickException("; ".join(errors))


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, memory, kernel, versions, and how busy it was."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_GiB": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "fttcp": fttcp.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def describe_settings(repeat: int) -> dict[str, Any]:
    """Return how it is measured."""
    return {
        "passes": repeat,
        "heartbeats_for_gaps": "10 ms x 3",
        "heartbeats_else": "default (20 ms x 5)",
        "fault_after_s": measure.BEFORE_S,
        "watched_after_fault_s": measure.AFTER_S,
        "round_trips_per_pass": measure.ECHO_COUNT,
        "bulk_seconds": measure.BULK_S,
    }


def show(
    console: Console, machine: dict[str, Any], settings: dict[str, Any], figures: Sequence[Figure]
) -> None:
    """Print the figures for people, with what went into them."""
    for values in (machine, settings):
        console.print("; ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items()))
    for name in dict.fromkeys(figure.measure for figure in figures):
        own = [figure for figure in figures if figure.measure == name]
        headings, *rows = table_of(own)
        table = Table(title=name, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="right" if number > 1 else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        for figure in own:
            for note in figure.notes:
                console.print(f"  {figure.name}, {figure.system}: {note}", style="yellow")


if __name__ == "__main__":
    bench()
