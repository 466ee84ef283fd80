"""How the lab stands, by what all daemons say of themselves: conditions that can be waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lab.errors import LabError

Status = dict[str, Any]
"""{"nodes": [{"node", "alive", "groups": [...]}]}, see `Lab.status`."""


def groups_of(status: Status) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each node that is alive with each of its groups."""
    return [(node, group) for node in status["nodes"] if node["alive"] for group in node["groups"]]


def condition_of(text: str, nodes: Sequence[str]) -> tuple[Callable[[Status], bool], Sequence[str]]:
    """The test of a status that `text` names, and the nodes whose daemons it needs. Raises LabError."""
    if text == "synced":
        return is_synced, nodes
    if text == "paired":
        return is_paired, ()
    key, _, host = text.partition("=")
    if key == "primary" and host in nodes:
        return lambda status: _is_primary(status, host), (host,)
    wanted = ", ".join(f"primary={node}" for node in nodes)
    raise LabError(f"condition {text!r}: there is none; wanted is synced, paired, {wanted}")


def is_synced(status: Status) -> bool:
    """Whether all nodes are alive, and in every group one is primary, one its backup and in step with it, and
    the others are spares."""
    return is_paired(status) and all(
        node["alive"] and node["groups"] and all(g["role"] in ("primary", "backup") for g in node["groups"])
        for node in status["nodes"]
    )


def is_paired(status: Status) -> bool:
    """Whether in every group one node is primary and one in step with it; others may be spares, or gone."""
    groups = [group for _, group in groups_of(status)]
    names = {group["name"] for group in groups}
    in_step = {
        name: sorted(group["role"] for group in groups if group["name"] == name and group["synced"])
        for name in names
    }
    primaries = [group["name"] for group in groups if group["role"] == "primary"]
    paired = all(roles == ["backup", "primary"] for roles in in_step.values())
    return bool(names) and paired and sorted(primaries) == sorted(names)


def newest_takeover(status: Status, before: str) -> dict[str, Any] | None:
    """The newest takeover of the node that serves now, when that is not the node that served `before`."""
    for node, group in groups_of(status):
        if node["node"] != before and group["role"] == "primary" and group["takeovers"]:
            return {"node": node["node"], **group["takeovers"][-1]}
    return None


def _is_primary(status: Status, host: str) -> bool:
    own = [group for node, group in groups_of(status) if node["node"] == host]
    return bool(own) and all(group["role"] == "primary" for group in own)


def summary(status: Status) -> str:
    """One line about all nodes."""
    return "; ".join(
        f"{node['node']}: " + (", ".join(map(_described, node["groups"])) if node["alive"] else "no answer")
        for node in status["nodes"]
    )


def _described(group: dict[str, Any]) -> str:
    """A group's role, and what is wrong with its server."""
    role = f"{group['name']} {group['role']} {group.get('mode', '')}".strip()
    server = group.get("server", {})
    return role if server.get("healthy", True) else f"{role}, its server: {server['reason']}"
