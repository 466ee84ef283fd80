#!/usr/bin/env python3
"""Write the pages of docs/ that are made of fttcp/config/meanings (and the schema): settings.md, events.md,
reasons.md, counters.md, status.md.

.venv/bin/python scripts/draw_meanings.py
"""

from __future__ import annotations

from pathlib import Path

from fttcp.config.settings import FILES, Section, sections
from fttcp.config.words import EVENTS, NOTIFIED_EVENTS, of_connections, of_counters, of_readiness, of_status
from fttcp.node.reload import changes_live

DOCS = Path(__file__).parents[1] / "docs"
_SETTINGS = """# Settings

Written by `scripts/draw_meanings.py`. `fttcp settings WORD` tells the same on a node, as do `man
node.toml` and `man witness.toml`. How they belong together: [operations](operations.md#configuration).

A file is TOML. Integers have bounds, `least..most`. A *name* is 1 to 32 of letters, digits, `_`, `.`,
`-`, and begins with a letter or digit. What has no default is *required*, or *none*. *Live*: a
[reload](operations.md#reload) takes it.
"""
_EVENTS = """# Events

Written by `scripts/draw_meanings.py`; `fttcp events --kinds` tells the same. Where they go:
[monitoring](monitoring.md#events). *Told*: to `node.notify`'s command, if `events` there does not say
otherwise.

| event | told | meaning; what to do |
|---|---|---|
"""
_REASONS = """# Reasons

Why a connection is not protected ([what else `fttcp connections` shows](commands.md#what-connections-shows)),
and why a group is not ready. Written by `scripts/draw_meanings.py`; `fttcp connections --words` and `fttcp
status --reasons` tell the same.
"""
_COUNTERS = """# Counters

Written by `scripts/draw_meanings.py`; `fttcp status --counters` tells the same. They stand in `counters` of
`fttcp status --json`, and as `fttcp_COUNTER_total` [in the metrics](monitoring.md#http).

| about | counter | counts |
|---|---|---|
"""
_STATUS = """# What `fttcp status` says

Written by `scripts/draw_meanings.py`; `fttcp status --words` tells the same. [An
example](commands.md#what-status-shows).
"""
_FIELDS = {
    "protection": "Protection",
    "reason": "Reason: why it is not protected, and where to look",
    "why": "Not ready: where to look",
    "unrenewable": "Unrenewable: why a new backup could not catch up with it",
}


def pages() -> dict[str, str]:
    """Return each page as it is to be, by name."""
    return {
        "settings.md": _settings(),
        "events.md": _events(),
        "reasons.md": _reasons(),
        "counters.md": _counters(),
        "status.md": _status(),
    }


def _settings() -> str:
    parts = [_SETTINGS]
    for file in FILES:
        parts += [f"\n## {file}\n", *map(_section, sections(file))]
    return "".join(parts)


def _section(section: Section) -> str:
    heading = f"\n### `{section.heading}`\n" if section.name else ""
    about = f"\n{section.about}\n" if section.about else ""
    lives = ["yes" if changes_live(section.name, setting.key) else "" for setting in section.settings]
    rows = [
        f"| `{s.key}` | {s.default} | {s.allowed} | {live} | {s.meaning} |"
        for s, live in zip(section.settings, lives, strict=True)
    ]
    head = ("| key | default | allowed | live | meaning |", "|---|---|---|---|---|")
    return "\n".join((heading + about, *head, *rows, ""))


def _events() -> str:
    told = {kind: "yes" if kind in NOTIFIED_EVENTS else "" for kind in EVENTS}
    return _EVENTS + "".join(f"| `{kind}` | {told[kind]} | {said} |\n" for kind, said in EVENTS.items())


def _reasons() -> str:
    parts = [_REASONS]
    for field, words in (of_connections() | of_readiness()).items():
        rows = [f"| `{word}` | {said} |" for word, said in words.items()]
        parts.append("\n".join(("", f"## {_FIELDS[field]}", "", f"| `{field}` | |", "|---|---|", *rows, "")))
    return "".join(parts)


def _status() -> str:
    parts = [_STATUS]
    for kind, words in of_status().items():
        names = [", ".join(f"`{one}`" for one in word.split(", ")) for word in words]
        rows = [f"| {name} | {said} |" for name, said in zip(names, words.values(), strict=True)]
        parts.append("\n".join(("", f"| {kind} | meaning |", "|---|---|", *rows, "")))
    return "".join(parts)


def _counters() -> str:
    rows = [
        f"| {about} | `{name}` | {text} |\n"
        for about, words in of_counters().items()
        for name, text in words.items()
    ]
    return _COUNTERS + "".join(rows)


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text)
