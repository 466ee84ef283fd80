"""`fttcp stop`: end the daemon of this host, and say before which connections that ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import AskError, ask, daemon_options, find_socket, show_json
from fttcp.cli.ending import planned_options, say, settle, would_end
from fttcp.cli.failure import LateError
from fttcp.cli.wait import wait_options

_POLL_S = 0.05


@click.command()
@planned_options
@wait_options
@daemon_options
def stop(
    config: Path | None,
    socket_path: Path | None,
    as_json: bool,
    wait: bool,
    timeout: float,
    check: bool,
    drain: float | None,
    force: bool,
) -> None:
    """End the daemon of this host, as SIGTERM does.

    Groups that it serves are handed over to their backups first; protected connections go on there. What
    would be reset is said, and nothing is done then without --force; --drain waits for it. A group
    without a backup in step loses all its connections.
    """
    path = find_socket(config, socket_path)
    groups = ask(path, op="status")["groups"]
    served = [group["name"] for group in groups if group["role"] == "primary"]
    if check:
        say(would_end(path, served, stops=True), "a stop", as_json, {"groups": served})
        return
    told = settle(path, "a stop", served, drain, force, stops=True)
    ask(path, op="stop")
    if wait:
        _await_end(path, timeout)
    result: dict[str, Any] = {"groups": served, "stopped": wait, **told}
    if as_json:
        show_json(result)
    else:
        click.echo("the daemon has ended" if wait else "the daemon is ending")


def _await_end(path: Path, timeout_s: float) -> None:
    """Wait until nobody answers there. Raises LateError."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            ask(path, op="status")
        except AskError:
            return
        if time.monotonic() >= end:
            raise LateError(f"the daemon still answers after {timeout_s:g} s; see its log", "timed-out")
        time.sleep(_POLL_S)
