"""`fttcp pause` and `fttcp resume`: maintenance, during which roles stay where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import ask, complete_group, daemon_options, find_socket, show_json
from fttcp.cli.failure import CommandError
from fttcp.cli.questions import paused_until
from fttcp.cli.wait import Group, wait_for, wait_options

_WHICH = "name the groups, or give --all, one of the two"


def _order_options(command: Callable[..., None]) -> Callable[..., None]:
    """What both commands take: GROUP..., --all, and the options of waiting and of the daemon."""
    for option in (
        daemon_options,
        wait_options,
        click.option("--all", "all_groups", is_flag=True, help="Every group of this node."),
        click.argument("groups", nargs=-1, metavar="GROUP...", shell_complete=complete_group),
    ):
        command = option(command)
    return command


@click.command()
@_order_options
def pause(**given: Any) -> None:
    """Begin maintenance of GROUP: no takeover and no switchover until `fttcp resume`.

    Both nodes go by it, whichever is asked, and keep to it over restarts of their daemons. A primary
    that fails meanwhile is not replaced. Waits until the other node, if it is heard, knows as well.
    """
    _order("pause", **given)


@click.command()
@_order_options
def resume(**given: Any) -> None:
    """End maintenance of GROUP; a takeover that is due happens at once.

    Waits until the other node, if it is heard, knows as well.
    """
    _order("resume", **given)


def _order(
    op: str,
    config: Path | None,
    socket_path: Path | None,
    as_json: bool,
    groups: tuple[str, ...],
    all_groups: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Ask for all groups, wait for each, and print how it went."""
    path = find_socket(config, socket_path)
    if bool(groups) == all_groups:
        raise click.UsageError(_WHICH)
    if all_groups:
        groups = tuple(group["name"] for group in ask(path, op="status")["groups"])
    results: list[dict[str, Any]] = []
    for name in groups:
        try:
            asked = ask(path, op=op, group=name)
            state = _wait(path, name, asked["maintenance"], timeout) if wait else asked
        except CommandError as error:
            error.details |= {"group": name, "groups": results}  # what was done before it
            raise
        results.append(_result(name, state, op))
    if as_json:
        show_json({"groups": results})
        return
    for result in results:
        name = result["group"]
        until = f"PAUSED: {paused_until(name)}"
        peer = "knows" if result["peer_knows"] else "is not heard: it will know when it is"
        click.echo(f"group {name}: {until if result['paused'] else 'not paused'}; the other node {peer}")


def _wait(path: Path, name: str, count: int, timeout_s: float) -> Group:
    """Wait until the other node has this count, or is not heard. Raises CommandError."""

    def known(group: Group) -> bool:
        return not group["peer_alive"] or group["peer_maintenance"] >= count

    return wait_for(path, name, timeout_s, known, lambda group: True)


def _result(name: str, state: dict[str, Any], op: str) -> dict[str, Any]:
    knows = state["peer_alive"] and state["peer_maintenance"] >= state["maintenance"]
    return {"group": name, "paused": state["paused"], "peer_knows": knows, "asked": op}
