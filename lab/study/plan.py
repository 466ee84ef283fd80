"""What an experiment is: a file, and the runs that follow from it."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from lab.errors import LabError
from lab.study.checks import explained, troubles
from lab.study.schema import Study


class Run(Struct, frozen=True):
    """One run of it. ``seed`` belongs to its number alone, so a run can be done again by itself."""

    number: int
    repetition: int
    seed: int
    parameters: dict[str, Any]
    study: Study
    """The experiment, with the parameters put in their places."""


def read(file: Path, changes: Mapping[str, Any] | None = None, *, done: bool = False) -> Study:
    """Read an experiment; `changes` are keys of it that are to be other than the file says. `done`: it has
    results, and needs the files of its servers no more. Raises LabError that says which key is wrong."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabError(f"{file}: it is no text in UTF-8, so no experiment: {error.reason}") from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{file}: {error}") from error
    for server in raw.get("server", ()):
        if isinstance(server, dict) and done:
            server |= {"files": "", "expect": ""}
        elif isinstance(server, dict) and isinstance(server.get("files"), str):
            server["files"] = str(file.parent.absolute() / server["files"])
    return understand(raw | dict(changes or {}), str(file))


def understand(raw: Mapping[str, Any], where: str) -> Study:
    """Make an experiment of the content of a file. Raises LabError."""
    try:
        study = msgspec.convert(raw, Study)
    except msgspec.ValidationError as error:
        raise LabError(f"{where}: {explained(error, Study)}") from error
    for trouble in troubles(study):
        raise LabError(f"{where}: {trouble}")
    for run in combinations(study, where):
        for trouble in troubles(run.study):
            raise LabError(f"{where}: with {named(run.parameters)}: {trouble}")
    return study


def named(parameters: Mapping[str, Any]) -> str:
    """Return what is swept, for people."""
    return ", ".join(f"{key} = {value}" for key, value in parameters.items())


def combinations(study: Study, where: str = "the experiment") -> Iterator[Run]:
    """Yield a run of everything that is swept: those of the first repetition. Raises LabError."""
    return itertools.takewhile(lambda run: run.repetition == 0, runs(study, where))


def runs(study: Study, where: str = "the experiment") -> Iterator[Run]:
    """Yield the runs: each repetition of everything that is swept, before the next one, so that what changes
    on the machine over time falls on all alike. The order within a repetition is drawn. Raises LabError."""
    source, number = Random(study.seed), 0
    names = list(study.sweep)
    for repetition in range(study.repetitions):
        all_values = list(itertools.product(*study.sweep.values()))
        source.shuffle(all_values)
        for values in all_values:
            parameters = dict(zip(names, values, strict=True))
            seed = source.randrange(1, 1 << 31)
            yield Run(number, repetition, seed, parameters, _with(study, parameters, where))
            number += 1


def _with(study: Study, parameters: Mapping[str, Any], where: str) -> Study:
    raw = msgspec.to_builtins(study)
    for key, value in parameters.items():
        _put(raw, key, value, where)
    try:
        return msgspec.convert(raw, Study)
    except msgspec.ValidationError as error:
        raise LabError(f"{where}: with {named(parameters)}: {explained(error, Study)}") from error


def _put(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """`seconds`, `lab.nodes`, `client.0.size` (or `client.size`: of all), `fault...`, `link...`,
    `segment...`; any other key is the group's."""
    head, *rest = key.split(".")
    if head in ("client", "fault", "link", "segment") and rest:
        *number, name = rest
        chosen, named_one = raw[head], len(number) == 1 and number[0].isdecimal()
        if number:
            chosen = chosen[int(number[0]) :][:1] if named_one else []
        if not chosen and (named_one or not number):
            raise LabError(
                f"{where}: sweep.{key}: the experiment has {len(raw[head])} [[{head}]]; add that one"
            )
        if not chosen or name not in chosen[0]:
            keys = f"; keys are {', '.join(chosen[0])}" if chosen else ""
            raise LabError(f"{where}: sweep.{key}: there is no such key in this experiment{keys}")
        for one in chosen:
            one[name] = value
    elif key == "seconds":
        raw[key] = value
    elif head == "lab" and len(rest) == 1 and rest[0] in ("nodes", "arbiter", "system", "recipe"):
        raw[head][rest[0]] = value
    else:
        raw["lab"]["set"][key] = value
