"""What goes with servers that are kept in step (`lockstep`)."""

from __future__ import annotations

from fttcp.config.schema import GroupSection

_LEADERS_ALONE = ("tcp", "http", "udp")
"""Types of probes that connect with one copy, and not with the other."""


def check_lockstep(group: GroupSection, here: str, errors: list[str]) -> None:
    """What is encrypted must be the same on both nodes to the last byte, or it must not leave."""
    if group.opens_bind and (group.lockstep != "connection" or not group.opens):
        what = f'{here}.opens, and {here}.lockstep = "connection", whose library binds'
        errors.append(f"{here}.opens_bind: it needs {what}")
    if group.lockstep == "off":
        return
    needed = {"compare": True, "unverified": "reset"}
    errors += [
        f'{here}.{key}: {value!r} does not go with {here}.lockstep (allowed: {needed[key]!r}, or "off" there)'
        for key in needed
        if (value := getattr(group, key)) != needed[key]
    ]
    if group.lockstep == "calls":
        _check_calls(group, here, errors)


def _check_calls(group: GroupSection, here: str, errors: list[str]) -> None:
    """The follower is a process of ours, which is told all that the leader was told, and nothing else."""
    calls = f'{here}.lockstep = "calls"'
    if group.renew != "history":
        errors.append(
            f"{here}.renew: {group.renew!r} does not go with {calls}: a follower begins where the leader "
            'began (allowed: "history")'
        )
    if len(group.all_commands) != 1:
        errors.append(
            f"{here}.command: {calls} needs one server, which the daemon starts (allowed: one command; a "
            "unit or pid_file is not started by it)"
        )
    errors += [
        f"{here}.health.probe[{i}].type: {probe.type!r} does not go with {calls}: the probe's connection is "
        'one that the other copy does not have (allowed: "exec", of a program that does not connect)'
        for i, probe in enumerate(group.health.probe)
        if probe.type in _LEADERS_ALONE
    ]
