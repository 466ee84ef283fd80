"""What goes with a group whose address and server move without connections (`mode = "address"`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from fttcp.config.health_checks import check_command
from fttcp.config.schema import GroupSection, StoredRepliesSection
from fttcp.server.agents.settings import ResourceSection
from fttcp.wire.ports import PortRange, parse

_OF_CONNECTIONS = (
    "ports",
    "opens",
    "opens_bind",
    "command",
    "commands",
    "pid_file",
    "unit",
    "engine",
    "workers",
    "compare",
    "divergence",
    "state",
    "unverified",
    "order",
    "lockstep",
    "renew",
    "standby",
    "renew_spool_dir",
    "history_dir",
    "limits",
    "health",
    "md5",
    "experiment",
)
_HOOKS_OF_CONNECTIONS = ("before_start", "after_stop", "ready_to_follow")
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(GroupSection)}


def check_mode(group: GroupSection, here: str, errors: list[str]) -> None:
    """Either connections are kept, and there are ports; or resources move."""
    if group.mode == "connection":
        if not group.ports:
            errors.append(f'{here}.ports: missing (required, but with {here}.mode = "address")')
        moved = [*(["resource"] if group.resource else [])]
        moved += ["stored_replies"] if group.stored_replies is not None else []
        moved += ["hooks.wait_for"] if group.hooks.wait_for is not None else []
        errors += [f'{here}.{key}: only for {here}.mode = "address"' for key in moved]
        return
    foreign = [key for key in _OF_CONNECTIONS if getattr(group, key) != _default(key)]
    foreign += [f"hooks.{key}" for key in _HOOKS_OF_CONNECTIONS if getattr(group.hooks, key) is not None]
    errors += [
        f'{here}.{key}: has no meaning with {here}.mode = "address", which keeps no connections '
        "(remove it; what is to run is a [[group.resource]])"
        for key in foreign
    ]
    if not group.resource:
        errors.append(
            f'{here}.resource: missing (required with {here}.mode = "address"; start, stop and status may be '
            "`true` when only the address moves)"
        )
    names: dict[str, int] = {}
    for i, resource in enumerate(group.resource):
        where = f"{here}.resource[{i}]"
        if names.setdefault(resource.name, i) != i:
            errors.append(f"{where}.name: {resource.name!r} is that of another resource")
        _check_resource(resource, where, errors)
    if group.stored_replies is not None:
        _check_stored(group.stored_replies, f"{here}.stored_replies", errors)


def stored_dir(state_dir: str, group: str) -> Path:
    """Return where requests of a group are stored, and the replies to them."""
    return Path(state_dir) / f"stored-{group}"


def _check_stored(stored: StoredRepliesSection, here: str, errors: list[str]) -> None:
    seen: set[PortRange] = set()
    for i, text in enumerate(stored.ports):
        try:
            port = parse(str(text))  # which a hole of the file has not
        except ValueError as error:
            errors.append(f"{here}.ports[{i}]: {error}")
            continue
        if any(port[0] <= last and first <= port[1] for first, last, _ in seen):
            errors.append(f"{here}.ports[{i}]: {text!r} has ports that another one has")
        seen.add(port)
    if stored.match == "id" and stored.id_offset is None:
        errors.append(f'{here}.id_offset: missing (required with {here}.match = "id")')
    if stored.keep_s * 1000 < stored.answer_within_ms:
        errors.append(
            f"{here}.keep_s: {stored.keep_s}, and a server may answer after {stored.answer_within_ms} ms "
            f"(allowed: no less than {here}.answer_within_ms)"
        )


def _default(key: str) -> Any:
    default = _DEFAULTS[key]
    return [] if default is msgspec.NODEFAULT else default


def _check_resource(resource: ResourceSection, where: str, errors: list[str]) -> None:
    given = [command is not None for command in resource.commands]
    kinds = [any(given), resource.unit is not None, resource.agent is not None]
    if kinds.count(True) != 1:
        errors.append(f"{where}: one of agent, unit, or start with stop and status is needed, and only one")
    elif any(given) and not all(given):
        missing = [key for key, has in zip(("start", "stop", "status"), given, strict=True) if not has]
        errors.append(f"{where}.{missing[0]}: missing (start, stop and status go together)")
    if resource.parameters and resource.agent is None:
        errors.append(f"{where}.parameters: only an agent has them")
    told = {
        "unit": resource.unit,
        **{f"parameters.{key}": value for key, value in resource.parameters.items()},
    }
    errors += [
        f"{where}.{key!r:.60}: has a NUL or a '=' in its name, or a NUL in its value (remove it)"
        for key, value in told.items()
        if "\0" in key or "=" in key or "\0" in str(value)
    ]
    for key, command in zip(("start", "stop", "status"), resource.commands, strict=True):
        check_command(command, f"{where}.{key}", errors)
