"""`fttcp topology`: who is there, and how they are connected."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import ask, daemon_options, find_socket, show_json
from fttcp.cli.questions import nodes_line, ownership_line

_WIDTH_OF_A_PIPE = 4096
"""Columns: nothing is broken into lines for a program."""


@click.command()
@daemon_options
def topology(config: Path | None, socket_path: Path | None, as_json: bool) -> None:
    """Show nodes, links and groups as this node sees them, and who serves each group."""
    reply = ask(find_socket(config, socket_path), op="topology")
    if as_json:
        show_json(reply)
        return
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE).print(_tree(reply))


def _tree(reply: dict[str, Any]) -> Any:
    """Return a tree for rich to print."""
    from rich.markup import escape
    from rich.tree import Tree

    tree = Tree(escape(f"cluster {reply['cluster']}, seen by {reply['node']}"))
    here = tree.add(escape(f"node {reply['node']} (this one): clients at {reply['service_interface']}"))
    for peer in reply["peers"]:
        branch = tree.add(escape(f"node {peer['name']}"))
        for i, link in enumerate(peer["links"]):
            heard = [name for name, up in link["heard"].items() if up]
            state = "up" if len(heard) == len(link["heard"]) else f"heard by {', '.join(heard) or 'no group'}"
            kind = " (peer link)" if i == 0 else ""
            branch.add(escape(f"link {i}{kind}: {_way(link)}: {state}"))
    for group in reply["groups"]:
        place = f"{', '.join(group['addresses'])}; {', '.join(group['ports'])}"
        owner = group["owner"] or "nobody, as far as is known"
        branch = tree.add(escape(f"group {group['name']}: {place}"))
        branch.add(escape(f"served by {owner}; {'in step' if group['synced'] else 'not in step'}"))
        branch.add(escape(nodes_line(group["nodes"])))
        if group["ownership"] is not None:
            branch.add(escape(f"arbiter: {ownership_line(group['ownership'])}"))
        here.add(escape(f"{group['name']}: {group['role']} ({group['mode']}), epoch {group['epoch']}"))
    return tree


def _way(link: dict[str, Any]) -> str:
    """Return where a link goes; each transport has its own ends."""
    ends = " - ".join(end for end in (link["local"], link["remote"]) if end is not None)
    transport = "" if link["transport"] == "udp" else f"{link['transport']} "
    return f"{transport}{link['interface']} {ends}".rstrip()
