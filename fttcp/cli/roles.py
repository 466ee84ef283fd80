"""`fttcp switchover GROUP` and `fttcp failover GROUP`: move the role, and tell how it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from fttcp.cli.client import ask, complete_group, daemon_options, find_socket, show_json
from fttcp.cli.ending import planned_options, say, settle, would_end
from fttcp.cli.failure import CommandError
from fttcp.cli.questions import takeover_line
from fttcp.cli.wait import Group, wait_for, wait_options


@click.command()
@click.argument("group", shell_complete=complete_group)
@planned_options
@click.option("--now", is_flag=True, help="Wait for no connection that the backup catches up with.")
@wait_options
@daemon_options
def switchover(
    config: Path | None,
    socket_path: Path | None,
    as_json: bool,
    group: str,
    wait: bool,
    timeout: float,
    check: bool,
    drain: float | None,
    force: bool,
    now: bool,
) -> None:
    """Let the other node of the pair serve GROUP; can be asked of either node.

    Both nodes agree on it, and no protected connection is lost. Those that the backup is catching up with
    are waited for, for timing.handover_wait_ms at most; --now does not wait. Asked of the primary, it says
    which others it would end, and does nothing then without --force; --drain waits for them. Asked of the
    backup, it goes ahead: that one does not know all of them. Refused when the pair is not in step, when the
    node that would serve cannot, and during maintenance.
    """
    path = find_socket(config, socket_path)
    if check:
        say(would_end(path, [group]), f"group {group}: a switchover", as_json, {"group": group})
        return
    told = _settle(path, group, drain, force, now)
    before = ask(path, op="switchover", group=group, force=force, now=now)["role"]
    wanted = "backup" if before == "primary" else "primary"
    _tell(
        path,
        group,
        before,
        as_json,
        timeout if wait else None,
        lambda state: state["role"] == wanted,
        _goes_on,
        told,
    )


@click.command()
@click.argument("group", shell_complete=complete_group)
@wait_options
@daemon_options
def failover(
    config: Path | None, socket_path: Path | None, as_json: bool, group: str, wait: bool, timeout: float
) -> None:
    """Let this node, the backup, serve GROUP without the primary's consent.

    For a primary that says it is well and is not. This node stops granting the primary the right to
    speak, waits until every grant is void, lets the arbiter decide, and takes over: the two never
    serve at once. Refused on the primary, by a backup that is not in step or cannot serve, against a
    primary that serves alone (it needs no grants), and during maintenance.
    """
    path = find_socket(config, socket_path)
    before = ask(path, op="failover", group=group)["role"]
    _tell(
        path,
        group,
        before,
        as_json,
        timeout if wait else None,
        lambda state: state["role"] == "primary",
        lambda state: state["failover_wanted"] or state["role"] == "primary",
    )


def _goes_on(state: Group) -> bool:
    """False if this node is the primary of a pair again, and nothing else is wanted."""
    paired = state["role"] == "primary" and state["mode"] == "paired"
    return not paired or bool(state["switchover_wanted"])


def _settle(path: Path, group: str, drain_s: float | None, force: bool, now: bool) -> dict[str, Any]:
    """Have nothing that the switchover ends, or go ahead with it. The daemon says why else it cannot be."""
    states = [state for state in ask(path, op="status")["groups"] if state["name"] == group]
    if states and states[0]["role"] == "primary":
        act = f"group {group}: a switchover"
        if not states[0]["synced"]:
            return {}
        return settle(path, act, [group], drain_s, force, renewals_waited_for=not now)
    if (drain_s is not None or now) and states:
        primary = states[0]["peer"]
        why = f"group {group}: only its primary knows which connections are left; run on {primary}:"
        why += f" fttcp switchover {group}" + (f" --drain {drain_s:g}s" if drain_s is not None else "")
        why += " --force" * force + " --now" * now
        raise CommandError(why, "not-primary", group=group, primary=primary)
    return {}


def _tell(
    path: Path,
    group: str,
    before: str,
    as_json: bool,
    timeout_s: float | None,
    done: Callable[[Group], bool],
    doing: Callable[[Group], bool] = lambda state: True,
    told: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Wait if that is wanted, and print how it went; ``told``: what else programs are told."""
    if timeout_s is None:
        started = {"group": group, "started": True, "role": before, **told}
        show_json(started) if as_json else click.echo(f"group {group}: started; this node was {before}")
        return
    begun = time.monotonic()
    now = wait_for(path, group, timeout_s, done, doing)
    result: dict[str, Any] = {
        "group": group,
        "done": True,
        "was": before,
        "role": now["role"],
        "epoch": now["epoch"],
        "waited_ms": round((time.monotonic() - begun) * 1000, 1),
        **told,
    }
    if now["role"] == "primary" and now["takeovers"]:
        result["takeover"] = now["takeovers"][-1]
    if as_json:
        show_json(result)
        return
    click.echo(f"group {group}: this node was {before}, is {now['role']} now (epoch {now['epoch']})")
    if "takeover" in result:
        click.echo(f"  {takeover_line(result['takeover'])}")
