"""`fttcp top`: groups, leases, flows and rates, live."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fttcp.cli.client import AskError, ask, daemon_options, find_socket, show_json
from fttcp.cli.events import event_line
from fttcp.cli.questions import paused_until, takeover_line

if TYPE_CHECKING:
    from rich.console import Group as Lines
    from rich.table import Table

RATES = {
    "in_packets": "packets in",
    "in_bytes": "bytes in",
    "out_packets": "packets out",
    "out_bytes": "bytes out",
    "commits_received": "commits",
    "flows_opened": "opened",
    "flows_closed": "closed",
    "flows_detached": "detached",
    "drop_lease": "no lease",
    "beats_late": "late beats",
}
"""Counter -> heading: what is shown by the second, when the engine counts it."""
_COLUMNS = ("group", "role", "peer", "lease", "flows p/u/d", "held", "server")
_EVENTS = 8
_STYLE = {"primary": "bold green", "backup": "cyan", "starting": "yellow", "fenced": "bold red"}

Status = dict[str, Any]


@click.command()
@click.option("--interval", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Print one picture and end; so it is when not on a terminal.")
@daemon_options
def top(config: Path | None, socket_path: Path | None, as_json: bool, interval: float, once: bool) -> None:
    """Show groups, roles, leases, flows, rates and takeovers, live; Ctrl-C ends it.

    Rates are by the second, over the last interval. With --json, or when standard output is no
    terminal, two looks one interval apart give one picture.
    """
    path = find_socket(config, socket_path)
    try:
        if as_json or once or not sys.stdout.isatty():
            _once(path, interval, as_json)
        else:
            _live(path, interval)
    except KeyboardInterrupt:
        return


def _look(path: Path) -> Status:
    """Return the status, with the time at which it was asked for."""
    return {**ask(path, op="status"), "monotonic": time.monotonic()}


def _once(path: Path, interval_s: float, as_json: bool) -> None:
    from rich.console import Console

    before = _look(path)
    time.sleep(interval_s)
    now = _look(path)
    if as_json:
        rates = {group["name"]: rates_of(group, before, now) for group in now["groups"]}
        show_json({"node": now["node"], "groups": now["groups"], "rates": rates})
        return
    width = None if sys.stdout.isatty() else 120
    Console(highlight=False, width=width).print(picture(before, now, _recent(path)))


def _live(path: Path, interval_s: float) -> None:
    from rich.live import Live
    from rich.text import Text

    before = now = _look(path)
    with Live(picture(before, now, _recent(path)), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval_s)
            try:
                before, now = now, _look(path)
                live.update(picture(before, now, _recent(path)), refresh=True)
            except AskError as error:  # it may be restarting: go on asking
                live.update(Text(f"{error.message}\n(asking again; Ctrl-C ends this)"), refresh=True)


def _recent(path: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = ask(path, op="events")["events"]
    return [event for event in events if event["level"] != "debug"][-_EVENTS:]


def rates_of(group: Status, before: Status, now: Status) -> dict[str, float]:
    """Return how fast the counters of a group move, by the second; {} when there is nothing to compare."""
    passed = now["monotonic"] - before["monotonic"]
    counters = [one.get("counters", {}) for one in before["groups"] if one["name"] == group["name"]]
    old: dict[str, int] = counters[0] if counters else {}
    new = group.get("counters", {})
    if passed <= 0 or before["pid"] != now["pid"]:
        return {}
    return {name: (new[name] - old[name]) / passed for name in RATES if name in new and name in old}


def picture(before: Status, now: Status, events: list[dict[str, Any]]) -> Lines:
    """Return everything to be shown."""
    from rich.console import Group as Lines
    from rich.text import Text

    who = f"fttcp {now['version']}  node {now['node']}  cluster {now['cluster']}  pid {now['pid']}"
    paused = [Text(_paused(group), "bold white on red") for group in now["groups"] if group["paused"]]
    parts: list[Any] = [Text(who, "bold"), *paused]
    parts += [Text(), _groups(now), Text(), _rates(before, now), Text()]
    takeovers = [(group["name"], one) for group in now["groups"] for one in group["takeovers"][-3:]]
    parts += [Text(f"takeover {name}: {takeover_line(one)}") for name, one in takeovers]
    parts.append(Text())
    colours = {"warning": "yellow", "error": "bold red"}
    parts += [Text(event_line(event), colours.get(event["level"], "dim"), no_wrap=True) for event in events]
    return Lines(*parts)


def _paused(group: Status) -> str:
    return f" PAUSED: group {group['name']}: {paused_until(group['name'])} "


def _groups(now: Status) -> Table:
    """Return one line for each group; it fits 80 columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for group in now["groups"]:
        flows, commit = group.get("flows", {}), group.get("commit", {})
        state = "in step" if group["synced"] else "heard" if group["peer_alive"] else "not heard"
        server = group.get("server", {})
        table.add_row(
            group["name"],
            Text(f"{group['role']} ({group['mode']})", _STYLE.get(group["role"], "")),
            f"{group['peer']}: {state}",
            f"{group.get('lease_ms_left', 0):.0f} ms",
            "/".join(str(flows.get(kind, "-")) for kind in ("protected", "unprotected", "detached")),
            str(commit.get("held", "-")),
            Text("healthy") if server.get("healthy") else Text(server.get("reason", "-"), "red"),
        )
    return table


def _rates(before: Status, now: Status) -> Table:
    """Return one column for each group, and how long its packets waited for the backup."""
    from rich.table import Table

    rates = [rates_of(group, before, now) for group in now["groups"]]
    table = Table("by the second", box=None, pad_edge=False)
    for group in now["groups"]:
        table.add_column(group["name"], justify="right")
    for name, heading in RATES.items():
        if any(name in one for one in rates):
            table.add_row(heading, *(f"{one[name]:.0f}" if name in one else "-" for one in rates))
    commits = [group.get("commit") for group in now["groups"]]
    for key, heading in (("lag_us_p50", "wait p50"), ("lag_us_p99", "wait p99")):
        table.add_row(heading, *(f"{commit[key]:.0f} us" if commit else "-" for commit in commits))
    return table
