"""What came of an experiment, as a folder.

=================  ==========================================================================================
``study.toml``     the experiment, as it was given
``runs.jsonl``     a line for each run: its parameters, what was measured, and how it went
``runs.csv``       the same as a table
``runs/N/``        of run N: ``client-K.jsonl`` (what a client said), ``nodes.jsonl`` (state of the nodes over
                   time), ``events.jsonl`` (faults, and the nodes' own events), ``links.pcapng``;
                   ``error.txt`` says why it could not be done
``N-KIND.svg``     the plots
``report.html``    all of it on one page, which needs no other file
=================  ==========================================================================================

A run that was done is not done again: what was interrupted goes on where it was.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from lab.errors import LabError

Row = dict[str, Any]
PACKETS = "links.pcapng"
"""Of a run: what was captured. Its interfaces are named as the links."""
_REPETITIONS = re.compile(r"(# --)?repetitions\b")


class Folder:
    """One such folder. Raises LabError when it is another experiment's."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, text: str) -> None:
        """Make it, or go on with it: then the experiment must be the same, but for its repetitions."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "study.toml"
        if file.exists() and (other := _first_difference(file.read_text(encoding="utf-8"), text)):
            raise LabError(
                f"{self.path}: another experiment's results are there ({other}); "
                "name another folder with --out"
            )
        if not file.exists() and any(self.path.iterdir()):
            raise LabError(f"{self.path}: not empty, and not an experiment's; name another folder with --out")
        file.write_text(text, encoding="utf-8")

    def run(self, number: int) -> Path:
        """Make and return the folder of a run."""
        directory = self.path / "runs" / str(number)
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def rows(self) -> list[Row]:
        """Return what the runs say, in their order, of one that was done again the latest; what was cut short
        by a kill is left out."""
        latest = {int(row["run"]): row for row in lines(self.path / "runs.jsonl")}
        return [latest[number] for number in sorted(latest)]

    def add(self, row: Row) -> None:
        """Keep what a run says, at once."""
        with (self.path / "runs.jsonl").open("a+b") as file:
            if file.tell() and _last_byte(file) != b"\n":  # somebody was killed in the middle of a line
                file.write(b"\n")
            file.write(json.dumps(row).encode() + b"\n")

    def write_table(self) -> None:
        """Write runs.csv."""
        rows = [flat(row) for row in self.rows()]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with (self.path / "runs.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(rows)


def _first_difference(before: str, now: str) -> str:
    """Tell the first line in which two experiments differ, "" if at most in how often they are repeated: the
    order of the runs that both have is the same."""
    texts = ([line for line in text.splitlines() if not _REPETITIONS.match(line)] for text in (before, now))
    for was, wanted in zip_longest(*texts, fillvalue="nothing"):
        if was != wanted:
            return f"its study.toml has {was!r} where now is {wanted!r}"
    return ""


def _last_byte(file: IO[bytes]) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def flat(row: Mapping[str, Any]) -> Row:
    """Return a row whose parameters are columns."""
    return {
        **{key: value for key, value in row.items() if not isinstance(value, Mapping | list)},
        **row.get("parameters", {}),
    }


def write_lines(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file; none if it is not there. One that was cut short is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:  # the last one of somebody who was killed, or who writes just now
            continue
    return found
