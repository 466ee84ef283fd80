"""Waiting for a daemon to have done what it was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fttcp.cli.client import ask
from fttcp.cli.failure import CommandError, LateError

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
    """Wait until ``done`` is true of a group; return its status. Raises LateError when that takes too long,
    CommandError when ``doing`` is no longer true of it."""
    end = time.monotonic() + timeout_s
    while True:
        groups: list[Group] = [g for g in ask(path, op="status")["groups"] if g["name"] == name]
        if not groups:
            why = f"group {name}: not done: the daemon does not have the group any more"
            raise CommandError(why, "unknown-group", group=name)
        (group,) = groups
        if done(group):
            return group
        now = {key: group[key] for key in ("role", "mode", "epoch")}
        arbiter = ", and the arbiter does not answer" if group.get("arbiter_awaited") else ""
        where = f"this node is {group['role']} ({group['mode']}){arbiter}. See `fttcp events` on all nodes."
        if not doing(group):
            raise CommandError(f"group {name}: given up; {where}", "given-up", group=name, **now)
        if time.monotonic() >= end:
            why = f"group {name}: not done after {timeout_s:g} s, and not given up; {where}"
            raise LateError(why, "timed-out", group=name, **now)
        time.sleep(_POLL_S)
