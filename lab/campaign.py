"""``fttcp lab campaign``: many runs with random workloads, faults and moments, reproducible by seed."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import click

from lab import experiment
from lab.errors import LabError, require_root
from lab.experiment import DISTURBANCES, TCP_OPTIONS, Case, Outcome
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab
from lab.links import Terms
from lab.network import CLIENT
from lab.segments import Segment
from lab.workloads.registry import SETS, USUAL, WORKLOADS, serve_specs

DURATION_S = 4.0
EARLIEST_S, LATEST_S = 0.05, 2.5
BETWEEN_S = 8.0  # what a further failure adds to a run: the failed node returns, connections are renewed
PLAIN_TCP = 0.6  # share of the runs whose client has all TCP options on
WRAPPING = 0.25  # share of the runs whose client begins shortly before sequence number 2^32
IN_STEP = ("lockstep=connection",)
COOKIES = 0.2  # share of the runs in which one node answers SYNs by cookies


@dataclass(frozen=True)
class Choice:
    """What a campaign draws from; the defaults are everything that a group serves as it comes."""

    workloads: Sequence[str] = USUAL
    faults: Sequence[str] = tuple(DISTURBANCES)
    families: Sequence[int] = (4, 6)


@dataclass(frozen=True)
class Topology:
    """Where nodes and the client of a campaign are; `what` says it."""

    what: str
    segments: Sequence[Segment] = ()
    client: str = CLIENT

    @property
    def reorders(self) -> bool:
        """Whether data may overtake the handshake's last acknowledgement. With SYN cookies Linux resets such
        a connection: it takes the first segment's number for that of the SYN (``__cookie_v4_check``)."""
        return any(segment.terms.reorder_percent for segment in self.segments)

    def has(self, fault: str) -> bool:
        """Whether a fault does there what it is called: frames are lost at the lab's own client only."""
        return self.client == CLIENT or fault not in ("loss-client", "loss-both")


_FAR = Terms(delay_ms=10, jitter_ms=1, reorder_percent=0.5, loss_percent=0.1, rate_mbit=200)
TOPOLOGIES = {
    "segment": Topology("all at one switch"),
    "trunk": Topology("the second node at another switch", [Segment("floor2", hosts=["beta"])]),
    "router": Topology("the client behind a router", [Segment("office", "router", ["far"])], "far"),
    "wide": Topology(
        f"the client behind a router, {_FAR.delay_ms:g} ms away, {_FAR.loss_percent:g} % lost",
        [Segment("wan", "router", ["far"], _FAR)],
        "far",
    ),
}


def run_seeds(seed: int, runs: int) -> list[int]:
    """The seeds of the runs; the first is the campaign's own, so that a run can be done again alone."""
    source = Random(seed)
    return [seed, *(source.randrange(1 << 31) for _ in range(runs - 1))][:runs]


def plan(seed: int, choice: Choice, failures: int = 1) -> Case:
    """The case that belongs to a run's seed; each of its parts is drawn independently of the others."""

    def draw(part: str) -> Random:
        return Random(f"{seed} {part}")

    plain = draw("tcp").random() < PLAIN_TCP
    wraps = draw("wrap").random() < WRAPPING
    tcp = {} if plain else {name: draw(name).random() < 0.5 for name in TCP_OPTIONS}
    further = [fault for fault in choice.faults if fault != "none"]
    then = [(draw(f"fault {n}"), draw(f"moment {n}")) for n in range(2, failures + 1) if further]
    return Case(
        workload=draw("workload").choice(list(choice.workloads)),
        fault=draw("fault").choice(list(choice.faults)),
        family=draw("family").choice(list(choice.families)),
        seed=seed,
        moment_s=round(draw("moment").uniform(EARLIEST_S, LATEST_S), 4),
        duration_s=DURATION_S + len(then) * BETWEEN_S,
        client_iss=2**32 - draw("iss").randrange(1, 5_000_000) if wraps else None,
        tcp=tcp,
        # without timestamps a cookie has no room for options
        cookies=tcp.get("timestamps", True) and draw("cookies").random() < COOKIES,
        then=tuple(
            (fault.choice(further), round(moment.uniform(EARLIEST_S, LATEST_S), 4)) for fault, moment in then
        ),
        pool=tuple(choice.faults) if then else (),
    )


@dataclass
class Report:
    """The figures of a campaign; `settings` and `topology` are those of its lab, which a run needs to be done
    again."""

    settings: Sequence[str] = ()
    topology: str = "segment"
    runs: int = 0
    survived: int = 0
    wrong_bytes: int = 0
    rebuilt: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    detached: Counter[str] = field(default_factory=Counter)
    detached_runs: list[dict[str, Any]] = field(default_factory=list)
    taken_over: Counter[str] = field(default_factory=Counter)  # runs by workload, of servers kept in step
    went_on: Counter[str] = field(default_factory=Counter)  # of those: none of their connections was reset
    cut_runs: list[dict[str, Any]] = field(default_factory=list)
    struck: Counter[int] = field(default_factory=Counter)  # runs, by how many failures struck before the end
    unrenewed: int = 0  # connections that were still being caught up with as a further failure struck
    excused: list[dict[str, Any]] = field(default_factory=list)  # a connection ended that was not protected
    gaps_ms: list[float] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.survived += outcome.ok
        self.wrong_bytes += outcome.kind == "wrong"
        self.detached.update(outcome.detached)
        case = outcome.case
        if outcome.ok and case.fault != "none":
            self.gaps_ms.append(outcome.gap_ms)
        told = {
            "seed": case.seed,
            "workload": case.workload,
            "fault": case.fault,
            "family": case.family,
            "again": again(case, self.settings, self.topology),
            "evidence": outcome.directory,
        }
        if not outcome.ok:
            self.failures.append(told | {"why": outcome.why})
        if outcome.detached:
            self.detached_runs.append(told | {"detached": outcome.detached})
        if WORKLOADS[case.workload].in_step and DISTURBANCES[case.fault].takeover:
            self.taken_over[case.workload] += 1
            self.went_on[case.workload] += outcome.ok and not outcome.cut
        self.struck[(outcome.strike is not None) + len(outcome.then)] += 1
        self.unrenewed += outcome.unrenewed
        if outcome.excused:
            self.excused.append(told | {"why": outcome.excused})
        if outcome.ok and outcome.cut:
            self.cut_runs.append(told | {"resets": outcome.cut, "errors": outcome.client["errors"]})

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data; times in milliseconds."""
        return {
            "runs": self.runs,
            "survived": self.survived,
            "wrong_bytes": self.wrong_bytes,
            "failures": self.failures,
            "gap_ms": percentiles(self.gaps_ms),
            "detached": dict(self.detached),
            "detached_runs": self.detached_runs,
            "taken_over": dict(self.taken_over),
            "went_on": dict(self.went_on),
            "cut_runs": self.cut_runs,
            "struck": dict(sorted(self.struck.items())),
            "unrenewed": self.unrenewed,
            "excused": self.excused,
            "rebuilt": self.rebuilt,
        }


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p99 and max of the values (each None when there are none), by nearest rank."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p99": None, "max": None}
    last = len(ordered) - 1
    return {"p50": ordered[round(last * 0.5)], "p99": ordered[round(last * 0.99)], "max": ordered[-1]}


def again(case: Case, settings: Sequence[str] = (), topology: str = "segment") -> str:
    """The command that does this run again, as a shell reads it."""
    words = ["fttcp", "lab", "campaign", "--runs", "1", "--seed", str(case.seed)]
    words += ["--workload", case.workload, "--fault", ",".join(case.pool) or case.fault]
    words += ["--family", str(case.family)]
    words += ["--failures", str(1 + len(case.then))] if case.then else []
    words += ["--topology", topology] if topology != "segment" else []
    for setting in settings:
        words += ["--set", setting]
    return shlex.join(words)


class Campaign:
    """Runs cases one after the other on one lab, which is mended between runs, or else made anew."""

    def __init__(
        self,
        lab: Lab,
        evidence: Path,
        settings: Sequence[str] = (),
        workloads: Sequence[str] = (),
        topology: str = "segment",
    ) -> None:
        self._lab = lab
        self._topology = TOPOLOGIES[topology]
        self._evidence = evidence
        in_step = [WORKLOADS[name].in_step for name in workloads]
        self.settings = (*(IN_STEP if any(in_step) else ()), *settings)
        self._serve = serve_specs(workloads or None)
        # a workload that is done again alone asks for its own needs, not for those of the others
        self.report = Report(settings if all(in_step) else self.settings, topology)

    def __enter__(self) -> Campaign:
        self._up()
        return self

    def _up(self) -> None:
        self._lab.up(self._serve, self.settings, more=self._topology.segments)

    def __exit__(self, *exc: object) -> None:
        self._lab.down()

    def run(self, case: Case) -> Outcome:
        """Do one run, its client where the topology has it, count it, and mend the lab."""
        topology = self._topology
        case = replace(case, client=topology.client, cookies=case.cookies and not topology.reorders)
        directory = self._evidence / f"{case.seed}-{case.workload}-{case.fault}-v{case.family}"
        try:
            outcome = experiment.run(self._lab, case, directory)
        except LabError as error:
            outcome = Outcome(case, kind="lab", why=f"lab: {error}", directory=str(directory))
            experiment.keep_logs(self._lab, directory)
        self.report.add(outcome)
        try:
            experiment.mend(self._lab)
        except LabError as error:
            experiment.keep_logs(self._lab, directory)
            click.echo(f"the lab is made anew, its logs are in {directory}: {error}", err=True)
            self.report.rebuilt += 1
            self._lab.down()
            self._up()
        return outcome


def _names(known: Sequence[str], sets: Mapping[str, Sequence[str]], usual: Sequence[str]) -> Any:
    def parse(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        given = tuple(filter(None, (value or "").split(",")))
        names = dict.fromkeys(name for one in given for name in sets.get(one, (one,)))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise click.BadParameter(f"{', '.join(unknown)}: unknown; wanted: {', '.join((*sets, *known))}")
        return tuple(names or usual)

    return parse


FAULTS, FAMILIES = tuple(DISTURBANCES), ("4", "6")


def _list(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    for workload in WORKLOADS.values():
        ports = dict.fromkeys(workload.server.ports.values())
        place = f"{workload.server.name} {'/'.join(map(str, ports))}/{workload.server.proto}"
        click.echo(f"{workload.name:20} {place:22} {workload.what}")
    click.echo(f"\nfaults: {', '.join(FAULTS)}")
    context.exit()


@click.command()
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="List workloads, their servers and ports (IPv4/IPv6 where they differ), and faults.",
)
@click.option("--runs", default=10, show_default=True, type=click.IntRange(1))
@click.option(
    "--seed", default=1, show_default=True, type=int, help="Seed of the campaign (and of its first run)."
)
@click.option(
    "--workload",
    callback=_names(list(WORKLOADS), SETS, USUAL),
    help=f"Workloads or sets of them ({', '.join(SETS)}), with commas. Default: usual.",
)
@click.option("--fault", callback=_names(FAULTS, {}, FAULTS), help="Faults, with commas. Default: all.")
@click.option("--family", callback=_names(FAMILIES, {}, FAMILIES), help="4, 6 or both. Default: both.")
@click.option(
    "--failures",
    default=1,
    show_default=True,
    type=click.IntRange(1, 20),
    help="Faults in each run, one after the other: the pair is made whole and renews connections in between.",
)
@click.option(
    "--topology",
    default="segment",
    show_default=True,
    type=click.Choice(list(TOPOLOGIES)),
    help="Nodes and client: " + "; ".join(f"{name}: {one.what}" for name, one in TOPOLOGIES.items()),
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="As for lab up.")
@click.option(
    "--evidence", default="campaign", show_default=True, type=click.Path(path_type=Path), help="Directory."
)
@click.option("--keep-going/--stop", default=True, show_default=True, help="Go on after a failed run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--name",
    callback=lambda context, _, name: (
        name or context.meta.get("lab.name") or os.environ.get("FTTCP_LAB") or "campaign"
    ),
    help="Name of the lab that is made for it.  [default: campaign]",
)
@signals_interrupt()
def campaign(
    runs: int,
    seed: int,
    workload: tuple[str, ...],
    fault: tuple[str, ...],
    family: tuple[str, ...],
    failures: int,
    topology: str,
    settings: tuple[str, ...],
    evidence: Path,
    keep_going: bool,
    as_json: bool,
    name: str,
) -> None:
    """Random fault moments over workloads. A run that failed, or in which flows lost their protection, keeps
    logs and captures of both links. Who ends it early is told of the runs that were done."""
    faults = [name for name in fault if TOPOLOGIES[topology].has(name)]
    if not faults:
        raise click.UsageError(
            f"{', '.join(fault)}: in topology {topology} the client's own cable is not at fault"
        )
    choice = Choice(workload, faults, [int(one) for one in family])
    series = Campaign(Lab(name), evidence, settings, workload, topology)
    try:
        require_root()
        with series:
            for number, one in enumerate(run_seeds(seed, runs), 1):
                case = plan(one, choice, failures)
                outcome = series.run(case)
                click.echo(progress(number, runs, outcome), err=True)
                if not (outcome.ok or keep_going):
                    break
    except LabError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        tell(series.report, as_json)
        raise
    tell(series.report, as_json)
    sys.exit(1 if series.report.failures else 0)


def tell(report: Report, as_json: bool) -> None:
    """Print a campaign's figures."""
    figures = report.as_dict()
    click.echo(json.dumps(figures) if as_json else summary(figures))


def progress(number: int, runs: int, outcome: Outcome) -> str:
    """One line about a run."""
    case = outcome.case
    verdict = (
        f"survived, gap {outcome.gap_ms:.0f} ms" if outcome.ok else f"FAILED: {outcome.why.splitlines()[0]}"
    )
    off = [name for name, on in case.tcp.items() if not on]
    options = f" without {','.join(off)}" if off else ""
    options += " with cookies" if case.cookies else ""
    lost = f", {detached_text(outcome.detached)}" if outcome.detached else ""
    lost += f", {outcome.cut} reset" if outcome.cut else ""
    faults = ",".join([case.fault, *outcome.then])
    lost += ", ended unprotected" if outcome.excused else ""
    what = f"{case.workload} {faults} v{case.family} at {case.moment_s:.2f} s{options}"
    return f"run {number}/{runs} seed {case.seed}: {what}: {verdict}{lost}"


def detached_text(detached: Mapping[str, int]) -> str:
    """How many flows lost their protection, by reason."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(detached.items()))
    return f"detached: {reasons or 'none'}"


def shares(report: dict[str, Any]) -> str:
    """Of how many takeovers the connections of servers in step went on, in all and by workload."""
    went_on, taken_over = report["went_on"], report["taken_over"]
    total = f"{sum(went_on.values())} of {sum(taken_over.values())}"
    each = ", ".join(f"{name} {went_on[name]}/{count}" for name, count in sorted(taken_over.items()))
    return f"{total} ({each})"


def summary(report: dict[str, Any]) -> str:
    """A campaign's figures as text."""
    gap = report["gap_ms"]
    lines = [
        f"{report['survived']} of {report['runs']} runs survived, {report['wrong_bytes']} with wrong bytes, "
        f"flows {detached_text(report['detached'])}",
        f"gap ms: p50 {gap['p50']}, p99 {gap['p99']}, max {gap['max']}",
    ]
    if any(int(number) > 1 for number in report["struck"]):
        by_number = ", ".join(f"{count} of {number}" for number, count in report["struck"].items())
        unrenewed, excused = report["unrenewed"], len(report["excused"])
        lines.append(
            f"failures that struck: {by_number}; {unrenewed} not renewed in time, {excused} ended unprotected"
        )
    if report["taken_over"]:
        lines.append(f"went on at a takeover, of all runs with one: {shares(report)}")
    lines += [f"ended unprotected: {one['again']}\n  {one['why']}" for one in report["excused"]]
    lines += [f"failed: {failure['again']}\n  {failure['why']}" for failure in report["failures"]]
    lines += [
        f"{detached_text(one['detached'])}: {one['again']}\n  evidence in {one['evidence']}"
        for one in report["detached_runs"]
    ]
    lines += [
        f"{one['resets']} reset: {one['again']}\n  {one['errors'][0]}\n  evidence in {one['evidence']}"
        for one in report["cut_runs"]
    ]
    return "\n".join(lines)
