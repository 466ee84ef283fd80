"""`fttcp plan`: where groups would be if hosts were lost, or returned."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import AskError, ask, daemon_options, load_config, show_json
from fttcp.cli.failure import CommandError
from fttcp.cluster.changes import Change, Why, settle, with_host
from fttcp.cluster.placement import Group, Host, used
from fttcp.config import Config
from fttcp.config.placement import groups_of, hosts_of

_BY_THEMSELVES = "Nodes whose file tells their `capacity` do this by themselves."


@dataclass(frozen=True)
class Step:
    """One thing that happens to a host, '' to none; what changes by it, and what is then."""

    event: str
    host: str
    changes: tuple[Change, ...]
    groups: tuple[Group, ...]
    hosts: tuple[Host, ...]


@click.command()
@click.option(
    "--without", "lost", multiple=True, metavar="HOST", help="This host is lost. One after another."
)
@click.option("--with", "back", multiple=True, metavar="HOST", help="After that, this host returns.")
@daemon_options
def plan(
    config: Path | None,
    socket_path: Path | None,
    as_json: bool,
    lost: tuple[str, ...],
    back: tuple[str, ...],
) -> None:
    """Show on which host each group would be primary and backup, and which ones would be shed.

    It begins with the roles that this host's daemon knows; without a daemon, with a start of all hosts.
    Before the next host is lost, every group has found its new backup.
    """
    loaded = load_config(config)
    _known(loaded, [*lost, *back])
    try:
        status = ask(socket_path or loaded.socket_path, op="status")
    except AskError as error:
        if error.reason != "no-daemon":
            raise
        status = None
    groups, hosts = _as_configured(loaded) if status is None else _as_told(loaded, status)
    begun = _as_is(groups, hosts) if status is not None else Step("start", "", *_settled(groups, hosts))
    steps = [begun, *_steps(begun, lost, back)]
    if as_json:
        show_json(_told(steps, status is not None))
    else:
        click.echo("\n".join(_lines(steps, loaded.node.name if status is not None else None)))


def _known(config: Config, names: Collection[str]) -> None:
    hosts = [host.name for host in hosts_of(config)]
    if strange := [name for name in names if name not in hosts]:
        raise click.BadParameter(
            f"{', '.join(strange)}: no such host in this configuration (it has {', '.join(hosts)})"
        )


def _as_configured(config: Config) -> tuple[tuple[Group, ...], tuple[Host, ...]]:
    """Return groups without roles, on hosts that all live. Raises CommandError if no file has the order."""
    if without := [group.name for group in config.group if not group.prefer]:
        raise CommandError(
            f"group {', '.join(without)}: no `prefer`, and priorities of other hosts are in their files: "
            "name the hosts in `prefer`, on all nodes, or ask while the daemon runs",
            "no-preference",
            groups=without,
        )
    return groups_of(config), hosts_of(config)


def _as_told(config: Config, status: dict[str, Any]) -> tuple[tuple[Group, ...], tuple[Host, ...]]:
    """Return groups with the roles that the daemon knows; a host is alive that any group hears."""
    told = {group["name"]: group["nodes"] for group in status["groups"]}
    alive = {node["name"] for nodes in told.values() for node in nodes if node["role"] != "absent"}
    hosts = tuple(replace(host, alive=host.name in alive) for host in hosts_of(config))
    orders = {name: [node["name"] for node in sorted(nodes, key=_place)] for name, nodes in told.items()}
    groups = groups_of(config, orders)
    return tuple(_with_roles(group, told.get(group.name, [])) for group in groups), hosts


def _place(node: dict[str, Any]) -> tuple[int, str]:
    """What orders nodes; one whose priority is not known comes last."""
    known = node.get("priority")
    return (1 if known is None else -known, node["name"])


def _with_roles(group: Group, nodes: Sequence[dict[str, Any]]) -> Group:
    roles = {node["role"]: node["name"] for node in nodes}
    return replace(group, primary=roles.get("primary", ""), backup=roles.get("backup", ""))


def _as_is(groups: tuple[Group, ...], hosts: tuple[Host, ...]) -> Step:
    return Step("now", "", (), groups, hosts)


def _settled(
    groups: tuple[Group, ...], hosts: tuple[Host, ...]
) -> tuple[tuple[Change, ...], tuple[Group, ...], tuple[Host, ...]]:
    settled, changes = settle(groups, hosts)
    return changes, settled, hosts


def _steps(begun: Step, lost: Sequence[str], back: Sequence[str]) -> Iterator[Step]:
    """Yield what follows; nothing is asked for: what the rules would have now."""
    groups, hosts = begun.groups, begun.hosts
    events = [*(("lost", name) for name in lost), *(("back", name) for name in back)]
    for event, name in events or [("rules", "")]:
        hosts = with_host(hosts, name, event == "back")
        changes, groups, hosts = _settled(groups, hosts)
        yield Step(event, name, changes, groups, hosts)


# ---------------------------------------------------------------------- what is shown


def _told(steps: Sequence[Step], from_daemon: bool) -> dict[str, Any]:
    return {
        "from": "daemon" if from_daemon else "configuration",
        "steps": [
            {
                "event": step.event,
                "host": step.host,
                "changes": [asdict(change) | {"why": change.why.name.lower()} for change in step.changes],
                "groups": [asdict(group) for group in step.groups],
                "hosts": [
                    asdict(host) | {"used": used(step.groups).get(host.name, 0)} for host in step.hosts
                ],
                "shed": [group.name for group in step.groups if not group.primary],
            }
            for step in steps
        ],
    }


_HEADS = {
    "now": "Now",
    "start": "All hosts start",
    "rules": "By the rules",
    "lost": "{host} is lost",
    "back": "{host} returns",
}


def _lines(steps: Sequence[Step], node: str | None) -> Iterator[str]:
    if node is None:
        yield "No daemon runs here: this is what the configuration says."
    else:
        yield f"From the roles that the daemon of {node} knows."
    for step in steps:
        if step.event == "rules" and not step.changes:
            continue
        yield f"\n{_HEADS[step.event].format(host=step.host)}:"
        yield from (f"  {line}" for line in _changes(step))
        yield from (f"  {line}" for line in _table(step))
    if any(change.why in (Why.NO_ROOM, Why.TURNED_OUT) for step in steps for change in step.changes):
        yield f"\n{_BY_THEMSELVES}"


def _changes(step: Step) -> Iterator[str]:
    if step.event == "start":
        return
    for change in step.changes:
        way = f"{change.before or 'none'} -> {change.after or 'none'}"
        yield f"{change.group}: {change.role} {way}: {change.why}"
    if not step.changes and step.event != "now":
        yield "nothing moves"


def _table(step: Step) -> Iterator[str]:
    """Yield a row for each group, a column for each host, and what each of these carries."""
    load = used(step.groups)
    rows = [["group", "importance", "units", *(host.name for host in step.hosts), ""]]
    for group in step.groups:
        cells = [_cell(group, host) for host in step.hosts]
        rows.append([group.name, str(group.importance), str(group.units), *cells, _note(group)])
    bounds = [
        f"{load.get(one.name, 0)}" + (f" of {one.capacity}" if one.capacity is not None else "")
        for one in step.hosts
    ]
    rows.append(["units used", "", "", *bounds, ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(group: Group, host: Host) -> str:
    if not host.alive:
        return "lost"
    return {group.backup: "backup", group.primary: "primary"}.get(host.name, "-")


def _note(group: Group) -> str:
    return "" if group.backup else "no backup" if group.primary else "shed"
