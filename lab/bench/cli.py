"""``fttcp bench``: what protection costs, and what a client notices of a fault."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from lab.bench import facts, programs, tables
from lab.bench.plot import PlotError, plot, require_matplotlib
from lab.bench.rows import FTTCP, Row, Samples, family
from lab.bench.runner import Runner
from lab.bench.scenario import Block, chosen
from lab.bench.scenarios import POOLS, SCENARIOS
from lab.bench.scenarios.about import ABOUT
from lab.bench.systems import CROSSED_FLOORS, EBPF_FLOOR, EBPF_PAIR, SYSTEMS
from lab.errors import LabError
from lab.interrupt import signals_interrupt
from lab.lifecycle import remove_stale

LEAST_WIDTH = 120
"""Columns of the tables on a terminal that is narrower, or on none."""
PASSES, SHORT_PASSES = 5, 2
PEERS = [name for name in SYSTEMS if name != FTTCP]
SHORT_PEERS = [name for name in PEERS if name not in (CROSSED_FLOORS, EBPF_FLOOR, EBPF_PAIR)]
TITLES = {scenario.name: scenario.title for scenario in SCENARIOS} | POOLS


def _against(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    """Split --against; an unknown name is a usage error."""
    if value is None:
        return None
    names = [] if value == "none" else [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: wanted are none, or some of {', '.join(PEERS)}")
    return names


@dataclass
class Output:
    """Where results go: `json_file`, the document, plots; each as far as it is wanted."""

    facts: dict[str, dict[str, Any]]
    json_file: Path | None
    document: Path | None
    plots: Path | None
    errors: list[str] = field(default_factory=list)

    def save(self, rows: Sequence[Row], complete: bool) -> None:
        """Write the JSON file: it is whole at any instant (written aside, then renamed)."""
        if self.json_file is None:
            return
        content = {**self.facts, "complete": complete, "errors": self.errors}
        content["rows"] = [asdict(row) for row in rows]
        aside = self.json_file.with_name(self.json_file.name + ".new")
        aside.write_text(json.dumps(content, indent=1) + "\n")
        aside.rename(self.json_file)

    def finish(self, rows: Sequence[Row]) -> None:
        """Write plots and the document; raises PlotError or MarkerError."""
        files = plot(rows, TITLES, self.plots) if self.plots else {}
        if self.document:
            near = self.document.parent.resolve()
            links = {name: os.path.relpath(file.resolve(), near) for name, file in files.items()}
            text = tables.markdown(self.facts, TITLES, rows, links)
            self.document.write_text(tables.replace_tables(self.document.read_text(), text))


@click.command()
@click.argument("scenario", nargs=-1)
@click.option(
    "--against",
    callback=_against,
    metavar="SYSTEM,...",
    help="What to measure beside fttcp; none: nothing."
    f"  [default: {', '.join(PEERS)}; short: without {CROSSED_FLOORS}, {EBPF_FLOOR}, {EBPF_PAIR}]",
)
@click.option(
    "--repeat", type=click.IntRange(min=1), help=f"Passes.  [default: {PASSES}, short: {SHORT_PASSES}]"
)
@click.option("--short", is_flag=True, help="The short set only: about 10 minutes.")
@click.option("--list", "listing", is_flag=True, help="List what would be measured, and how long it takes.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all to FILE."
)
@click.option(
    "--plot",
    "plots",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a plot of each table to DIR.",
)
@click.option(
    "--markdown",
    "document",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Replace the tables between the two marker lines of FILE.",
)
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Measure nothing: take the rows of a file that --json wrote.",
)
def bench(
    scenario: tuple[str, ...],
    against: list[str] | None,
    repeat: int | None,
    short: bool,
    listing: bool,
    json_file: Path | None,
    plots: Path | None,
    document: Path | None,
    earlier: Path | None,
) -> None:
    """Measure SCENARIOs (all without one) in a lab of their own, fttcp and others pass by pass in turn.

    SCENARIO is a family (throughput), the beginning of a name (gap.crash-host) or a pattern (gap.*.10ms);
    --list shows the names. Needs root. The exit status is 0 when everything could be measured; how fast
    anything is changes nothing.
    """
    blocks = [part for each in SCENARIOS for block in each.blocks if (part := chosen(block, scenario, short))]
    unknown = [name for name in scenario if not any(chosen(block, (name,), False) for block in _all_blocks())]
    if unknown:
        raise click.BadParameter(
            f"no scenario {', '.join(unknown)}; see: fttcp bench --list", param_hint="SCENARIO"
        )
    passes = repeat or (SHORT_PASSES if short else PASSES)
    if against is None:
        against = SHORT_PEERS if short else PEERS
    runner = Runner(blocks, passes, against, Samples(), _say, lambda: None)
    if listing:
        _list(runner)
        return
    try:
        if plots:
            require_matplotlib()  # complain now, not after minutes
        if document:
            tables.replace_tables(document.read_text(), "")
        if earlier:
            _again(earlier, Output({}, None, document, plots))
            return
        output = Output(
            {
                "machine": facts.machine(),
                "settings": facts.settings(passes, against, scenario, short),
                "versions": facts.versions(),
            },
            json_file,
            document,
            plots,
            runner.errors,
        )
        _measure(runner, output)
    except tables.MarkerError as error:
        raise click.ClickException(f"{document}: {error}") from error
    except (PlotError, LabError) as error:
        raise click.ClickException(str(error)) from error


@signals_interrupt()
def _measure(runner: Runner, output: Output) -> None:
    """Run, show and keep the results; what there is of them also when it is interrupted."""
    if os.geteuid() != 0:
        raise LabError(
            "the bench needs root: run it with sudo; a user namespace has no real-time priority, so its "
            "figures would be others"
        )
    complete = False
    try:
        programs.build()
        remove_stale("bench")
        runner.keep = lambda: output.save(runner.samples.rows(), complete=False)
        _say(f"about {runner.seconds() / 60:.0f} minutes; Ctrl-C ends it and keeps what there is")
        begin = time.monotonic()
        runner.run()
        _say(f"took {(time.monotonic() - begin) / 60:.1f} minutes")
        complete = True
    finally:
        rows = runner.samples.rows()
        output.save(rows, complete)
        tables.show_rows(_out(), output.facts, TITLES, rows)
    output.finish(rows)
    for error in runner.errors:
        _say(f"not measured: {error}")
    if runner.errors:
        raise click.ClickException(f"{len(runner.errors)} of {runner.steps()} measures failed, as told above")


def _again(earlier: Path, output: Output) -> None:
    """Give the rows of an earlier run once more."""
    try:
        content = json.loads(earlier.read_text())
        rows = [Row(**row) for row in content["rows"]]
        output.facts = {name: content[name] for name in ("machine", "settings", "versions")}
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{earlier}: not written by fttcp bench --json: {error!r}") from error
    tables.show_rows(_out(), output.facts, TITLES, rows)
    output.finish(rows)


def _list(runner: Runner) -> None:
    """Print the names of all cases, their systems, and how long one pass takes."""
    told = ""
    for block in runner.blocks:
        for case in block:
            if family(case.name) != told:
                told = family(case.name)
                click.echo(f"{told}: {ABOUT[told]}")
            systems = [name for name in case.systems if name == FTTCP or name in runner.against]
            label = f" [{case.label}]" if case.label else ""
            seconds = case.seconds * len(systems)
            click.echo(
                f"  {case.name}{label}: {', '.join(systems)}; {seconds:.0f} s a pass{'; short' * case.short}"
            )
    passes = "1 pass" if runner.repeat == 1 else f"{runner.repeat} passes"
    click.echo(f"{passes}: about {runner.seconds() / 60:.0f} minutes")


def _all_blocks() -> list[Block]:
    return [block for each in SCENARIOS for block in each.blocks]


def _out() -> Console:
    return Console(width=max(Console().width, LEAST_WIDTH))


def _say(text: str) -> None:
    click.echo(text, err=True)
