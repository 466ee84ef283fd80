"""What the file says about placement: `prefer`; hosts and groups for ``fttcp.cluster.placement``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import fields

from fttcp.cluster.changes import shortages
from fttcp.cluster.placement import Group, Host
from fttcp.config.schema import Config, GroupSection

_PRIORITY = next(field.default for field in fields(GroupSection) if field.name == "priority")


def check_prefer(config: Config, group: GroupSection, where: str, errors: list[str]) -> None:
    """Note nodes that there are not, or twice, and a priority beside them."""
    known = [config.node.name, *(peer.name for peer in config.peer)]
    for i, name in enumerate(group.prefer):
        here = f"{where}.prefer[{i}]"
        if name not in known:
            errors.append(f"{here}: {name!r} is none of the nodes (allowed: {', '.join(sorted(known))})")
        elif name in group.prefer[:i]:
            errors.append(f"{here}: {name!r} stands there twice: remove one")
    if group.prefer and group.priority != _PRIORITY:
        errors.append(f"{where}.priority: {where}.prefer is used in its place: remove one")


def hosts_of(config: Config) -> tuple[Host, ...]:
    """Return all nodes, alive, by name."""
    node = config.node
    hosts = [Host(node.name, node.capacity), *(Host(peer.name, peer.capacity) for peer in config.peer)]
    return tuple(sorted(hosts, key=lambda host: host.name))


def groups_of(config: Config, orders: Mapping[str, Sequence[str]] | None = None) -> tuple[Group, ...]:
    """Return all groups, without roles. ``orders``: of groups without `prefer`, the nodes in the order of
    their priorities, which no single file has; else they come by name."""
    names = [host.name for host in hosts_of(config)]
    return tuple(
        Group(
            name=group.name,
            prefer=_line(group.prefer or (orders or {}).get(group.name, ()), names),
            importance=group.importance,
            units=group.units,
            backup_units=group.units if group.standby == "hot" else 0,
        )
        for group in config.group
    )


def shortages_of(config: Config) -> list[str]:
    """Return what the capacities of hosts do not suffice for, in words; all by the file alone."""
    return [str(one) for one in shortages(groups_of(config), hosts_of(config))]


def _line(first: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    return (*first, *(name for name in names if name not in first))
