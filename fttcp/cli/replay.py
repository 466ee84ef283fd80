"""`fttcp replay`: a server, played what the clients of another one have said."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import show_json
from fttcp.cli.failure import REFUSED, WRONG, CommandError
from fttcp.history.head import build_of, unlike
from fttcp.history.player import Contents, Played, Player, PlayError, look_through
from fttcp.history.playing import Difference
from fttcp.history.reader import Ending, HistoryError, Reader
from fttcp.history.stage import enter_own_network, running

_SHOWN = 20
_NOT_COMPARED = "The output is as long as it was; the history has no sums of it (`compare = false`)."
_ENDINGS = {
    Ending.DONE: "whole",
    Ending.OPEN: "not ended in good order; whole up to its last frame",
    Ending.CUT: "cut short; whole up to the frame that is cut",
}


class DamagedError(CommandError):
    """It is no history, or one that cannot be believed."""

    exit_code = WRONG


@click.command()
@click.argument("log", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--patience",
    type=click.FloatRange(0.1),
    default=10.0,
    show_default=True,
    help="Seconds for a server that says nothing.",
)
@click.option(
    "--start",
    type=click.FloatRange(0.1),
    default=30.0,
    show_default=True,
    help="Seconds until it has to listen.",
)
def replay(log: Path, command: tuple[str, ...], as_json: bool, patience: float, start: float) -> None:
    """Run COMMAND, play it what clients say in LOG, and tell where its output differs.

    LOG is a group's history (`history_dir`). Write `--` before COMMAND, which stays in the foreground and
    listens where the recorded server did: it has a network of its own, with the addresses of then. Without
    COMMAND: tell what is in LOG.

    Exit status 0: the same bytes came out; 1: others, or it did not come to the end; 2: LOG is damaged."""
    try:
        reader = Reader(log)
        contents = look_through(reader.again())
    except (HistoryError, PlayError) as error:
        told = str(error) if isinstance(error, HistoryError) else f"{log}: {error}"
        raise DamagedError(told, "damaged") from error
    about = _about(log, reader, contents, command)
    if not command:
        _show_contents(about, as_json)
        return
    trouble = None
    try:
        enter_own_network({*contents.clients, *contents.services})
        with running(command) as server:
            player = Player(contents, server.why_not, patience, _progress(as_json, reader.size))
            try:
                player.play(reader, start)
            except PlayError as error:
                trouble = str(error)
    except PlayError as error:
        raise CommandError(str(error), "not-played") from error
    played = player.played
    same = trouble is None and not played.differences
    if as_json:
        show_json({**about, **_played(played), "ok": same, "trouble": trouble})
    else:
        _show(about, played, trouble)
    sys.exit(0 if same else REFUSED)


def _about(log: Path, reader: Reader, contents: Contents, command: tuple[str, ...]) -> dict[str, Any]:
    head = reader.head
    differs = unlike(head, shlex.join(command), build_of(command[0]), head.checkpoint) if command else ""
    return {
        "log": str(log),
        "life": head.life.hex(),
        "began_ns": head.began_ns,
        "group": head.group,
        "node": head.node,
        "release": head.release,
        "command": head.command,
        "checkpoint": head.checkpoint,
        "ending": contents.ending.value,
        "events": contents.events,
        "connections": len(contents.points),
        "sessions": contents.sessions,
        "input": contents.bytes_in,
        "note": differs,
    }


def _played(played: Played) -> dict[str, Any]:
    return {
        "played": {
            "events": played.events,
            "connections": played.connections,
            "bytes_in": played.bytes_in,
            "bytes_out": played.bytes_out,
            "compared": played.compared,
            "beyond": played.beyond,
        },
        "differences": [
            {"flow": str(one.flow), "equal": one.equal, "until": one.until, "what": one.what}
            for one in played.differences
        ],
    }


def _progress(quiet: bool, size: int) -> Callable[[Played, int], None]:
    def show(played: Played, at: int) -> None:
        click.echo(f"\r{100 * at // size:3} %  {played.events} events", nl=False, err=True)

    return show if not quiet and sys.stderr.isatty() else lambda played, at: None


def _show_contents(about: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(about)
        return
    click.echo(f"{about['log']}: {_ENDINGS[Ending(about['ending'])]}")
    click.echo(f"  of           group {about['group']} on {about['node']}, fttcp {about['release']}")
    click.echo(f"  server       {about['command']}")
    click.echo(f"  events       {about['events']}, with {about['input']} bytes of clients")
    click.echo(f"  connections  {about['connections']}")
    if about["sessions"]:
        click.echo(f"  UDP          {about['sessions']} sessions, which are not played")


def _show(about: dict[str, Any], played: Played, trouble: str | None) -> None:
    _show_contents(about, False)
    if about["note"]:
        click.echo(f"  note         {about['note']}")
    click.echo(
        f"\nplayed {played.events} events of {played.connections} connections: {played.bytes_in} bytes in, "
        f"{played.bytes_out} out, compared at {played.compared} places"
    )
    for one in played.differences[:_SHOWN]:
        click.echo(f"  {_difference(one)}")
    if len(played.differences) > _SHOWN:
        click.echo(f"  ... and {len(played.differences) - _SHOWN} more")
    if trouble is not None:
        click.echo(f"It did not come to the end: {trouble}")
    elif not played.differences:
        click.echo("The output is the same." if played.compared else _NOT_COMPARED)


def _difference(one: Difference) -> str:
    return f"{one.flow}: equal up to byte {one.equal}, not at byte {one.until}: {one.what}"
