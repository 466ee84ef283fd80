"""``fttcp lab run``, ``lab new``, ``lab compare``, ``lab client``."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lab.bench.plot import PlotError, require_matplotlib
from lab.errors import LabError
from lab.interrupt import signals_interrupt
from lab.lifecycle import remove_stale
from lab.rootless import become_root
from lab.study import figures, page
from lab.study.folder import Folder, Row
from lab.study.plan import Run, named, read, runs
from lab.study.program import program
from lab.study.run import do, rehearse_all
from lab.study.schema import Study

SHIPPED = files("lab") / "experiments"
CHANCE = 0.05
"""So often, at most, two sets of runs of one kind may be apart for them to be called so."""
LABS_NAME = "study"
"""Of the labs that are made: with the maker's pid behind it."""


def find(name: str) -> Path:
    """Return an experiment's file: a path, or the name of one that comes with fttcp. Raises LabError."""
    path = Path(name)
    shipped = Path(str(SHIPPED)) / f"{name}.toml"
    if path.is_file() or path.suffix or "/" in name:
        return path
    if shipped.exists():  # its folder of results may be here, under the same name
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
@click.option(
    "--report-only",
    is_flag=True,
    help="Draw and write the report anew from what is there; [[figure]] may be another.",
)
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
        file = find(experiment)
        told: dict[str, Any] = {"repetitions": repetitions, "seconds": seconds, "seed": seed}
        changes = {key: value for key, value in told.items() if value is not None}
        study = read(file, changes, done=report_only)
        folder = Folder(out or Path(study.name))
        if report_only:
            if not folder.rows():
                raise LabError(f"{folder.path}: there are no results; --out names the folder that has them")
            if read(folder.path / "study.toml", done=True).sweep != study.sweep:
                raise LabError(f"{folder.path}: its runs have swept something else; see its study.toml")
        else:
            remove_stale(LABS_NAME)
            become_root()
        require_matplotlib()  # has threads: not before
        if not report_only:
            rehearse_all(study, str(file))
            overrides = "".join(f"# --{key} {value}\n" for key, value in changes.items())
            folder.begin(overrides + file.read_text(encoding="utf-8"))
            _run_all(study, folder, list(runs(study))[: 1 if short else None], as_json)
        report = show(study, folder)
    except (LabError, PlotError) as error:
        raise click.ClickException(str(error)) from error
    failed = page.failures(folder.rows())
    told_of = failed or "all went well"
    click.echo(f"{report}: {page.counted(len(folder.rows()))}, {told_of}", err=as_json)
    sys.exit(1 if failed else 0)


def show(study: Study, folder: Folder) -> Path:
    """Write the table, the plots and the report; return the report."""
    folder.write_table()
    return page.write(study, folder, figures.draw(study, folder))


@signals_interrupt()
def _run_all(study: Study, folder: Folder, wanted: list[Run], as_json: bool) -> None:
    """Do what is not done yet. An interrupt or SIGTERM ends it, and the lab is removed."""
    done = {row["run"] for row in folder.rows() if "error" not in row}
    left = [run for run in wanted if run.number not in done]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
            task = progress.add_task(study.name, total=len(wanted), completed=len(wanted) - len(left))
            for run in left:
                row = _one(run, folder)
                folder.add(row)
                if as_json:
                    click.echo(json.dumps(row))
                if not row["ok"]:
                    progress.console.print(
                        _trouble(row, folder), markup=False, highlight=False, soft_wrap=True
                    )
                progress.advance(task)
    except KeyboardInterrupt:
        click.echo(
            f"interrupted: {len(folder.rows())} of {len(wanted)} runs are in {folder.path}. "
            "The same command does the others; with --report-only it draws what there is",
            err=True,
        )
        raise


def _trouble(row: Row, folder: Folder) -> str:
    """What went wrong in a run, in a line."""
    where = folder.run(row["run"])
    told = f"could not be done: {row['error']}" if "error" in row else row["why"]
    return f"run {row['run']}: {told}; see {where}"


def _one(run: Run, folder: Folder) -> Row:
    """A run that cannot be done is told, and the others are."""
    head: Row = {
        "run": run.number,
        "repetition": run.repetition,
        "seed": run.seed,
        "parameters": run.parameters,
    }
    try:
        return do(run, folder, f"{LABS_NAME}-{os.getpid()}")
    except LabError as error:
        (folder.run(run.number) / "error.txt").write_text(f"{error}\n", encoding="utf-8")
        return head | {"ok": False, "error": str(error).partition("\n")[0]}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def new(file: Path) -> None:
    """Write an experiment to start from to FILE, with all that can be said in it as comments."""
    name = re.sub("[^a-z0-9]+", "-", file.stem.lower()).lstrip("-0123456789")[:41].rstrip("-") or "mine"
    text = (SHIPPED / "template.txt").read_text(encoding="utf-8").replace("NAME", name, 1)
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
        studies = [read(folder / "study.toml", done=True) for folder in (before, after)]
    except LabError as error:
        raise click.ClickException(str(error)) from error
    if studies[0].sweep != studies[1].sweep:
        raise click.ClickException(f"{before} and {after} did not sweep the same: they cannot be compared")
    found = list(_compared(studies[0], Folder(before).rows(), Folder(after).rows()))
    settings = _differing(_settings(studies[0]), _settings(studies[1]))
    if as_json:
        click.echo(json.dumps({"settings": settings, "columns": found}))
        return
    for key, (was, now) in settings.items():
        click.echo(f"differs: {key}: {_told(was)} -> {_told(now)}")
    for line in found:
        where = named(line["parameters"]) or "all runs"
        one, two = line["runs"]
        change = f"{line['before']:.4g} -> {line['after']:.4g}"
        ratio = "" if line["ratio"] is None else f"{line['ratio']:.3f}; "
        click.echo(f"{where}: {line['column']} {change}  ({ratio}{one} and {two} runs; {line['said']})")
    if not found:
        click.echo(f"nothing to compare: {before} or {after} has no run that went well")
    if any(_chance(*line["runs"]) > CHANCE for line in found):
        click.echo("too few runs to tell them apart: run both experiments with --repetitions 4, or more")


def _settings(study: Study) -> dict[str, Any]:
    """What says how a run goes."""
    apart = ("name", "question", "repetitions", "figure")
    return {key: value for key, value in msgspec.to_builtins(study).items() if key not in apart}


def _told(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)


def _differing(before: Any, after: Any, place: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the keys in which two experiments differ, with what each has there (None: nothing)."""
    if isinstance(before, list) and isinstance(after, list):
        before, after = ({str(i): one for i, one in enumerate(some)} for some in (before, after))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {place: (before, after)} if before != after else {}
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys((*before, *after)):
        found |= _differing(before.get(key), after.get(key), f"{place}.{key}".removeprefix("."))
    return found


def _compared(study: Study, before: list[Row], after: list[Row]) -> Iterator[Row]:
    """Medians of each column (of `lost` the sum), and whether the two sets of runs overlap at all."""
    theirs = {tuple(parameters.values()): mine for parameters, mine in page.combined(study, after)}
    for parameters, mine in page.combined(study, before):
        others = theirs.get(tuple(parameters.values()), [])
        for column in page.SHOWN:
            one, two = page.values(mine, column), page.values(others, column)
            if one and two and (any(one) or any(two)):
                was, now = map(sum if column == "lost" else median, (one, two))
                yield {
                    "parameters": parameters, "column": column, "before": was, "after": now,
                    "ratio": now / was if was and column != "lost" else None,
                    "runs": (len(one), len(two)), "said": _apart(one, two),
                }  # fmt: skip


def _apart(one: list[float], two: list[float]) -> str:
    """Whether all of one set are above all of the other, and hardly by chance."""
    if max(one) >= min(two) and max(two) >= min(one):
        return "the runs overlap"
    return "apart" if _chance(len(one), len(two)) <= CHANCE else "apart, but too few runs to tell"


def _chance(one: int, two: int) -> float:
    """How often sets of so many runs of one kind are apart."""
    return 2 / comb(one + two, one)


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def client(words: tuple[str, ...]) -> None:
    """Measure TCP connections: every byte is verified, every silence timed. Also outside the lab."""
    try:
        path = program()
    except LabError as error:
        raise click.ClickException(str(error)) from error
    os.execv(path, [path, *words])
