"""`fttcp switchover GROUP` and `fttcp failover GROUP`: move the role, and tell how it went."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import ask, complete_group, daemon_options, find_socket, show_json
from fttcp.cli.questions import takeover_line
from fttcp.cli.wait import Group, wait_for, wait_options

_SHOWN = 10


@click.command()
@click.argument("group", shell_complete=complete_group)
@click.option("--check", is_flag=True, help="Only say which connections it would end.")
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
) -> None:
    """Let the other node of the pair serve GROUP; can be asked of either node.

    Both nodes agree on it, and no protected connection is lost. Says before which connections it ends, as far
    as the node that is asked knows: the primary knows all. Refused when the pair is not in step,
    when the node that would serve cannot, and during maintenance.
    """
    path = find_socket(config, socket_path)
    ended = _would_end(path, group)
    if check and as_json:
        show_json({"group": group, "would_end": [flow["flow"] for flow in ended]})
    else:
        _say_ended(group, ended, always=check)
    if check:
        return
    before = ask(path, op="switchover", group=group)["role"]
    wanted = "backup" if before == "primary" else "primary"
    _tell(path, group, before, as_json, timeout if wait else None, lambda state: state["role"] == wanted)


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


def _would_end(path: Path, group: str) -> list[dict[str, Any]]:
    """Return the connections that a takeover at this moment would end."""
    flows: list[dict[str, Any]] = ask(path, op="connections", group=group)["connections"]
    return [flow for flow in flows if not flow["continues"]]


def _say_ended(group: str, ended: list[dict[str, Any]], always: bool) -> None:
    if ended or always:
        click.echo(f"group {group}: a switchover now ends {len(ended)} connections", err=not always)
    for flow in ended[:_SHOWN]:
        click.echo(f"  {flow['flow']}  {flow['protection']} ({flow['reason']})", err=not always)
    if len(ended) > _SHOWN:
        click.echo(f"  and {len(ended) - _SHOWN} more: `fttcp connections` has all", err=not always)


def _tell(
    path: Path,
    group: str,
    before: str,
    as_json: bool,
    timeout_s: float | None,
    done: Callable[[Group], bool],
    doing: Callable[[Group], bool] = lambda state: True,
) -> None:
    """Wait if that is wanted, and print how it went."""
    if timeout_s is None:
        started = {"group": group, "started": True, "role": before}
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
    }
    if now["role"] == "primary" and now["takeovers"]:
        result["takeover"] = now["takeovers"][-1]
    if as_json:
        show_json(result)
        return
    click.echo(f"group {group}: this node was {before}, is {now['role']} now (epoch {now['epoch']})")
    if "takeover" in result:
        click.echo(f"  {takeover_line(result['takeover'])}")
