"""``fttcp lab groups``: what many groups on one pair cost, and how long their takeover takes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import click

from lab.crowd import WITHIN_S, Crowd, Status
from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.interrupt import signals_interrupt
from lab.network import NODES
from lab.nodeconfig import PRIORITIES
from lab.rootless import become_root

Report = dict[str, Any]
STEPS = {"gate": "gates open", "announced": "announced", "done": "done"}
"""Of a takeover, as its status names them; as people read them."""


class _Pair(Crowd):
    """All groups owned by the first node."""

    def group(self, number: int, node: str) -> dict[str, Any]:
        """A group's section in a node's file."""
        return super().group(number, node) | {"priority": PRIORITIES[NODES.index(node)]}

    def begin(self) -> None:
        """Start everything, the first node alone; returns when all groups are in step."""
        self.make()
        for node in NODES:
            self.start(node)
            self.await_all(NODES[0], _is_primary, "is served")
        self.await_all(NODES[0], _in_step, "in step")

    def idle(self, node: str, seconds: float) -> dict[str, float]:
        """Return what the daemon's threads use when nothing happens, in percent of a core, by their names."""
        before, since_ns = self.used_ns(node), time.monotonic_ns()
        time.sleep(seconds)
        after, passed_ns = self.used_ns(node), time.monotonic_ns() - since_ns
        used = {name: 100 * (ns - before[name]) / passed_ns for name, ns in after.items()}
        return {name: round(percent, 2) for name, percent in sorted(used.items())}

    def crash(self, number: int) -> Report:
        """Crash the host of the primary; return when the gates opened. The pair is in step again then."""
        old, new = NODES if number % 2 == 0 else NODES[::-1]
        before = self.told(new, "takeover-done")
        make_fault(self, "crash-host", old)
        await_condition(  # to be asked is work for the daemon
            lambda: self.told(new, "takeover-done") >= before + self.count,
            WITHIN_S,
            f"lab {self.name}: each group on {new} is taken over",
        )
        self.await_all(new, _has_taken_over, "is primary")
        steps = {step: _spread(self.groups(new), step) for step in STEPS}
        self.restart_host(old)
        self.start(old)
        self.await_all(new, _in_step, "in step again")
        return {"of": old, **steps}


def _is_primary(group: Status) -> bool:
    return bool(group["role"] == "primary")


def _in_step(group: Status) -> bool:
    return bool(group["synced"])


def _has_taken_over(group: Status) -> bool:
    last = group["takeovers"][-1] if group["takeovers"] else {}
    return _is_primary(group) and all(last.get(f"{step}_ms") is not None for step in STEPS)


def _spread(groups: Sequence[Status], step: str) -> dict[str, float]:
    """From the detection of each group to this step of its takeover: the first, the median, the last."""
    last = [group["takeovers"][-1] for group in groups]
    after = sorted(float(one[f"{step}_ms"]) - float(one["detected_ms"]) for one in last)
    named = {"first_ms": after[0], "median_ms": median(after), "last_ms": after[-1]}
    return {name: round(ms, 3) for name, ms in named.items()}


def measure(pair: _Pair, crashes: int, seconds: float) -> Report:
    """Measure what the pair costs when it is idle, then crash one node after the other. Raises LabError."""
    pair.begin()
    report: Report = {"groups": pair.count, "idle": {node: pair.idle(node, seconds) for node in NODES}}
    report["crashes"] = []
    for number in range(crashes):
        report["crashes"].append(pair.crash(number))
        click.echo(_told(report["crashes"][-1]), err=True)
    return report


def _told(crash: Report) -> str:
    spreads = {step: " / ".join(f"{ms:.1f}" for ms in crash[step].values()) for step in STEPS}
    steps = ", ".join(f"{STEPS[step]} {spread}" for step, spread in spreads.items())
    return f"crash of {crash['of']}, ms after the detection, first / median / last: {steps}"


def summary(report: Report) -> str:
    """Return it as people read it."""
    lines = [f"{report['groups']} groups, idle: percent of a core"]
    for node, used in report["idle"].items():
        threads = ", ".join(f"{name} {percent:.1f}" for name, percent in used.items())
        lines.append(f"  {node}: {sum(used.values()):.1f} ({threads})")
    return "\n".join([*lines, *map(_told, report["crashes"])])


def _settings(heartbeat_ms: int, misses: int, settings: Sequence[str]) -> dict[str, Any]:
    timing: dict[str, Any] = {"heartbeat_ms": heartbeat_ms, "heartbeat_misses": misses}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not value.isdecimal():
            raise click.BadParameter(f"{setting!r}: wanted is KEY=NUMBER, of [group.timing]")
        timing[key] = int(value)
    return {"timing": timing}


@click.command()
@click.option("--groups", "count", default=50, show_default=True, type=click.IntRange(1, 100))
@click.option("--each", is_flag=True, help="A server for each group; else one serves all.")
@click.option("--crashes", default=5, show_default=True, type=click.IntRange(0, 100))
@click.option("--seconds", default=10.0, show_default=True, help="For so long it is idle, on each node.")
@click.option("--heartbeat-ms", default=10, show_default=True, type=click.IntRange(5, 10_000))
@click.option("--misses", default=10, show_default=True, type=click.IntRange(3, 100))
@click.option("--set", "settings", multiple=True, metavar="KEY=NUMBER", help="Of [group.timing].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--name", default="groups", show_default=True, help="Name of the lab that is made for it.")
@signals_interrupt()
def groups(
    count: int,
    each: bool,
    crashes: int,
    seconds: float,
    heartbeat_ms: int,
    misses: int,
    settings: tuple[str, ...],
    as_json: bool,
    name: str,
) -> None:
    """Many groups on one pair: what they cost when idle, by thread, and when their gates open after a crash
    of the host that serves all of them."""
    pair = _Pair(name, count, each, **_settings(heartbeat_ms, misses, settings))
    try:
        become_root(name=name)
        try:
            report = measure(pair, crashes, seconds)
        finally:
            pair.down()
    except LabError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(report) if as_json else summary(report))
