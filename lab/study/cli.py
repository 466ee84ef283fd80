"""``fttcp lab run``, ``lab new``, ``lab compare``, ``lab client``."""

from __future__ import annotations

import json
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lab.bench.plot import PlotError, require_matplotlib
from lab.errors import LabError, require_root
from lab.study import figures, page
from lab.study.folder import Folder, Row
from lab.study.plan import Run, Study, read, runs
from lab.study.program import program
from lab.study.run import do

SHIPPED = files("lab") / "experiments"


def find(name: str) -> Path:
    """Return an experiment's file: a path, or the name of one that comes with fttcp. Raises LabError."""
    path = Path(name)
    shipped = Path(str(SHIPPED)) / f"{name}.toml"
    if path.exists() or (path.suffix or "/" in name):
        return path
    if shipped.exists():
        return shipped
    raise LabError(
        f"{name}: no such file, and none of the experiments that are there: {', '.join(shipped_names())}"
    )


def shipped_names() -> list[str]:
    """Return the names of those that come with fttcp."""
    return sorted(file.stem for file in Path(str(SHIPPED)).glob("*.toml"))


@click.command(name="run")
@click.argument("experiment", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The folder of the results. Default: the experiment's name.",
)
@click.option("--repetitions", type=click.IntRange(1), help="Other than the file says.")
@click.option("--seconds", type=float, help="Other than the file says.")
@click.option("--seed", type=int, help="Other than the file says.")
@click.option("--short", is_flag=True, help="One run only, the first: does it work at all?")
@click.option("--list", "as_list", is_flag=True, help="Name the experiments that come with fttcp.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each run.")
@click.option("--report-only", is_flag=True, help="Draw and write the report anew from what is there.")
def run_command(
    experiment: str | None,
    out: Path | None,
    repetitions: int | None,
    seconds: float | None,
    seed: int | None,
    short: bool,
    as_list: bool,
    as_json: bool,
    report_only: bool,
) -> None:
    """Run an EXPERIMENT: a TOML file, or the name of one that comes with fttcp. Results go to a folder: data,
    plots, and report.html. What was interrupted goes on where it was."""
    try:
        if as_list:
            for name in shipped_names():
                click.echo(f"{name}: {read(find(name)).question}")
            return
        if experiment is None:
            raise click.UsageError("which EXPERIMENT? --list names those that come with fttcp")
        require_matplotlib()
        file = find(experiment)
        study = read(file)
        changes: dict[str, Any] = {"repetitions": repetitions, "seconds": seconds, "seed": seed}
        for key, value in changes.items():
            if value is not None:
                setattr(study, key, value)
        folder = Folder(out or Path(study.name))
        told = "".join(f"# --{key} {value}\n" for key, value in changes.items() if value is not None)
        folder.begin(told + file.read_text(encoding="utf-8"))
        if not report_only:
            require_root()
            _run_all(study, folder, list(runs(study))[: 1 if short else None], as_json)
        report = show(study, folder)
    except (LabError, PlotError) as error:
        raise click.ClickException(str(error)) from error
    failed = [row for row in folder.rows() if not row.get("ok")]
    click.echo(
        f"{report}: {len(folder.rows())} runs, {len(failed)} with lost connections or not done", err=as_json
    )
    sys.exit(1 if failed else 0)


def show(study: Study, folder: Folder) -> Path:
    """Write the table, the plots and the report; return the report."""
    folder.write_table()
    return page.write(study, folder, figures.draw(study, folder))


def _run_all(study: Study, folder: Folder, wanted: list[Run], as_json: bool) -> None:
    done = {row["run"] for row in folder.rows()}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
        task = progress.add_task(study.name, total=len(wanted), completed=len(done))
        for run in wanted:
            if run.number in done:
                continue
            row = _one(run, folder)
            folder.add(row)
            if as_json:
                click.echo(json.dumps(row))
            progress.advance(task)


def _one(run: Run, folder: Folder) -> Row:
    """A run that cannot be done is told, and the others are."""
    head: Row = {
        "run": run.number,
        "repetition": run.repetition,
        "seed": run.seed,
        "parameters": run.parameters,
    }
    try:
        return do(run, folder, f"study-{os.getpid()}")
    except LabError as error:
        return head | {"ok": False, "error": str(error).partition("\n")[0]}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def new(file: Path) -> None:
    """Write an experiment to start from to FILE, with all that can be said in it as comments."""
    text = (SHIPPED / "template.txt").read_text(encoding="utf-8").replace("NAME", file.stem, 1)
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError as error:
        raise click.ClickException(f"{file}: it is there already") from error
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from error
    click.echo(f"{file}: run it with: fttcp lab run {file}")


@click.command()
@click.argument("before", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("after", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(before: Path, after: Path, as_json: bool) -> None:
    """Compare the results of two folders of the same experiment: medians, and their ratio."""
    try:
        studies = [read(folder / "study.toml") for folder in (before, after)]
    except LabError as error:
        raise click.ClickException(str(error)) from error
    if studies[0].sweep != studies[1].sweep:
        raise click.ClickException(f"{before} and {after} did not sweep the same: they cannot be compared")
    found = list(_compared(studies[0], Folder(before).rows(), Folder(after).rows()))
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in found:
        where = ", ".join(f"{key} = {value}" for key, value in line["parameters"].items()) or "all runs"
        change = f"{line['before']:.4g} -> {line['after']:.4g}"
        click.echo(f"{where}: {line['column']} {change}  ({line['ratio']:.3f}; {line['said']})")


def _compared(study: Study, before: list[Row], after: list[Row]) -> Any:
    """Medians of each column, and whether the two sets of runs overlap at all."""
    theirs = {tuple(parameters.values()): mine for parameters, mine in page.combined(study, after)}
    for parameters, mine in page.combined(study, before):
        others = theirs.get(tuple(parameters.values()), [])
        for column in page.SHOWN:
            one, two = page.spread(mine, column), page.spread(others, column)
            if one and two and one[1]:
                apart = one[2] < two[0] or two[2] < one[0]
                yield {
                    "parameters": parameters, "column": column, "before": one[1], "after": two[1],
                    "ratio": two[1] / one[1], "said": "apart" if apart else "the runs overlap",
                }  # fmt: skip


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def client(words: tuple[str, ...]) -> None:
    """Measure TCP connections: every byte is verified, every silence timed. Also outside the lab."""
    try:
        path = program()
    except LabError as error:
        raise click.ClickException(str(error)) from error
    os.execv(path, [path, *words])
