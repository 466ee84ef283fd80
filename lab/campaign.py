"""``fttcp lab campaign``: many runs with random workloads, faults and moments, reproducible by seed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import click

from lab import experiment
from lab.errors import LabError
from lab.experiment import DISTURBANCES, TCP_OPTIONS, Case, Outcome
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab, rehearse
from lab.network import CLIENT, NODES
from lab.rootless import become_root
from lab.segments import Segment
from lab.study.cli import find
from lab.study.scene import Scene, scenes_of
from lab.tally import Report, detached_text, summary
from lab.wire import Terms
from lab.workloads.registry import SETS, USUAL, WORKLOADS, serve_specs

DURATION_S = 4.0
UP_S = 60.0
LOSSY_RATE = 3_000_000  # bytes per second, of the 12 of other runs
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
    topologies: Sequence[str] = ("segment",)


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
        topology=draw("topology").choice(list(choice.topologies)),
    )


def placed(case: Case) -> Case:
    """The case with what follows from its topology and fault: where its client is; no SYN cookies where data
    may overtake; and as much traffic as a link carries that loses frames."""
    topology, access = TOPOLOGIES[case.topology], DISTURBANCES[case.fault].access
    overtaken = topology.reorders or access.reorder_percent
    rate = min(case.rate, LOSSY_RATE) if access.loss_percent else case.rate
    return replace(case, client=topology.client, cookies=case.cookies and not overtaken, rate=rate)


class Campaign:
    """Runs cases one after the other. Our own workloads have one lab, which is mended between runs, or else
    made anew; the `scenes` of a file have a lab for each run."""

    def __init__(
        self,
        lab: Lab,
        evidence: Path,
        settings: Sequence[str] = (),
        workloads: Sequence[str] = (),
        scenes: Mapping[str, Scene] | None = None,
        file: str = "",
    ) -> None:
        self._lab, self._evidence = lab, evidence
        self._scenes = scenes or {}
        self._there = ""
        in_step = [] if scenes else [WORKLOADS[name].in_step for name in workloads]
        self.settings = (*(IN_STEP if any(in_step) else ()), *settings)
        self._serve = [] if scenes else serve_specs(workloads or None)
        # a workload that is done again alone asks for its own needs, not for those of the others
        self.report = Report(settings if all(in_step) else self.settings, file)

    def __enter__(self) -> Campaign:
        """Raises LabError when one of its labs would be refused."""
        if not self._scenes:
            rehearse(self._serve, self.settings, "none", len(NODES))
        for name, scene in self._scenes.items():
            try:
                rehearse(scene.serve, [*scene.settings, *self.settings], scene.arbiter, len(NODES))
            except LabError as error:
                raise LabError(f"{name}: {error}") from error
        return self

    def __exit__(self, *exc: object) -> None:
        self._lab.down()

    def _up(self, case: Case) -> None:
        """The lab that a case needs, if it is not there."""
        topology, scene = TOPOLOGIES[case.topology], self._scenes.get(case.workload)
        if scene is not None:
            settings, more = [*scene.settings, *self.settings], [*scene.segments, *topology.segments]
            self._lab.up(
                scene.serve, settings, wait_s=UP_S, arbiter=scene.arbiter, prepare=scene.prepare, more=more
            )
        elif self._there != case.topology:
            self._lab.down()
            self._lab.up(self._serve, self.settings, more=topology.segments)
            self._there = case.topology

    def run(self, case: Case) -> Outcome:
        """Do one run, its client where the topology has it, count it, and mend or remove the lab."""
        case, scene = placed(case), self._scenes.get(case.workload)
        directory = self._evidence / f"{case.seed}-{case.workload}-{case.fault}-v{case.family}"
        try:
            self._up(case)
            outcome = experiment.run(self._lab, case, directory, traffic=scene)
        except LabError as error:
            outcome = Outcome(case, kind="lab", why=f"lab: {error}", directory=str(directory))
            if self._lab.home.exists():
                experiment.keep_logs(self._lab, directory)
        self.report.add(outcome)
        if scene is not None:
            self._lab.down()
        else:
            self._mend(directory)
        return outcome

    def _mend(self, directory: Path) -> None:
        try:
            experiment.mend(self._lab)
        except LabError as error:
            if self._lab.home.exists():
                experiment.keep_logs(self._lab, directory)
            click.echo(f"the lab is made anew, its logs are in {directory}: {error}", err=True)
            self.report.rebuilt += 1
            self._lab.down()
            self._there = ""


def _names(text: str | None, known: Sequence[str], sets: Mapping[str, Sequence[str]], what: str) -> list[str]:
    """Names with commas, or of sets; none: none. Raises click.BadParameter."""
    given = filter(None, (text or "").split(","))
    names = dict.fromkeys(name for one in given for name in sets.get(one, (one,)))
    unknown = [name for name in names if name not in known]
    if unknown:
        wanted = ", ".join((*sets, *known))
        raise click.BadParameter(f"{', '.join(unknown)}: unknown; wanted: {wanted}", param_hint=what)
    return list(names)


def _of(known: Sequence[str], usual: Sequence[str]) -> Any:
    """An option that has some of these names."""
    return lambda context, option, text: _names(text, known, {}, f"--{option.name}") or list(usual)


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
@click.argument("file", required=False)
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
    help=f"Workloads or sets of them ({', '.join(SETS)}), with commas; of a FILE what it sweeps. Default: "
    "usual, of a FILE all.",
)
@click.option("--fault", callback=_of(FAULTS, FAULTS), help="Faults, with commas. Default: all.")
@click.option("--family", callback=_of(FAMILIES, FAMILIES), help="4, 6 or both; in a FILE clients say it.")
@click.option(
    "--failures",
    default=1,
    show_default=True,
    type=click.IntRange(1, 20),
    help="Faults in each run, one after the other: the pair is made whole and renews connections in between.",
)
@click.option(
    "--topology",
    callback=_of(list(TOPOLOGIES), ["segment"]),
    help="Nodes and client, with commas: "
    + "; ".join(f"{name}: {one.what}" for name, one in TOPOLOGIES.items())
    + ". Default: segment.",
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
    file: str | None,
    runs: int,
    seed: int,
    workload: str | None,
    fault: list[str],
    family: list[str],
    failures: int,
    topology: list[str],
    settings: tuple[str, ...],
    evidence: Path,
    keep_going: bool,
    as_json: bool,
    name: str,
) -> None:
    """Random fault moments over workloads, or over the servers and clients of FILE: an experiment, or the
    name of one that comes with fttcp; its own faults and repetitions do not count. A run that failed, or in
    which flows lost their protection, keeps logs and captures of both links. Who ends it early is told of the
    runs that were done."""
    families = [int(one) for one in family]
    with TemporaryDirectory(prefix="fttcp-campaign-") as scratch:
        try:
            become_root(name=name)
            Path(scratch).chmod(0o755)  # some make their files as a user of their own
            scenes = scenes_of(find(file), Path(scratch)) if file else {}
            known, sets = (list(scenes), {}) if scenes else (list(WORKLOADS), SETS)
            names = _names(workload, known, sets, "--workload") or list(scenes or USUAL)
            choice = Choice(names, fault, [4] if scenes else families, topology)
            series = Campaign(Lab(name), evidence, settings, names, scenes, file or "")
            try:
                _play(series, [plan(one, choice, failures) for one in run_seeds(seed, runs)], keep_going)
            except KeyboardInterrupt:
                tell(series.report, as_json)
                raise
        except LabError as error:
            raise click.ClickException(str(error)) from error
    tell(series.report, as_json)
    sys.exit(1 if series.report.failures else 0)


def _play(series: Campaign, cases: Sequence[Case], keep_going: bool) -> None:
    """Do the runs, with a line for each."""
    with series:
        for number, case in enumerate(cases, 1):
            outcome = series.run(case)
            click.echo(progress(number, len(cases), outcome), err=True)
            if not (outcome.ok or keep_going):
                break


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
    place = "" if case.topology == "segment" else f" {case.topology}"
    what = f"{case.workload} {faults}{place} v{case.family} at {case.moment_s:.2f} s{options}"
    return f"run {number}/{runs} seed {case.seed}: {what}: {verdict}{lost}"
