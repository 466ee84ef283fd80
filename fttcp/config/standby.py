"""What goes with a backup that runs no server (`standby`)."""

from __future__ import annotations

from fttcp.config.schema import GroupSection


def check_standby(group: GroupSection, here: str, errors: list[str]) -> None:
    """A server that starts at a takeover is told what clients have said, each connection by itself."""
    hooks = [name for name in ("checkpoint", "restore") if getattr(group.hooks, name) is not None]
    if group.standby == "warm" and len(hooks) < 2:
        errors.append(f'{here}.standby: "warm" needs {here}.hooks.checkpoint and {here}.hooks.restore')
    elif group.standby != "warm" and hooks:
        errors.append(f'{here}.hooks.{hooks[0]}: only for {here}.standby "warm"')
    if group.standby == "hot":
        return
    needed = {
        "renew": "connections",
        "state": "none",
        "order": "flow",
        "lockstep": "off",
        "engine": "nfqueue",
        "workers": 1,
    }
    errors += [
        f"{here}.{key}: {value!r} does not go with {here}.standby {group.standby!r} "
        f"(allowed: {needed[key]!r})"
        for key in needed
        if (value := getattr(group, key)) != needed[key]
    ]
    if not group.all_commands:
        errors.append(
            f"{here}.standby: {group.standby!r} needs {here}.command (or commands): the daemon starts the "
            "server when it takes over, and ends it when it does not serve any more"
        )
