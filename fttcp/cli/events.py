"""`fttcp events` and `fttcp history`: what happened on this node."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from fttcp.cli.client import (
    AskError,
    ask,
    complete_group,
    daemon_options,
    find_socket,
    load_config,
    show_json,
    stream,
    telling,
)
from fttcp.cli.failure import CommandError

_FRAME = ("number", "time", "level", "node", "group", "event")
_LEVELS = ("debug", "info", "warning", "error")
DEFAULT_STATE_DIR = Path("/var/lib/fttcp")

Event = dict[str, Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Since(click.ParamType[int | datetime]):
    """The number of an event, or a time; without an offset it is UTC."""

    name = "number|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | datetime:
        """Return a number or a time that somebody typed. Raises click.BadParameter."""
        if isinstance(value, int | datetime):
            return value
        text = str(value)
        if text.isascii() and text.isdigit():
            return int(text)
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{text!r} is neither an event's number nor a time such as 2031-05-30 or 2031-05-30T12:00",
                param,
                ctx,
            )
        return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are to be shown."""

    group: str | None
    kinds: tuple[str, ...]
    level: str
    since: int | datetime

    @property
    def after(self) -> int:
        """The number above which all of them are."""
        return self.since if isinstance(self.since, int) else 0

    def __call__(self, event: Event) -> bool:
        """True if this one is wanted."""
        return (
            (self.group is None or event.get("group") == self.group)
            and (not self.kinds or event["event"] in self.kinds)
            and _LEVELS.index(event["level"]) >= _LEVELS.index(self.level)
            and event["number"] > self.after
            and (isinstance(self.since, int) or datetime.fromisoformat(event["time"]) >= self.since)
        )


def _known(context: click.Context, option: click.Parameter, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Return kinds of events. Raises click.BadParameter for one that there is not: it would find nothing."""
    from fttcp.config.node_checks import trouble_of_kind

    for kind in kinds:
        if trouble := trouble_of_kind(kind):
            raise click.BadParameter(trouble)
    return kinds


def _wanted_options(function: _Function) -> _Function:
    """Add the options that choose events; see ``Wanted``."""
    for option in (
        click.option(
            "--since",
            type=_Since(),
            default=0,
            help="Only after the event of this number, or from this time on, as in 2031-05-30T12:00 (UTC, "
            "or with an offset: +02:00).",
        ),
        click.option(
            "--level", type=click.Choice(_LEVELS), default="info", show_default=True, help="The least level."
        ),
        click.option(
            "--event",
            "kinds",
            multiple=True,
            callback=_known,
            help="Only this kind (takeover); may be repeated.",
        ),
        click.option("--group", help="Only this group.", shell_complete=complete_group),
    ):
        function = option(function)
    return function


def _kinds() -> str:
    from fttcp.config.words import EVENTS

    return "\n".join(f"{kind}: {said}" for kind, said in EVENTS.items())


@click.command()
@_wanted_options
@telling("--kinds", _kinds, "Tell what each kind means, and what to do; ask no daemon.")
@click.option("--limit", type=click.IntRange(0), default=1000, show_default=True, help="The last ones only.")
@click.option("--follow", "-f", is_flag=True, help="Go on with new events, until Ctrl-C.")
@daemon_options
def events(
    config: Path | None,
    socket_path: Path | None,
    as_json: bool,
    follow: bool,
    limit: int,
    group: str | None,
    kinds: tuple[str, ...],
    level: str,
    since: int | datetime,
) -> None:
    """List what happened on this node since its daemon started, oldest first.

    With --follow, each event is printed as it happens (--limit 0: new ones only); with --json as well, one
    JSON object a line.
    """
    path, wanted = find_socket(config, socket_path), Wanted(group, kinds, level, since)
    asked: dict[str, Any] = {} if group is None else {"group": group}
    reply = ask(path, op="events", since=wanted.after, **asked)
    chosen = deque(filter(wanted, reply["events"]), maxlen=limit)
    if not follow:
        if as_json:
            show_json({**reply, "events": list(chosen)})
        elif chosen:
            _show(chosen)
        else:
            click.echo("no such events since the daemon started; `fttcp history` has older ones")
        return
    last = reply["events"][-1]["number"] if reply["events"] else wanted.after
    shown = (lambda event: json.dumps(event)) if as_json else event_line
    try:
        for event in chosen:
            click.echo(shown(event))
        for event in filter(wanted, stream(path, op="events", since=last, follow=True)):
            click.echo(shown(event))
    except KeyboardInterrupt:
        return
    raise AskError(
        f"{path}: the daemon ended the stream of events: it stopped, or this reader was too slow", "ended"
    )


@click.command()
@_wanted_options
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
    since: int | datetime,
    limit: int,
    config: Path | None,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """List what happened on this node, from the file that outlives the daemon.

    No daemon needs to run. The file is bounded: the oldest events are lost first (node.history_kib).
    """
    from fttcp.report.history import read

    directory = state_dir or (Path(load_config(config).node.state_dir) if config else DEFAULT_STATE_DIR)
    if not directory.is_dir():
        why = f"{directory}: no such directory; name the right one with --config or --state-dir"
        raise CommandError(why, "no-history")
    try:
        chosen = deque(filter(Wanted(group, kinds, level, since), read(directory)), maxlen=limit)
    except OSError as error:
        raise CommandError(f"{error.filename}: cannot be read: {error.strerror}", "no-history") from error
    if as_json:
        show_json({"state_dir": str(directory), "events": list(chosen)})
    elif chosen:
        _show(chosen)
    else:
        click.echo(f"{directory}: no such events are kept there")


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
