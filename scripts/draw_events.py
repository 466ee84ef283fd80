#!/usr/bin/env python3
"""Write docs/events.md from fttcp/config/meanings/events.toml.

.venv/bin/python scripts/draw_events.py
"""

from __future__ import annotations

from pathlib import Path

from fttcp.config.events import MEANINGS, NOTIFIED_EVENTS

PAGE = Path(__file__).parents[1] / "docs" / "events.md"
_HEAD = """# Events

Written by `scripts/draw_events.py`; `fttcp events --kinds` tells the same. Where they go:
[monitoring](monitoring.md#events).
*Told*: to `node.notify`'s command, if `events` there does not say otherwise.

| event | told | meaning; what to do |
|---|---|---|
"""


def page() -> str:
    """Return the page as it is to be."""
    told = {kind: "yes" if kind in NOTIFIED_EVENTS else "" for kind in MEANINGS}
    return _HEAD + "".join(f"| `{kind}` | {told[kind]} | {said} |\n" for kind, said in MEANINGS.items())


if __name__ == "__main__":
    PAGE.write_text(page())
