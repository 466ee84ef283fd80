"""`fttcp settings`: what the keys of the configuration files mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from fttcp.cli.client import show_json
from fttcp.cli.failure import CommandError
from fttcp.config.settings import FILES, sections
from fttcp.config.words import plain
from fttcp.node.reload import changes_live


@click.command("settings")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def settings(words: tuple[str, ...], as_json: bool) -> None:
    """Tell what keys of the configuration files mean: those whose name has one of the WORDS in it, or all.

    A name is SECTION.KEY: `limits`, `max_held`, `group.health`. No daemon is asked."""
    found = [one for one in _everything() if not words or any(word in one["name"] for word in words)]
    if not found:
        raise CommandError(f"no key has {' or '.join(words)} in its name", "failed")
    if as_json:
        show_json({"settings": found})
        return
    for one in found:
        live = "; changes live" if one["live"] else ""
        click.echo(f"{one['name']} ({one['file']})")
        click.echo(f"  default {one['default']}; allowed: {one['allowed']}{live}")
        click.echo(f"  {one['meaning']}")


def _everything() -> Iterator[dict[str, Any]]:
    """Yield each key as programs are told of it."""
    for file in FILES:
        for section in sections(file):
            for setting in section.settings:
                name = f"{section.name}.{setting.key}".lstrip(".")
                told = {key: plain(text) for key, text in asdict(setting).items()}
                yield {"file": file, "name": name, **told, "live": changes_live(section.name, setting.key)}
