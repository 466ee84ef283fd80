"""What the words mean that a node shows and tells: kinds of events, counters, and what is said of a
connection. In
Markdown; links lead from docs/."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_MEANINGS = Path(__file__).with_name("meanings")


def plain(markdown: str) -> str:
    """Return text without the marks of Markdown; links lose where they lead."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "").replace("*", "")


def _read(file: str) -> dict[str, dict[str, str]]:
    return tomllib.loads((_MEANINGS / file).read_text(encoding="utf-8"))


_EVENTS = _read("events.toml")
NOTIFIED_EVENTS = tuple(_EVENTS["default"])
EVENTS = _EVENTS["default"] | _EVENTS["others"]
"""``NOTIFIED_EVENTS``, and those that a program is told of if it asks for them."""


def of_status() -> dict[str, dict[str, str]]:
    """Return what the words and fields of ``status`` mean, by what they are."""
    return _read("status.toml")


def of_readiness() -> dict[str, dict[str, str]]:
    """Return where to look for each reason why a group is not ready."""
    return _read("readiness.toml")


def of_counters() -> dict[str, dict[str, str]]:
    """Return what each counter of an engine counts, by what it is about."""
    return _read("counters.toml")


def of_connections() -> dict[str, dict[str, str]]:
    """Return, for each field of a connection that is a word, what its words mean."""
    return _read("connections.toml")
