"""`fttcp spread`: what spreads clients over groups is told which of them are served."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fttcp.cli.client import AskError, RefusedError, ask, daemon_options, load_config, show_json
from fttcp.cli.failure import CommandError
from fttcp.cli.service import until_told
from fttcp.spread.member import Entry, Member, SpreadError, View, gone, seen, view
from fttcp.spread.service import WAIT_S, Service

if TYPE_CHECKING:
    from fttcp.config import Config


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--apply", "applied", is_flag=True, help="Tell the targets now.")
@click.option(
    "--remove", multiple=True, metavar="ADDRESS", help="With --apply: take out what a removed group has left."
)
@click.option("--watch", is_flag=True, help="Tell them of each change, in the foreground until SIGTERM.")
@daemon_options
def spread(
    config: Path | None,
    socket_path: Path | None,
    as_json: bool,
    names: tuple[str, ...],
    applied: bool,
    remove: tuple[str, ...],
    watch: bool,
) -> None:
    """Print for each [[spread]] which groups are served, in the target's own words.

    That is records of a zone, commands for HAProxy's runtime API, or lines for `ipvsadm --restore`.

    --apply and --watch tell the targets. They do so from a node that serves a group itself: one that does
    not may be cut off. Run --watch on all nodes.

    An address of a group that the file does not have any more is left alone, until --remove takes it out.
    """
    if applied and watch:
        raise click.UsageError("--apply is once, --watch is all the time: give one of them")
    if remove and not applied:
        raise click.UsageError("--remove goes with --apply")
    if watch and as_json:
        raise click.UsageError("--watch prints nothing: `fttcp events --follow --json` tells how it goes")
    loaded = load_config(config)
    socket = socket_path or loaded.socket_path
    entries, left = _chosen(loaded, names, applied or watch), _left(loaded, remove)
    if watch:
        asyncio.run(until_told(Service(entries, socket, _telling(socket)).run()))
        return
    now = view(ask(socket, op="status"))
    if not applied:
        _print([(entry, seen(entry.members, now.by)) for entry in entries], as_json)
        return
    if now.counts:
        now = _lasting(now, socket)
    if not now.counts:
        raise CommandError(
            f"{now.node} serves no group, and may be cut off from those that do: say it where one is served",
            "not-primary",
        )
    why = {entry.name: entry.tell((*seen(entry.members, now.by), *left)) for entry in entries}
    if as_json:
        show_json({"spread": [{"name": name, "why": text} for name, text in why.items()]})
    failed = {name: text for name, text in why.items() if text is not None}
    for name, text in failed.items():
        click.echo(f"{name}: {text}", err=True)
    raise SystemExit(1 if failed else 0)


def _lasting(first: View, socket: Path) -> View:
    """Return who serves; where nobody does, that is looked at again when a takeover is over."""
    if "" not in first.by.values():
        return first
    time.sleep(WAIT_S)
    again = view(ask(socket, op="status"))
    short = {group for group, node in again.by.items() if node == "" and first.by.get(group) != ""}
    return View(again.node, {group: None if group in short else node for group, node in again.by.items()})


def _left(config: Config, addresses: Sequence[str]) -> tuple[Member, ...]:
    """Return what is to be taken out, of groups that the file has no more. Raises CommandError."""
    try:
        return gone(addresses, (Member(one.name, text) for one in config.group for text in one.addresses))
    except (ValueError, SpreadError) as error:
        raise CommandError(f"--remove: {error}") from error


def _chosen(config: Config, names: Sequence[str], told: bool) -> list[Entry]:
    """Return the entries of these names, or all; those that can be ``told``. Raises CommandError."""
    from fttcp.config.spread import entries_of

    entries = {entry.name: entry for entry in entries_of(config)}
    there = ", ".join(entries) or "none"
    if strange := [name for name in names if name not in entries]:
        raise CommandError(f"no [[spread]] has the name {', '.join(strange)} (there are: {there})")
    if not entries:
        raise CommandError("the configuration has no [[spread]]: `fttcp settings spread` tells what one is")
    chosen = [entry for name, entry in entries.items() if not names or name in names]
    mute = [entry.name for entry in chosen if told and entry.apply is None]
    if mute and (names or len(mute) == len(chosen)):
        raise CommandError(f"kind ipvs is told nothing: print it for `ipvsadm --restore` ({', '.join(mute)})")
    return [entry for entry in chosen if entry.name not in mute]


def _print(known: Sequence[tuple[Entry, Sequence[Member]]], as_json: bool) -> None:
    if as_json:
        show_json(
            {
                "spread": [
                    {
                        "name": entry.name,
                        "members": [asdict(member) for member in members],
                        "lines": entry.lines(members),
                    }
                    for entry, members in known
                ]
            }
        )
        return
    for entry, members in known:
        click.echo("\n".join(entry.lines(members)))


def _telling(socket: Path) -> Callable[[str, str | None], Awaitable[None]]:
    """Return what says on standard error, and to the daemon, how it goes."""

    async def told(entry: str, why: str | None) -> None:
        said = {"entry": entry, "why": why}
        print(
            json.dumps({"event": "spread-good" if why is None else "spread-failed", **said}), file=sys.stderr
        )
        try:
            await asyncio.to_thread(lambda: ask(socket, op="spread", entry=entry, why=why))
        except (AskError, RefusedError) as error:
            print(f"the daemon is not told: {error.message}", file=sys.stderr)

    return told
