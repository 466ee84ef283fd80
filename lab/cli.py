"""``fttcp lab``: the lab from the command line. Exit status 0 says success."""

from __future__ import annotations

import functools
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import click

from lab import links, wire
from lab.addresses import addresses
from lab.calibrate import calibrate as measure_links
from lab.campaign import campaign
from lab.endure import endure
from lab.errors import LabError
from lab.faults import make_fault
from lab.firewalls import RULE_ACTS
from lab.groups import groups
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab
from lab.network import ALL_NODES, ARBITERS, LINKS, NODES
from lab.rootless import become_root
from lab.study.cli import client, compare, new, run_command

Command = TypeVar("Command", bound=Callable[..., Any])


_NAMED = "lab.name"
"""In a context: which lab the words before a command name."""


def _before(context: click.Context, option: click.Parameter, name: str | None) -> None:
    """Keep --name for the commands of a group; the one that stands last counts."""
    if name is not None:
        context.meta[_NAMED] = name


def _which(context: click.Context, option: click.Parameter, name: str | None) -> str:
    """Return the lab that is named here, or before, or by the environment."""
    return name or context.meta.get(_NAMED) or os.environ.get("FTTCP_LAB") or "default"


_NAME_HELP = "Which lab, when several run side by side.  [env var: FTTCP_LAB; default: default]"
name_before = click.option(
    "--name",
    callback=_before,
    expose_value=False,
    is_eager=True,
    help=f"{_NAME_HELP} Here or behind the command.",
)


def lab_command(function: Command) -> Command:
    """Give a command the option --name as argument `lab`, and show a LabError as a message with status 1."""

    @click.option("--name", "name", callback=_which, help=_NAME_HELP)
    @functools.wraps(function)
    def wrapper(*args: Any, name: str, **kwargs: Any) -> Any:
        try:
            become_root(name=name)
            return function(*args, lab=Lab(name), **kwargs)
        except LabError as error:
            raise click.ClickException(str(error)) from error

    return wrapper  # type: ignore[return-value]


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
@name_before
def lab() -> None:
    """A pair, a client and a switch as hosts on this machine: real daemons, real faults."""


@lab.command()
@click.option(
    "--serve",
    multiple=True,
    metavar="PORT/PROTO=COMMAND",
    help="Protect this port; the command runs on both nodes, unmodified. May be given several times. "
    "Default: Python's web server on port 80.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Dotted path into the group's (or [node]'s) configuration, for example timing.heartbeat_ms=10; "
    "alpha. or another node's name in front limits it to that node.",
)
@click.option(
    "--arbiter",
    type=click.Choice(["none", *ARBITERS]),
    default="none",
    show_default=True,
    help="witness, etcd: a host more, with a real one that all nodes use.",
)
@click.option(
    "--nodes",
    type=click.IntRange(len(NODES), len(ALL_NODES)),
    default=len(NODES),
    show_default=True,
    help=f"How many: {', '.join(ALL_NODES)}. More than two need an arbiter.",
)
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait until the pair is in step.")
@click.option("--bare", is_flag=True, help="Hosts and network only, no daemons.")
@click.option("--keep", is_flag=True, help="When the pair does not get in step, leave the lab as it is.")
@lab_command
@signals_interrupt()
def up(
    lab: Lab,
    serve: tuple[str, ...],
    settings: tuple[str, ...],
    arbiter: str,
    nodes: int,
    timeout: float,
    bare: bool,
    keep: bool,
) -> None:
    """Start everything; returns when the pair is in step."""
    lab.up(serve, settings, wait_s=timeout, bare=bare, keep=keep, arbiter=arbiter, nodes=nodes)
    click.echo(f"lab {lab.name} is up{' (no daemons)' if bare else ', the pair is in step'}: {lab.home}")


@lab.command()
@lab_command
def down(lab: Lab) -> None:
    """Remove the lab and all that belongs to it, also when it was left half made."""
    removed = lab.down()
    click.echo(f"lab {lab.name}: {'removed' if removed else 'there was none'}")


@lab.command()
@lab_command
def env(lab: Lab) -> None:
    """Print the addresses of the lab as shell assignments."""
    for key, value in lab.env().items():
        click.echo(f"{key}={shlex.quote(value)}")


@lab.command(name="exec")
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@lab_command
def exec_(lab: Lab, host: str, command: tuple[str, ...]) -> None:
    """Run a command in HOST: client, a node, witness, switch, primary, backup or spare. Write it after --.

    Its standard streams, its exit status (128 + number when a signal ended it) and signals are passed
    through.
    """
    early: list[int] = []
    send: Callable[[int], None] = early.append
    passed = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.signal(number, lambda received, _: send(received)) for number in passed}
    at_terminal = sys.stdin.isatty()  # then the terminal itself sends SIGINT to both
    before[signal.SIGINT] = signal.signal(
        signal.SIGINT, lambda received, _: None if at_terminal else send(received)
    )
    try:
        process = lab.popen(host, command)
        send = process.send_signal
        for received in early:
            send(received)
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.exit(status if status >= 0 else 128 - status)


@lab.group()
@name_before
def fault() -> None:
    """Make something fail. Each returns when it has really happened."""


def _fault_command(kind: str, summary: str, *parameters: Callable[[Any], Any]) -> None:
    """Add the fault `kind` to the command line; its parameters are passed on by their names."""

    @json_option
    @lab_command
    def command(lab: Lab, as_json: bool, **options: Any) -> None:
        report = make_fault(lab, kind, **options)
        if as_json:
            click.echo(json.dumps(report))
        else:
            details = ", ".join(
                f"{key} {value}" for key, value in report.items() if key not in ("fault", "at_s")
            )
            click.echo(f"{kind}: {details}, at {report['at_s']:.6f} s")

    for parameter in reversed(parameters):
        command = parameter(command)
    fault.command(name=kind, help=summary)(command)


_target = click.argument("target", default="primary")
_fault_command("crash-host", "The host is gone at once: links dead, every process stopped for good.", _target)
_fault_command("kill-server", "SIGKILL of the server process.", _target)
_fault_command("hang-server", "SIGSTOP of the server process.", _target)
_fault_command("kill-node", "SIGKILL of the node daemon.", _target)
_fault_command(
    "freeze-node",
    "SIGSTOP of the node daemon, and SIGCONT after --seconds.",
    _target,
    click.option("--seconds", default=2.0, show_default=True),
)
_fault_command(
    "cut",
    "Pull a cable of a host: client (its service side), standby (a second one), peer, arbiter, or all.",
    click.argument("link", type=click.Choice([*LINKS, "all"])),
    _target,
)
_fault_command("part", "The nodes reach each other on no link; clients and an arbiter reach all of them.")
_fault_command(
    "loss",
    "Lose PERCENT of the packets on a link, in both directions.",
    click.argument("link", type=click.Choice(["client", "peer"])),
    click.argument("percent", type=click.FloatRange(0, 100)),
)
_fault_command(
    "rate",
    "Shape the client's link to MBIT Mbit/s in each direction.",
    click.argument("link", type=click.Choice(["client"])),
    click.argument("mbit", type=float),
)
_fault_command(
    "link",
    "Make a link slow, late or lossy. What is not named is not so; nothing named: a plain link. Both "
    "directions alike, or --from one sender: client, service, or a node on the peer link.",
    click.argument("link", type=click.Choice(links.LINKS)),
    click.option("--from", "sender", metavar="SENDER", help="Only what it sends; the rest stays as it is."),
    click.option("--delay-ms", type=float, default=0.0),
    click.option("--jitter-ms", type=float, default=0.0, help="Delays are even, from delay - jitter on."),
    click.option("--reorder-percent", type=float, default=0.0, help="So many are not late, and overtake."),
    click.option("--duplicate-percent", type=float, default=0.0),
    click.option("--loss-percent", type=float, default=0.0),
    click.option("--rate-mbit", type=float),
    click.option("--seed", default=1, show_default=True, help="Same seed, same fate of the n-th frame."),
)
_fault_command(
    "rules",
    "Do to a node's firewall, or rules of routing, what other programs do.",
    click.argument("act", type=click.Choice(list(RULE_ACTS))),
    click.argument("target", default="backup"),
)
_fault_command("heal", "All links up, no loss, no limit, no foreign rules; what was stopped runs on.")
_fault_command(
    "restart-host",
    "Bring a node back: a fresh host with a new daemon. Default: the one that is down.",
    click.argument("target", required=False),
)
_fault_command("switchover", "Ask the primary for a planned switchover.", _target)


@lab.command()
@click.argument("condition")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds.")
@lab_command
def wait(lab: Lab, condition: str, timeout: float) -> None:
    """Wait until CONDITION holds: synced, paired (whatever spares do), or primary=NODE."""
    lab.wait(condition, timeout)


@lab.command()
@json_option
@lab_command
def status(lab: Lab, as_json: bool) -> None:
    """What the nodes say of themselves."""
    report = lab.status()
    if as_json:
        click.echo(json.dumps(report))
        return
    for node in report["nodes"]:
        click.echo(f"{node['node']}: {'alive' if node['alive'] else node['reason']}")
        for group in node["groups"]:
            flows = ", ".join(f"{count} {kind}" for kind, count in group.get("flows", {}).items() if count)
            step = "in step" if group["synced"] else "not in step"
            click.echo(
                f"  {group['name']}: {group['role']}, epoch {group['epoch']}, {group['mode']}, {step}, "
                f"flows: {flows or 'none'}"
            )


@lab.command(name="links")
@json_option
@lab_command
def links_(lab: Lab, as_json: bool) -> None:
    """What `fault link` has made of links, and what became of frames there, by sender."""
    for told in links.show(lab):
        if as_json:
            click.echo(json.dumps(told))
            continue
        asked = ", ".join(f"{key} {value:g}" for key, value in told["terms"].items() if value)
        counts = ", ".join(
            f"{value} {key.replace('_', ' ')}"
            for key in ("frames", "lost", "duplicated", "reordered", *wire.DROPS)
            if (value := told[key]) or key == "frames"
        )
        click.echo(f"{told['link']}, from {told['from']}: {asked or 'plain'}; {counts}")


@lab.command()
@click.option("--seconds", default=5.0, show_default=True, help="Of each of the three measurements.")
@click.option("--delay-ms", default=5.0, show_default=True, help="Of each direction, in the last one.")
@json_option
@lab_command
def calibrate(lab: Lab, seconds: float, delay_ms: float, as_json: bool) -> None:
    """How exact the lab's links are on this machine: round trips of echoes, without a wire, through one, and
    with a delay. In a lab of its own."""
    readings = measure_links(lab, seconds, delay_ms)
    if as_json:
        click.echo(json.dumps([asdict(reading) for reading in readings]))
        return
    click.echo(
        f"{'round trip in us':20} {'asked':>8} {'mean':>9} "
        f"{'p10':>7} {'p50':>7} {'p90':>7} {'p99':>7} {'late':>6}"
    )
    for one in readings:
        click.echo(
            f"{one.case:20} {one.asked_us:8.0f} {one.mean_us:9.1f} {one.p10_us:7.0f} {one.p50_us:7.0f} "
            f"{one.p90_us:7.0f} {one.p99_us:7.0f} {one.late_us:6.1f}   {one.echoes} echoes"
        )


@lab.command()
@click.argument("host")
@click.option("--follow", "-f", is_flag=True, help="Go on printing until interrupted.")
@lab_command
def logs(lab: Lab, host: str, follow: bool) -> None:
    """Print the log of the daemon (and its servers' output) of HOST."""
    path = lab.log(host)
    if not path.exists():
        raise LabError(f"lab {lab.name!r}: {path} does not exist: the daemon of {host} was never started")
    sys.exit(subprocess.call(["tail", "-n", "+1", *(["-F"] if follow else []), str(path)]))


@lab.command()
@click.option("--name", callback=_which, help=_NAME_HELP)
def shell(name: str) -> None:
    """Do the other commands at a prompt, with completion."""
    from lab.shell import run

    run(lab, name)


for _command in (addresses, campaign, endure, groups, run_command, new, compare, client):
    lab.add_command(_command)
