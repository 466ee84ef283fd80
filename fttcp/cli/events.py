"""`fttcp events` and `fttcp history`: what happened on this node."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import AskError, ask, daemon_options, find_socket, load_config, show_json, stream

_FRAME = ("number", "time", "level", "node", "group", "event")
_LEVELS = ("debug", "info", "warning", "error")
DEFAULT_STATE_DIR = Path("/var/lib/fttcp")


@click.command()
@click.option("--since", type=click.IntRange(0), default=0, show_default=True, help="Only after this number.")
@click.option("--follow", "-f", is_flag=True, help="Go on with new events, until Ctrl-C.")
@daemon_options
def events(config: Path | None, socket_path: Path | None, as_json: bool, since: int, follow: bool) -> None:
    """List what happened on this node since its daemon started, oldest first.

    With --follow, each event is printed as it happens; with --json as well, one JSON object a line.
    """
    path = find_socket(config, socket_path)
    if not follow:
        reply = ask(path, op="events", since=since)
        show_json(reply) if as_json else _show(reply["events"])
        return
    try:
        for event in stream(path, op="events", since=since, follow=True):
            click.echo(json.dumps(event) if as_json else event_line(event))
    except KeyboardInterrupt:
        return
    raise AskError(f"{path}: the daemon ended the stream of events: it stopped, or this reader was too slow")


@click.command()
@click.option("--group", help="Only this group.")
@click.option("--event", "kinds", multiple=True, help="Only this kind, e.g. takeover; may be repeated.")
@click.option(
    "--level", type=click.Choice(_LEVELS), default="info", show_default=True, help="The least level."
)
@click.option(
    "--since",
    metavar="TIME",
    callback=lambda context, option, text: _time(text),
    help="Only from this time on, as in 2031-05-30T12:00 (UTC, or with an offset: +02:00).",
)
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="The last ones only.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="The daemon's configuration, to find its state_dir."
)
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where the daemon keeps its events.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def history(
    group: str | None,
    kinds: tuple[str, ...],
    level: str,
    since: datetime | None,
    limit: int,
    config: Path | None,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """List what happened on this node, from the file that outlives the daemon.

    No daemon needs to run. The file is bounded: the oldest events are lost first (node.history_kib).
    """
    from fttcp.runtime.history import read

    directory = state_dir or (Path(load_config(config).node.state_dir) if config else DEFAULT_STATE_DIR)
    if not directory.is_dir():
        raise AskError(f"{directory}: no such directory; name the right one with --config or --state-dir")
    try:
        chosen = deque(
            (
                event
                for event in read(directory)
                if (group is None or event.get("group") == group)
                and (not kinds or event["event"] in kinds)
                and _LEVELS.index(event["level"]) >= _LEVELS.index(level)
                and (since is None or datetime.fromisoformat(event["time"]) >= since)
            ),
            maxlen=limit,
        )
    except OSError as error:
        raise AskError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if as_json:
        show_json({"state_dir": str(directory), "events": list(chosen)})
    elif chosen:
        _show(chosen)
    else:
        click.echo(f"{directory}: no such events are kept there")


def _time(text: str | None) -> datetime | None:
    """Return a time that somebody typed; without an offset it is UTC. Raises click.BadParameter."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a time such as 2031-05-30 or 2031-05-30T12:00") from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _show(chosen: Iterable[dict[str, Any]]) -> None:
    for event in chosen:
        click.echo(event_line(event))


def event_line(event: dict[str, Any]) -> str:
    """Return an event in one line."""
    rest = ", ".join(f"{key} {_text(value)}" for key, value in event.items() if key not in _FRAME)
    group = f" {event['group']}:" if "group" in event else ""
    return f"{event['number']:6} {event['time']} {event['level']:7}{group} {event['event']} {rest}".rstrip()


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
