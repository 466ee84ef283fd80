"""`fttcp members`: which nodes the cluster has, as the arbiter's record says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import load_config, show_json
from fttcp.cli.failure import CommandError
from fttcp.ownership.members import Members

_CONFIG = Path("/etc/fttcp/node.toml")


@click.command()
@click.option("--config", type=click.Path(path_type=Path), default=_CONFIG, show_default=True)
@click.option("--forget", metavar="NODE", help="What this node told is forgotten: it is dead for good.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def members(config: Path, forget: str | None, as_json: bool) -> None:
    """Show the nodes of the cluster, and whom the file of each names; asks the arbiter, not the daemon.

    A node belongs to the cluster while a member's file names it. To add one, name it in the files of the
    others, and reload these. To remove one, stop it, take it out of all files, and reload.
    """
    from fttcp.node.arbiters import roll_of

    loaded = load_config(config)
    if loaded.arbiter.kind == "none":
        raise CommandError("without an arbiter there is no record of the nodes: the two files have to agree")
    roll = asyncio.run(roll_of(loaded, forget))
    if roll.why or roll.members is None:
        raise CommandError(roll.why or "the arbiter does not answer: `fttcp doctor --config FILE` tells why")
    told = _told(roll.members)
    if as_json:
        show_json(told)
        return
    for node in told["members"]:
        names = ", ".join(node["names"]) or "has told nothing yet: it may own nothing"
        click.echo(f"{node['name']:12} {'names ' if node['names'] else ''}{names}")
    if not told["members"]:
        click.echo("no node has told anything yet")


def _told(record: Members) -> dict[str, Any]:
    present = [name for name in record.names if name]
    nodes = [{"name": name, "names": sorted(record.named_by(name))} for name in present]
    return {"version": record.version, "members": nodes}
