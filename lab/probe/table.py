"""Probes servers of the field, lets the host of each crash in a download, and prints a table of it.

python -m lab.probe.table [--install] [--json] [--list] [NAME...]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fttcp.config.program import obstacles
from lab.demo import FaultInTheMiddle
from lab.download import receive
from lab.errors import LabError
from lab.faults import make_fault
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4
from lab.probe.judge import Verdict
from lab.probe.recipes import RECIPES, Recipe
from lab.probe.run import PLACE, Input, Probe, Run, generated, removed_for_certain
from lab.probe.scripts import TLS_PORTS
from lab.rootless import become_root

MBIT = 40.0
"""The client's link, so that a download takes some seconds."""
PATIENCE_S = 60.0
_SHORT = {
    Verdict.SAME: "same",
    Verdict.CONTENT: "content differs",
    Verdict.LENGTH: "differs, detached",
    Verdict.LOST: "cannot be followed",
}


@dataclass(frozen=True)
class Row:
    """What was seen of a server. A verdict is None if that was not tried, and why is in `note`.
    `settings`: of the group, beside lock step."""

    name: str
    version: str
    without: str | None = None
    stepped: str | None = None
    crash: str | None = None
    gap_ms: float | None = None
    note: str = ""
    settings: tuple[str, ...] = ()


def version_of(recipe: Recipe) -> str:
    """The first version number that the program tells, "" if it is not installed."""
    if shutil.which(recipe.program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        return ""
    told = subprocess.run(recipe.version, shell=True, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+[\w.+~-]*|(?<=v)\d+\.\d+\S*", told.stdout + told.stderr)
    return found[0] if found else "unknown"


def install(recipe: Recipe) -> None:
    """Install what it needs, without starting anything. Raises LabError."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    policy = Path("/usr/sbin/policy-rc.d")
    own = not policy.exists()
    if own:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        words = ["apt-get", "install", "-y", "--no-install-recommends", *recipe.packages]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
    finally:
        if own:
            policy.unlink()
    if done.returncode:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip()[-300:]}")


class Trial:
    """One server on this machine."""

    def __init__(self, recipe: Recipe, scratch: Path) -> None:
        """Make its files. Raises LabError."""
        self._recipe, self._files = recipe, scratch / "files"
        self._files.mkdir(mode=0o755)
        scratch.chmod(0o755)
        try:
            self._expected = recipe.prepare(self._files)
        except (OSError, subprocess.CalledProcessError) as error:
            raise LabError(f"its files cannot be made: {error}") from error
        self._port = recipe.first_port

    def _lab(self) -> Lab:
        return Lab(f"probe-{os.getpid()}")

    def _probe(self) -> Probe:
        recipe = self._recipe
        if recipe.client is None:
            words = generated(self._port, 20, 4, self._port in TLS_PORTS)
        else:
            words = self._shell(recipe.client)
        return Probe(
            f"{recipe.port}={recipe.command}", Input(words, PATIENCE_S), recipe.settings, self._files
        )

    def _shell(self, script: str) -> list[str]:
        told = (f"SERVICE4={SERVICE4}", f"PORT={self._port}")
        return ["env", *told, "sh", "-c", script.replace("{files}", str(self._files))]

    def probe(self, lockstep: str) -> Run:
        """Give it input; a client that fails is an error of the recipe."""
        run = self._probe().run(self._lab(), lockstep, lambda said: None)
        if run.failed:
            raise LabError(f"its client failed (status {run.statuses}): {run.said[-300:]}")
        return run

    def crash(self, lockstep: str, mbit: float = MBIT) -> tuple[str, float | None]:
        """Let the host crash in the middle of a download; whether that goes on, and after how many ms. Raises
        LabError when it could not be done, or a byte was wrong. `mbit`: what the client's link has."""
        if self._recipe.stream is None:
            return "not tried", None
        probe, lab, got = self._probe(), self._lab(), bytearray()
        own = () if lockstep == "off" else (f"lockstep={lockstep}",)
        with removed_for_certain(lab):
            lab.up([probe.served], [*probe.settings, *own], prepare=probe.prepare)
            make_fault(lab, "rate", "client", mbit)
            fault = FaultInTheMiddle(lab, "crash-host", len(self._expected))
            words = self._shell(self._recipe.stream)
            with lab.popen(CLIENT, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
                try:
                    assert client.stdout and client.stderr
                    download = receive(client.stdout, fault.progress, got)
                    client.wait(PATIENCE_S)
                    said = client.stderr.read().decode(errors="replace")[-300:]
                except BaseException:
                    client.kill()
                    raise
            report = fault.report()
            whole = not client.returncode and got == self._expected and self._has_all(lab)
        if report is None:
            raise LabError(f"its download ended after {download.received} bytes, before the crash: {said}")
        if not self._expected.startswith(got):
            raise LabError(f"a wrong byte came, among {download.received}: {said}")
        return ("goes on", download.gap_ms(report["at_s"])) if whole else ("lost", None)

    def _has_all(self, lab: Lab) -> bool:
        """Whether the server that is left has what was sent to it."""
        proof = self._recipe.proof
        return proof is None or not lab.exec("primary", ["env", "-C", PLACE, "sh", "-c", proof]).returncode


def row_of(recipe: Recipe, scratch: Path) -> Row:
    """Try one. Raises LabError."""
    row = Row(recipe.name, version_of(recipe), note=recipe.note, settings=recipe.settings)
    refused = [one.why for one in obstacles(_program_line(recipe)) if one.fatal]
    trial = Trial(recipe, scratch)
    if recipe.port.endswith("/udp"):  # no streams to compare
        kept, gap = trial.crash("off")
        return replace(row, crash=kept, gap_ms=gap)
    run = trial.probe("off")
    row = replace(row, without=_seen(run))
    best = "off"
    if refused:
        row = replace(row, stepped="refused")
    elif run.worst is not Verdict.SAME:
        stepped = trial.probe("connection")
        row = replace(row, stepped=_seen(stepped))
        best = "connection" if (stepped.together, stepped.worst) <= (run.together, run.worst) else "off"
    kept, gap = trial.crash(best)
    return replace(row, crash=kept, gap_ms=gap)


def _seen(run: Run) -> str:
    """A run in a few words."""
    if run.worst is Verdict.SAME:
        return _SHORT[run.worst]
    only = ", side by side all" if run.together is Verdict.SAME else ""
    return f"{_SHORT[run.worst]} ({run.count(Verdict.SAME)} of {len(run.connections)} the same{only})"


def _program_line(recipe: Recipe) -> str:
    """The command that counts in a recipe's: behind the last `exec` of a shell's."""
    words = shlex.split(recipe.command)
    if words[:2] == ["sh", "-c"]:
        return words[2].rpartition("exec ")[2].replace("$", "")
    return recipe.command


def markdown(rows: list[Row]) -> Iterator[str]:
    """The table."""
    yield '| server | version | without | `lockstep = "connection"` | its host crashes in a download |'
    yield "|---|---|---|---|---|"
    for row in rows:
        mind = [f"`{setting}`" for setting in row.settings] + ([row.note] if row.note else [])
        name = f"`{row.name}`" + (f": {'; '.join(mind)}" if mind else "")
        gap = f", gap {row.gap_ms:.0f} ms" if row.gap_ms is not None else ""
        cells = (name, row.version, row.without or "", row.stepped or "", f"{row.crash or 'not tried'}{gap}")
        yield f"| {' | '.join(cells)} |"


def tried(name: str, may_install: bool) -> Row:
    """Try one, and tell what goes wrong in its row."""
    recipe = RECIPES[name]
    try:
        if not version_of(recipe) and may_install:
            install(recipe)
        if not version_of(recipe):
            return Row(name, "", note=f"not tried: {' '.join(recipe.packages)} not installed (--install)")
        with tempfile.TemporaryDirectory(prefix="fttcp-recipe-") as scratch:
            return row_of(recipe, Path(scratch))
    except LabError as error:
        return Row(name, version_of(recipe), note=f"not tried: {str(error)[:600]}")


@signals_interrupt()
def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of the servers; default: all")
    parser.add_argument("--install", action="store_true", help="install what is missing, with apt-get")
    parser.add_argument("--json", action="store_true", help="one JSON object for each")
    parser.add_argument("--list", action="store_true", help="only their names")
    options = parser.parse_args()
    if unknown := set(options.names) - set(RECIPES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    if options.list:
        print("\n".join(RECIPES))
        return
    become_root("the table")
    rows = []
    for name in options.names or RECIPES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(tried(name, options.install))
        if options.json:
            print(json.dumps(asdict(rows[-1])), flush=True)
    if not options.json:
        print("\n".join(markdown(rows)))


if __name__ == "__main__":
    main()
