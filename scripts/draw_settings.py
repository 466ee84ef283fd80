#!/usr/bin/env python3
"""Write docs/settings.md: every key of the configuration files, from the schema and fttcp/config/meanings.

.venv/bin/python scripts/draw_settings.py
"""

from __future__ import annotations

from pathlib import Path

from fttcp.config.settings import FILES, Section, sections

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
_HEAD = """# Settings

Written by `scripts/draw_settings.py`. `fttcp settings WORD` tells the same on a node, as do `man
node.toml` and `man witness.toml`. How they belong together: [operations](operations.md#configuration).

A file is TOML. Integers have bounds, `least..most`. A *name* is 1 to 32 of letters, digits, `_`, `.`,
`-`, and begins with a letter or digit. What has no default is *required*, or *none*.
"""


def page() -> str:
    """Return the page as it is to be."""
    parts = [_HEAD]
    for file in FILES:
        parts += [f"\n## {file}\n", *map(_told, sections(file))]
    return "".join(parts)


def _told(section: Section) -> str:
    heading = f"\n### `{section.heading}`\n" if section.name else ""
    about = f"\n{section.about}\n" if section.about else ""
    rows = [f"| `{s.key}` | {s.default} | {s.allowed} | {s.meaning} |" for s in section.settings]
    return "\n".join(
        (heading + about, "| key | default | allowed | meaning |", "|---|---|---|---|", *rows, "")
    )


if __name__ == "__main__":
    PAGE.write_text(page())
