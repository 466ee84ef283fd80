"""Waiting for a daemon to have done what it was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fttcp.cli.client import AskError, ask

_POLL_S = 0.02

Group = dict[str, Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def wait_options(function: _Function) -> _Function:
    """Add --wait/--no-wait and --timeout."""
    for option in (
        click.option(
            "--timeout",
            type=click.FloatRange(0.1, 600),
            default=10,
            show_default=True,
            help="Seconds to wait.",
        ),
        click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is done."),
    ):
        function = option(function)
    return function


def wait_for(
    path: Path, name: str, timeout_s: float, done: Callable[[Group], bool], doing: Callable[[Group], bool]
) -> Group:
    """Wait until ``done`` is true of a group; return its status. Raises AskError when that takes too long,
    or when ``doing`` is no longer true of it."""
    end = time.monotonic() + timeout_s
    while True:
        groups: list[Group] = [g for g in ask(path, op="status")["groups"] if g["name"] == name]
        if not groups:
            raise AskError(f"group {name}: not done: the daemon does not have the group any more")
        (group,) = groups
        if done(group):
            return group
        late = time.monotonic() >= end
        if late or not doing(group):
            why = f"not done after {timeout_s:g} s" if late else "given up"
            raise AskError(
                f"group {name}: {why}; this node is {group['role']} ({group['mode']}). "
                "See `fttcp events` on both nodes."
            )
        time.sleep(_POLL_S)
