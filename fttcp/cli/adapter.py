"""`fttcp adapter NAME`: move the service addresses to another adapter of this host."""

from __future__ import annotations

from pathlib import Path

import click

from fttcp.cli.client import ask, daemon_options, find_socket, show_json


@click.command()
@click.argument("name")
@daemon_options
def adapter(config: Path | None, socket_path: Path | None, as_json: bool, name: str) -> None:
    """Move the service addresses to the adapter NAME of this host; connections go on.

    NAME is `service_interface`, or one of `standby_interfaces`. There is no other way back to an adapter
    that has failed, and is well again, but the failure of the one that is used. Refused without a carrier.
    """
    reply = ask(find_socket(config, socket_path), op="adapter", name=name)
    if as_json:
        show_json(reply)
    elif reply["adapter"] == reply["before"]:
        click.echo(f"{name} is used already")
    else:
        click.echo(f"moved from {reply['before']} to {reply['adapter']}")
