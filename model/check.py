#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check the model of ownership with Spin: what must hold does, and what must break does.

``check.py`` runs all but what is long, ``check.py --quick`` what takes seconds, ``check.py NAME...`` the runs
of these names; ``--explain`` also prints, in words, the run of the model that breaks a property. The exit
status is 0 only if every result is the expected one. docs/model.md explains names and bounds.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

MODELS = Path(__file__).parent
BUILD = MODELS.parent / "build" / "model"
MEMORY_MB = 8000
DEPTH = 6_000_000

SMALL = ("LEASE=1", "TERM=2")
SLOWER = ("LEASE=2", "TERM=2")
MANY = (*SMALL, "THIRD")
STILL = "still.pml"
EPOCHS = (*SMALL, "NO_SWITCHOVER", "NUMBERS=3")


class CheckError(Exception):
    """A result that is not the expected one, or a tool that failed."""


@dataclass(frozen=True)
class Run:
    """One run of Spin. ``breaks``: it must fail, for a rule was left out; ``long``: only done if named;
    ``model``: its file."""

    name: str
    what: str
    defines: tuple[str, ...] = SMALL
    breaks: bool = False
    quick: bool = False
    long: bool = False
    model: str = "ownership.pml"

    @property
    def live(self) -> bool:
        """True if liveness is checked, else safety."""
        return "LIVENESS" in self.defines


def mutation(rule: str, what: str, *defines: str, name: str = "") -> Run:
    """Return the run that leaves ``rule`` out of the model."""
    name = name or rule.lower().replace("_", "-")
    return Run(name, what, (*(defines or SMALL), rule), breaks=True, quick=True)


def still_mutation(rule: str, what: str) -> Run:
    """Return the run that leaves out what nodes without an arbiter need that stand still."""
    return replace(mutation(rule, what), model=STILL, defines=(rule,))


def live_mutation(rule: str, what: str) -> Run:
    """Return the run that leaves out what liveness needs."""
    return mutation(rule, what, *SLOWER, "LIVENESS", "THIRD")


HOLDS = (
    Run("safety-small", "I1, more than two nodes, shortest leases", MANY, quick=True),
    Run("safety", "I1, two nodes", ("LEASE=2", "TERM=3")),
    Run("safety-many", "I1, more than two nodes, longer leases", (*SLOWER, "THIRD")),
    Run("safety-consent", "I1, two nodes may also agree without the arbiter", (*SMALL, "CONSENT")),
    Run("safety-halts", "I1, two nodes, a daemon stands still between decision and order", (*SMALL, "HALTS")),
    Run("fail-closed", "I4: a node that takes no step falls silent", (*SMALL, "NO_SWITCHOVER", "STOPPED")),
    Run("epochs", "no epoch belongs to two holders", EPOCHS),
    Run("liveness", "after all faults two nodes serve", (*SLOWER, "LIVENESS")),
    Run("liveness-many", "more than two nodes", (*SLOWER, "LIVENESS", "THIRD", "NO_SWITCHOVER")),
    Run("liveness-all", "more than two nodes, and switchovers", (*SLOWER, "LIVENESS", "THIRD"), long=True),
    Run(
        "still",
        "I1, I3, no arbiter: nodes stand still, and none gives way in vain",
        (),
        quick=True,
        model=STILL,
    ),
    Run("no-floor", "I1 without the floor of grants: it is a second line", (*MANY, "NO_FLOOR"), long=True),
)
BREAKS = (
    mutation("NO_LEASE_WAIT", "a backup does not wait for its grants to end"),
    mutation("NO_CAS", "the arbiter writes without comparing"),
    mutation("GRANT_AND_OWN", "a node grants while it has a lease of its own"),
    mutation("NO_SOLO_WAIT", "the arbiter does not wait for a solo holder's lease to lapse"),
    mutation("NO_DRIFT", "a backup waits D, not D * (1 + drift)"),
    mutation("NO_TERM_DRIFT", "the arbiter waits the term, not the term * (1 + drift)"),
    mutation("NO_CAP", "the engine renews a lease of its own beyond the arbiter's"),
    mutation("NO_START_WAIT", "a node that starts does not wait for grants of its former life"),
    mutation("OWN_WHILE_PAIRING", "a node keeps its own lease until it knows that paired was won"),
    mutation("GRANT_AND_CLAIM", "a backup grants while its claim is under way"),
    mutation("FORGETFUL", "the arbiter forgets the record when it starts again"),
    mutation("NO_CAS", "the same: one epoch for two holders", *EPOCHS, "ONLY_EPOCHS", name="no-cas-epochs"),
    mutation("NO_LIMIT", "grants count although the record may be a solo one that lapses", *MANY),
    mutation("LIMIT_LATER", "the grants' limit follows the proposal of a solo record", *MANY),
    mutation("GRANT_IN_DOUBT", "a backup grants although a proposal of its own may be carried out", *MANY),
    mutation("GRANT_TO_REPLACED", "a backup grants to an owner although it knows of a newer one", *MANY),
    mutation("OPENS_LATE", "the order to emit does not say until when", *SMALL, "HALTS"),
    mutation("BOUND_EARLY", "a withdrawn grant ends with the decision, not with the order", *SMALL, "HALTS"),
    still_mutation("GIVES_WAY_AT_ONCE", "a node that stood still does not wait 2 D for its partner's word"),
    still_mutation("STILLNESS_UNNOTICED", "a node that stood still takes what it finds for a loss"),
    live_mutation("NEVER_LAPSES", "a solo holder's lease never lapses"),
    live_mutation("NO_TAKING_BACK", "a primary waits for the answer to its offer for ever"),
    live_mutation("CLINGS", "a silent primary goes on to call itself one"),
    live_mutation("STAYS_PAIRED", "a primary whose grants are limited waits for an arbiter for ever"),
    live_mutation("NO_MAKING_WAY", "nodes that cannot serve leave their pair's record as it is"),
)


@dataclass(frozen=True)
class Result:
    """What pan said."""

    broken: str
    """The property that failed; '' if all held in the full state space."""
    states: int
    transitions: int
    memory_mb: float
    seconds: float
    """Of processor time."""
    steps: int = field(default=0)
    """Length of the run that breaks the property."""


def tool(name: str) -> str:
    """Return the path of a program; raises CheckError naming its package."""
    path = shutil.which(name)
    if path is None:
        raise CheckError(f"{name} is not installed: run make packages as root, or install it")
    return path


def execute(arguments: list[str], directory: Path) -> str:
    """Run a program and return all its output; raises CheckError if it fails."""
    done = subprocess.run(arguments, cwd=directory, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if done.returncode:
        raise CheckError(f"{' '.join(arguments)} failed with status {done.returncode}:\n{output}")
    return output


def build(run: Run, directory: Path) -> Path:
    """Make the verifier of ``run`` in ``directory`` and return its path."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for part in MODELS.glob("*.pml"):
        shutil.copy(part, directory)
    execute([tool("spin"), "-a", *(f"-D{word}" for word in run.defines), run.model], directory)
    # BFS finds the shortest run that breaks safety. Cycles need DFS, and timeout excludes reduction.
    search = ["-DNOREDUCE"] if run.live else ["-DSAFETY", "-DNOCLAIM", *(["-DBFS"] if run.breaks else [])]
    speed = "-O1" if run.breaks else "-O2"  # those are found at once, compiling takes longer
    execute([tool("cc"), speed, "-w", f"-DMEMLIM={MEMORY_MB}", *search, "-o", "pan", "pan.c"], directory)
    return directory / "pan"


def number(pattern: str, output: str) -> float:
    """Return the number that ``pattern`` finds; raises CheckError if it is not there."""
    found = re.search(pattern, output)
    if found is None:
        raise CheckError(f"this output of pan has no {pattern!r}:\n{output}")
    return float(found[1])


def verify(run: Run, directory: Path) -> Result:
    """Run the verifier; raises CheckError if it did not see the whole state space and found nothing."""
    pan = build(run, directory)
    hash_bits = "-w22" if run.breaks else "-w26"
    limits = [] if run.breaks and not run.live else [f"-m{DEPTH}"]
    began = getrusage(RUSAGE_CHILDREN).ru_utime
    output = execute([str(pan), hash_bits, *limits, *(["-a"] if run.live else [])], directory)
    seconds = getrusage(RUSAGE_CHILDREN).ru_utime - began
    broken = ""
    if number(r"errors: (\d+)", output):
        broken = "liveness" if "acceptance cycle" in output else "safety"
    elif re.search("max search depth too small|Search not completed|out of memory|reached -DMEMLIM", output):
        raise CheckError(f"{run.name}: the state space was not searched to its end:\n{output}")
    return Result(
        broken,
        int(number(r"([\d.e+]+) states, stored", output)),
        int(number(r"([\d.e+]+) transitions", output)),
        number(r"([\d.]+)\s+total actual memory usage", output),
        seconds,
        int(number(r"depth reached (\d+)", output)) if broken else 0,
    )


def judge(run: Run, result: Result) -> str:
    """Return what is wrong with the result, or ''."""
    if not run.breaks:
        return f"{result.broken} does not hold" if result.broken else ""
    if not result.broken:
        return "the model holds although a rule is missing: it does not check that rule"
    wanted = "liveness" if run.live else "safety"
    return "" if result.broken == wanted else f"{result.broken} broke, {wanted} was to break"


def explain(run: Run, directory: Path) -> str:
    """Return the run that breaks the property, one step a line."""
    replay = [tool("spin"), "-t", *(f"-D{word}" for word in run.defines), run.model]
    done = subprocess.run(replay, cwd=directory, capture_output=True, text=True, check=False)
    step = re.compile(r"\s*(node \d|the arbiter|the third|a third|a tick|calm|<<<<<START OF CYCLE)")
    return "\n".join("    " + line.strip() for line in done.stdout.splitlines() if step.match(line))


def report(run: Run, result: Result, wrong: str) -> str:
    """Return one line about a run."""
    verdict = "WRONG" if wrong else f"breaks {result.broken}" if result.broken else "holds"
    steps = f" {result.steps:3} steps" if result.broken == "safety" else " " * 10
    return (
        f"{run.name:18} {verdict:16} {result.states:>10,} states {result.transitions:>12,} transitions "
        f"{result.memory_mb:>6,.0f} MB {result.seconds:5.1f} s{steps}  {run.what}"
    )


def check(run: Run, explaining: bool) -> bool:
    """Do one run and print its line; True if the result is the expected one."""
    directory = BUILD / run.name
    result = verify(run, directory)
    wrong = judge(run, result)
    print(report(run, result, wrong), flush=True)
    if result.broken and (explaining or wrong):
        print(explain(run, directory), flush=True)
    if wrong:
        print(f"  {run.name}: {wrong}", flush=True)
    return not wrong


def chosen(names: list[str], quick: bool) -> list[Run]:
    """Return the runs that were asked for; raises CheckError for a name that does not exist."""
    runs = [*HOLDS, *BREAKS]
    if unknown := set(names) - {run.name for run in runs}:
        known = ", ".join(run.name for run in runs)
        raise CheckError(f"no such run: {', '.join(sorted(unknown))}; there are {known}")
    if names:
        return [run for run in runs if run.name in names]
    return [run for run in runs if run.quick or not (quick or run.long)]


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="Check the model of ownership with Spin.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these runs")
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    parser.add_argument("--explain", action="store_true", help="print, in words, how a property breaks")
    arguments = parser.parse_args()
    began = time.monotonic()
    try:
        runs = chosen(arguments.names, arguments.quick)
        results = [check(run, arguments.explain) for run in runs]
    except CheckError as error:
        print(f"model: {error}", file=sys.stderr)
        return 1
    print(f"{sum(results)} of {len(runs)} results as expected, {time.monotonic() - began:.0f} s")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
