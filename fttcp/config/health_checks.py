"""What is wrong in [group.health], [group.restart], [group.hooks] and [reference] beyond single values."""

from __future__ import annotations

import re
import shlex

from fttcp.config.addressing import Address, host_address, parsed, read_address
from fttcp.config.schema import Config, GroupSection
from fttcp.server.settings import HooksSection, ProbeSection, ReferenceSection, RestartSection

_OWN_CHECKS = ("hang", "stall", "backlog", "memory", "files", "host-memory")
_KEYS = {
    "request": ("tcp", "udp"),
    "expect": ("tcp", "udp", "http"),
    "host": ("http",),
    "tls": ("http",),
    "status": ("http",),
    "command": ("exec",),
    "exit_status": ("exec",),
}
"""Keys that only some types of probes have."""


def check_health(group: GroupSection, where: str, errors: list[str]) -> None:
    """Note what is wrong with the health of a group's server."""
    names: set[str] = set(_OWN_CHECKS)
    for i, probe in enumerate(group.health.probe):
        place = f"{where}.health.probe[{i}]"
        _check_probe(group, probe, place, errors)
        if probe.name is not None and probe.name in names:
            errors.append(f"{place}.name: {probe.name!r} is the name of another check")
        names.add(probe.name or "")
    _check_restart(group, group.restart, f"{where}.restart", errors)
    for key in HooksSection.__struct_fields__:
        check_command(getattr(group.hooks, key), f"{where}.hooks.{key}", errors)


def check_reference(config: Config, reference: ReferenceSection, errors: list[str]) -> None:
    """Note what is wrong with the reference addresses."""
    services = set(parsed(text for group in config.group for text in group.addresses))
    own = set(parsed(link.local or "" for peer in config.peer for link in peer.link))
    seen: dict[Address, int] = {}
    for i, text in enumerate(reference.addresses):
        where = f"reference.addresses[{i}]"
        address = host_address(text, where, errors, "reference address")
        if address is None:
            continue
        if address in services:
            errors.append(f"{where}: {text!r} is a service address, which this node always reaches")
        if address in own:
            errors.append(f"{where}: {text!r} is this node's own address, which it always reaches")
        if seen.setdefault(address, i) != i:
            errors.append(f"{where}: {text!r} is reference.addresses[{seen[address]}] as well: remove one")
    if reference.timeout_ms > reference.interval_ms:
        errors.append(
            f"reference.timeout_ms: {reference.timeout_ms} is above interval_ms {reference.interval_ms}"
        )


def _check_probe(group: GroupSection, probe: ProbeSection, where: str, errors: list[str]) -> None:
    defaults = ProbeSection(type=probe.type)
    for key, types in _KEYS.items():
        if getattr(probe, key) != getattr(defaults, key) and probe.type not in types:
            errors.append(f"{where}.{key}: a probe of type {probe.type} has no such key ({', '.join(types)})")
    if probe.path != "/" and probe.type != "http":
        errors.append(f"{where}.path: a probe of type {probe.type} has no such key (http)")
    proto = "udp" if probe.type == "udp" else "tcp"
    if probe.type == "exec":
        if probe.command is None:
            errors.append(f"{where}.command: missing (required for type exec)")
        check_command(probe.command, f"{where}.command", errors)
    elif probe.port is None and not any(text.endswith(f"/{proto}") for text in group.ports):
        errors.append(f"{where}.port: missing (the group has no {proto} port)")
    if probe.type == "udp" and (probe.request is None or probe.expect is None):
        errors.append(f"{where}: type udp needs request and expect")
    if probe.address is not None:
        read_address(probe.address, f"{where}.address", errors)
    for key in ("request", "expect"):
        text = getattr(probe, key)
        if text is not None and any(ord(letter) > 255 for letter in text):
            errors.append(
                f"{where}.{key}: {text!r:.60} has letters that are no bytes (allowed: \\u0000..\\u00ff)"
            )
    try:
        re.compile((probe.expect or "").encode("latin-1", "ignore"))
    except re.error as error:
        errors.append(f"{where}.expect: {probe.expect!r} is not a regular expression: {error}")


def _check_restart(group: GroupSection, restart: RestartSection, where: str, errors: list[str]) -> None:
    if restart.delay_ms > restart.delay_most_ms:
        errors.append(f"{where}.delay_ms: {restart.delay_ms} is above delay_most_ms {restart.delay_most_ms}")
    if restart.watched_command is not None and group.all_commands:
        errors.append(f"{where}.watched_command: only for servers under pid_file or unit")
    check_command(restart.watched_command, f"{where}.watched_command", errors)


def check_command(command: object, where: str, errors: list[str]) -> None:
    """Note a command line that cannot be split into words, or has none; None is no command."""
    if not isinstance(command, str):
        return
    if "\0" in command:
        errors.append(f"{where}: {command!r:.60} has a NUL, which no program can be told")
        return
    try:
        empty = not shlex.split(command)
    except ValueError as error:
        errors.append(f"{where}: {command!r:.60} cannot be split into words: {error}")
        return
    if empty:
        errors.append(f"{where}: {command!r:.60} names no program")
