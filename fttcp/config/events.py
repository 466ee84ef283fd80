"""Every kind of event, and what it means: for people, and for those who choose some of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

_FILE = Path(__file__).with_name("meanings") / "events.toml"
_TOLD: dict[str, dict[str, str]] = tomllib.loads(_FILE.read_text(encoding="utf-8"))

NOTIFIED_EVENTS = tuple(_TOLD["default"])
OTHER_EVENTS = tuple(_TOLD["others"])
"""Kinds that a program is told of if it asks for them."""
MEANINGS = _TOLD["default"] | _TOLD["others"]
"""In Markdown; links lead from docs/."""
