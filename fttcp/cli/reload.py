"""`fttcp reload`: let the daemon read its configuration again."""

from __future__ import annotations

from pathlib import Path

import click

from fttcp.cli.client import RefusedError, ask, daemon_options, find_socket, show_json
from fttcp.cli.failure import CommandError

_TIMEOUT_S = 60.0


@click.command()
@daemon_options
def reload(config: Path | None, socket_path: Path | None, as_json: bool) -> None:
    """Let the daemon read its configuration again; only what has changed is touched.

    The file is checked first. If anything in it is wrong, or needs a restart of the daemon, every such
    thing is listed and nothing is changed. Returns when it is done.
    """
    try:
        reply = ask(find_socket(config, socket_path), _TIMEOUT_S, op="reload")
    except RefusedError as refusal:
        why = refusal.details
        if as_json:
            raise
        lines = [refusal.message, *why.get("errors", ()), *why.get("restart", ())]
        raise CommandError("\n  ".join(lines), refusal.reason) from refusal
    if as_json:
        show_json({"done": True, **reply})
        return
    lines = [
        *reply["changed"],
        *(f"group {name}: added" for name in reply["added"]),
        *(f"group {name}: removed" for name in reply["removed"]),
    ]
    click.echo("\n".join(lines) if lines else "nothing has changed")
