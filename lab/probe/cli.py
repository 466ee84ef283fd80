"""``fttcp probe-server``: whether two copies of a server say the same."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from fttcp.server import calls
from lab.errors import LabError
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab
from lab.nodeconfig import parse_serve
from lab.probe import recording, scripts
from lab.probe.judge import Compared, Verdict
from lab.probe.run import Input, Probe, Run, generated, steps_of
from lab.rootless import become_root

FITS, NOT_TRIED, WITH_LOCKSTEP, PARTLY, UNFIT, WITH_CALLS = 0, 1, 10, 11, 12, 13
"""Exit status."""
IN_WORDS = {
    Verdict.SAME: "the same",
    Verdict.CONTENT: "differ in content of equal length",
    Verdict.LENGTH: "differ in length",
    Verdict.LOST: "could not be followed",
}


TIERS = {
    "auto": ("off", "connection", "calls"),
    "off": ("off",),
    "only": ("connection",),
    "calls": ("calls",),
}
"""What is tried, one after the other, until both copies say the same."""
NAMES = {
    "off": "without lock step",
    "connection": 'with lockstep = "connection"',
    "calls": "joined by a log of calls",
}


@dataclass(frozen=True)
class Advice:
    """What to do about a server."""

    status: int
    verdict: str
    sentence: str


_BESIDE = "serve it beside the group, not in it"


def advise(runs: Sequence[Run]) -> Advice:
    """What follows of the runs, in the order of TIERS. One whose client failed does not count. A log of calls
    no group can have yet: what came of it is said beside."""
    others = [run for run in runs if run.lockstep != "calls"]
    joined = [run for run in runs if run.lockstep == "calls" and not run.failed]
    if not joined:
        return _advise(others or runs)
    alike = joined[0].worst is Verdict.SAME
    words = "A log of calls keeps both copies alike" if alike else "A log of calls does not keep them alike"
    beside = f"{words}; no group can have one yet."
    if not others:
        return Advice(WITH_CALLS if alike else UNFIT, "same-with-calls" if alike else "calls", beside)
    found = _advise(others)
    return replace(found, sentence=f"{found.sentence} {beside}")


def _advise(runs: Sequence[Run]) -> Advice:
    tried = [run for run in runs if not run.failed]
    if not tried:
        return Advice(
            NOT_TRIED, "not-tried", f"Not tried: the client failed ({_statuses(runs[0])}) with both copies."
        )
    if tried[0].worst is Verdict.SAME and tried[0].lockstep == "off":
        return Advice(FITS, "same", "Protect it as it is.")
    best = min(
        tried, key=lambda run: (run.together, run.worst, -run.count(Verdict.SAME) / len(run.connections))
    )
    setting = "as it is" if best.lockstep == "off" else f'with lockstep = "{best.lockstep}"'
    if best.worst is Verdict.SAME:
        return Advice(WITH_LOCKSTEP, "same-with-lockstep", f"Protect it {setting}.")
    helped = " Lock step does not help." if best is not runs[-1] else ""
    if best.worst is Verdict.CONTENT and best.lockstep == "off":
        what = f"It can be protected {setting}; a connection at such a place when the primary dies is reset."
        return Advice(PARTLY, "content", what + helped)
    if best.together is Verdict.SAME:
        what = (
            f"It can be protected {setting}, if both copies run side by side: when one runs a second behind, "
        )
        return Advice(
            PARTLY, "clock", what + "connections are detached, and a takeover resets these." + helped
        )
    same = best.count(Verdict.SAME)
    if 2 * same >= len(best.connections):
        what = f"It can be protected {setting}: {same} of {len(best.connections)} connections are the same; "
        return Advice(PARTLY, "some", what + "others are detached, and a takeover resets these." + helped)
    if best.worst is Verdict.LOST:
        what = f"It is unfit: a copy that does not keep up cannot take over; {_BESIDE}, or mend that."
        return Advice(UNFIT, "lost", what + helped)
    what = f"It is unfit: such connections are detached, and a takeover resets them; {_BESIDE}."
    return Advice(UNFIT, "length", what + helped)


@click.command("probe-server")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--port",
    default="80/tcp",
    show_default=True,
    metavar="PORT/tcp[,...]",
    help="Where it serves. What is generated goes to the first; name others (a range: 30000-30009/tcp) that "
    "are part of it.",
)
@click.option(
    "--client",
    metavar="COMMAND",
    help="What a client does, instead of what is generated: a shell command, run in the client's host; "
    "$SERVICE4, $SERVICE6 and $PORT are the service's.",
)
@click.option(
    "--pcap",
    type=click.Path(path_type=Path),
    help="Say what recorded clients said to the port. (Not if it was encrypted: that fits one server only.)",
)
@click.option(
    "--tls/--no-tls", default=None, help="Generate over TLS. Default: on ports where that is usual."
)
@click.option(
    "--connections", type=click.IntRange(1, 1000), default=20, show_default=True, help="To generate."
)
@click.option("--at-once", type=click.IntRange(1, 64), default=4, show_default=True, help="Of these.")
@click.option(
    "--files",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Copied to the working directory of each copy.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="As in fttcp lab up.")
@click.option(
    "--lockstep",
    type=click.Choice(["auto", "off", "only", "calls"]),
    default="auto",
    show_default=True,
    help="auto: without first, with it if that differs, then by a log of calls. only, calls: one of these.",
)
@click.option("--timeout", default=30.0, show_default=True, help="Seconds for the pair to get in step.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds for the client to end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@signals_interrupt()
def probe_server(command: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Run two copies of a server side by side on the same input, and say where they differ and what to do.

    Write the server's COMMAND behind --. It runs in the lab, as root, in a directory of its own.

    Exit status: 0 the same, 10 the same with lock step only, 11 protected with exceptions (different in
    content of equal length, or only when one copy runs behind), 12 unfit (different in length, or cannot
    be followed), 13 (--lockstep calls) the same; 1 the probe or its client failed, 2 a wrong option.
    """
    try:
        become_root("the probe")
        runs = _runs(command, as_json, **options)
    except LabError as error:
        raise click.ClickException(str(error)) from error
    advice = advise(runs)
    if as_json:
        shown = {"verdict": advice.verdict, "advice": advice.sentence, "status": advice.status}
        click.echo(json.dumps({**shown, "runs": [run.as_json() for run in runs]}))
    else:
        click.echo(f"-> {advice.sentence}")
    sys.exit(advice.status)


def _runs(
    command: tuple[str, ...], quiet: bool, *, port: str, client: str | None, pcap: Path | None,
    tls: bool | None, connections: int, at_once: int, files: Path | None, settings: tuple[str, ...],
    lockstep: str, timeout: float, patience: float,
) -> list[Run]:  # fmt: skip
    """Do the runs, and tell of them."""
    serve = f"{port}={command[0] if len(command) == 1 else shlex.join(command)}"
    first = _first_port(serve)
    if client is not None and pcap is not None:
        raise click.UsageError("--client and --pcap: what is the input?")
    lab, steps = Lab(f"probe-{os.getpid()}"), list[recording.Step]()
    encrypted = first in scripts.TLS_PORTS if tls is None else tls
    if client is not None:
        given = ["env", f"PORT={first}", *_service_words(), "sh", "-c", client]
    elif pcap is not None:
        if encrypted and tls:
            raise click.UsageError("--pcap and --tls: what was recorded is said as it is")
        steps = recording.steps(pcap, frozenset({first}))
        given = generated(first, connections, at_once, False, steps_of(lab))
    else:
        given = generated(first, connections, at_once, encrypted)
    probe = Probe(serve, Input(given, patience), settings, files, timeout, steps)
    say = (lambda text: None) if quiet else (lambda text: click.echo(f"   {text}", err=True))
    runs = list[Run]()
    for tier in TIERS[lockstep]:
        if not runs or (not runs[-1].failed and runs[-1].worst is not Verdict.SAME):
            runs.append(probe.run(lab, tier, say))
            _tell(runs[-1], quiet)
    if client is None and pcap is None and not scripts.is_known(first) and not quiet:
        click.echo(
            f"   port {first} is unknown: a few lines of text were sent; --client or --pcap say more",
            err=True,
        )
    return runs


def _service_words() -> list[str]:
    from lab.network import SERVICE4, SERVICE6

    return [f"SERVICE4={SERVICE4}", f"SERVICE6={SERVICE6}"]


def _first_port(serve: str) -> int:
    ports, _ = parse_serve([serve])
    if any(not text.endswith("/tcp") for text in ports):
        raise click.UsageError("--port: TCP only; connections are compared")
    return int(re.split(r"[-/]", ports[0])[0])


def _tell(run: Run, quiet: bool) -> None:
    if not quiet:
        click.echo("\n".join(told(run)))


def told(run: Run) -> list[str]:
    """A run in lines for people."""
    counts = [f"{run.count(verdict)} {words}" for verdict, words in IN_WORDS.items() if run.count(verdict)]
    lines = [f"{NAMES[run.lockstep]}: {len(run.connections)} connections, {', '.join(counts)}"]
    example = run.example()
    if example is not None:
        lines += _example_lines(example)
        if run.together is Verdict.SAME:
            lines.append("   side by side all were the same")
    if run.log is not None:
        lines.append(f"   log of calls: {calls.sentence(run.log)}")
    if run.failed:
        lines.append(f"   the client ended with status {_statuses(run)}: {run.said[-500:]}")
    return lines


def _statuses(run: Run) -> str:
    """Of the client, in words: side by side, then with the backup's copy behind."""
    return ", ".join(map(str, run.statuses))


def _example_lines(one: Compared) -> list[str]:
    clock = ", while the backup's copy ran behind" if one.later else ""
    if one.at is None:
        return [f"   connection {one.number} from {one.name}: {one.why}{clock}"]
    where = f"{IN_WORDS[one.verdict]} at byte {one.at} of {one.lengths[0]} and {one.lengths[1]}"
    engine = f", detached ({one.why})" if one.why else ""
    lines = [f"   connection {one.number} from {one.name}: {where}{engine}{clock}"]
    for side, text in zip(("primary", "backup"), one.excerpt, strict=True):
        lines += [f"      {side:<8} {row}" for row in text.splitlines() or ["(nothing)"]]
    return lines
