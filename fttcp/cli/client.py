"""Asking the daemon, and the options that say which one."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fttcp.cli.failure import CommandError, ConfigurationError

if TYPE_CHECKING:
    from fttcp.config import Config

CONFIG = Path("/etc/fttcp/node.toml")
DEFAULT_SOCKET = Path("/run/fttcp/control.sock")
_TIMEOUT_S = 5.0
_COMPLETION_TIMEOUT_S = 1.0

_Function = TypeVar("_Function", bound=Callable[..., Any])


class AskError(CommandError):
    """The daemon cannot be asked."""


class RefusedError(CommandError):
    """The daemon said no."""

    def __init__(self, reply: dict[str, Any]) -> None:
        """``reply``: what it said, with ``error`` and ``reason``."""
        rest = {key: value for key, value in reply.items() if key not in ("error", "reason")}
        super().__init__(str(reply["error"]), str(reply.get("reason", "refused")), **rest)


def daemon_options(function: _Function) -> _Function:
    """Add --config and --socket, which name the daemon, and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option(
            "--socket", "socket_path", type=click.Path(path_type=Path), help="The daemon's control socket."
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="The daemon's configuration, to find its socket.",
        ),
    ):
        function = option(function)
    return function


def complete_group(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Return the names of groups that begin so, for the shell; none if no daemon answers."""
    given = context.params
    try:
        path = find_socket(given.get("config"), given.get("socket_path"))
        groups = ask(path, _COMPLETION_TIMEOUT_S, op="status")["groups"]
    except CommandError:
        return []
    return [group["name"] for group in groups if group["name"].startswith(begun)]


def told_by_part(parts: dict[str, dict[str, str]]) -> str:
    """Return words and what they mean, under what they are about."""
    return "\n\n".join(
        "\n".join((f"{part}:", *(f"  {word}: {said}" for word, said in words.items())))
        for part, words in parts.items()
    )


def telling(flag: str, tell: Callable[[], str], help_text: str) -> Callable[[_Function], _Function]:
    """Return an option that tells something, in Markdown, and ends the command."""

    def asked(context: click.Context, option: click.Parameter, given: bool) -> None:
        from fttcp.config.words import plain

        if given:
            click.echo(plain(tell()))
            context.exit()

    return click.option(
        flag,
        "tell_" + flag.strip("-"),
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=asked,
        help=help_text,
    )


def find_socket(config: Path | None, socket_path: Path | None) -> Path:
    """Return the control socket that the options name. Raises ConfigurationError."""
    if socket_path is not None:
        return socket_path
    if config is None:
        return DEFAULT_SOCKET
    return load_config(config).socket_path


def load_config(path: Path | None) -> Config:
    """Return a configuration; None: that of this host. Raises ConfigurationError."""
    from fttcp.config import ConfigError, load

    if path is None and not CONFIG.exists():
        raise ConfigurationError([f"{CONFIG}: there is no such file; name the right one with --config"])
    try:
        return load(path or CONFIG)
    except ConfigError as error:
        raise ConfigurationError(error.errors) from error


def ask(path: Path, timeout_s: float = _TIMEOUT_S, **request: Any) -> dict[str, Any]:
    """Send one request to the daemon behind ``path`` and return its reply. Raises AskError, RefusedError."""
    return next(_replies(path, timeout_s, request))


def stream(path: Path, **request: Any) -> Iterator[dict[str, Any]]:
    """Send one request and return every line of the answer, until the daemon ends it. Raises AskError."""
    return _replies(path, None, request)


def _replies(path: Path, timeout_s: float | None, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a request and yield what comes back; one reply at least."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(timeout_s)
        try:
            channel.connect(str(path))
            channel.sendall(json.dumps(request).encode() + b"\n")
            with channel.makefile("rb") as lines:
                first = True
                while (line := lines.readline()) or first:
                    first = False
                    yield _reply(path, line)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise AskError(
                f"{path}: no daemon answers there. Start it with `fttcp node --config FILE`, or name the "
                "right one with --config or --socket.",
                "no-daemon",
            ) from error
        except TimeoutError as error:
            raise AskError(
                f"{path}: the daemon did not answer within {timeout_s:g} s; is it stopped?", "no-answer"
            ) from error
        except PermissionError as error:
            raise AskError(
                f"{path}: {error.strerror}: ask as root, or as the daemon's user", "no-permission"
            ) from error
        except OSError as error:
            raise AskError(f"{path}: {error.strerror or error}", "no-answer") from error


def _reply(path: Path, line: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except ValueError as error:
        why = f"{path}: the daemon closed the connection without an answer; see its log"
        raise AskError(why, "no-answer") from error
    if "error" in reply:
        raise RefusedError(reply)
    assert isinstance(reply, dict)
    return reply


def show_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))
