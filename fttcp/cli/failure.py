"""What a command that fails says: a sentence for people, and with --json one object for programs."""

from __future__ import annotations

import json
from typing import Any

import click

REFUSED, WRONG, LATE = 1, 2, 3
"""Exit statuses: refused or failed, and nothing is under way; a wrong option or configuration; not done in
time, and it may still come."""


class CommandError(click.ClickException):
    """A command cannot do what it was asked for."""

    exit_code = REFUSED

    def __init__(self, sentence: str, reason: str = "failed", **details: Any) -> None:
        """``reason``: one word for programs; ``details``: what else they are told."""
        super().__init__(sentence)
        self.reason, self.details = reason, details


class ConfigurationError(CommandError):
    """A configuration that is needed cannot be used."""

    exit_code = WRONG

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors), "wrong-configuration", errors=errors)


class LateError(CommandError):
    """What was asked for is not done in time; it may still come."""

    exit_code = LATE


def told(error: click.ClickException) -> dict[str, Any]:
    """Return what programs are told of a failure; docs/commands.md lists the reasons."""
    if isinstance(error, CommandError):
        return {"ok": False, "reason": error.reason, "error": error.message, **error.details}
    reason = "usage" if isinstance(error, click.UsageError) else "failed"
    return {"ok": False, "reason": reason, "error": error.format_message()}


def show(error: click.ClickException) -> None:
    """Print one JSON object in one line, so that it ends a stream of lines as well."""
    click.echo(json.dumps(told(error), default=str))
