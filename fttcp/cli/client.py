"""Asking the daemon, and the options that say which one."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

DEFAULT_SOCKET = Path("/run/fttcp/control.sock")
_TIMEOUT_S = 5.0

_Function = TypeVar("_Function", bound=Callable[..., Any])


class AskError(click.ClickException):
    """The daemon cannot be asked, or said no."""


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


def find_socket(config: Path | None, socket_path: Path | None) -> Path:
    """Return the control socket that the options name. Raises AskError."""
    if socket_path is not None:
        return socket_path
    if config is None:
        return DEFAULT_SOCKET
    from fttcp.runtime.config import ConfigError, load

    try:
        return load(config).socket_path
    except ConfigError as error:
        raise AskError(str(error)) from error


def ask(path: Path, **request: Any) -> dict[str, Any]:
    """Send one request to the daemon behind ``path`` and return its reply. Raises AskError."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(_TIMEOUT_S)
        try:
            channel.connect(str(path))
            channel.sendall(json.dumps(request).encode() + b"\n")
            with channel.makefile("rb") as stream:
                line = stream.readline()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise AskError(
                f"{path}: no daemon answers there. Start it with `fttcp node --config FILE`, or name the "
                "right one with --config or --socket."
            ) from error
        except TimeoutError as error:
            raise AskError(
                f"{path}: the daemon did not answer within {_TIMEOUT_S:.0f} s; is it stopped?"
            ) from error
        except OSError as error:
            raise AskError(f"{path}: {error.strerror or error}") from error
    try:
        reply = json.loads(line)
    except ValueError as error:
        raise AskError(f"{path}: the daemon closed the connection without an answer; see its log") from error
    if "error" in reply:
        raise AskError(str(reply["error"]))
    assert isinstance(reply, dict)
    return reply


def show_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))
