#!/usr/bin/env python3
"""Write docs/phases.md: the table of phases (fttcp/ownership/phases.py), drawn and in words.

.venv/bin/python scripts/draw_phases.py
"""

from __future__ import annotations

from pathlib import Path

from fttcp.ownership.model import Phase
from fttcp.ownership.phases import TRANSITIONS

PAGE = Path(__file__).parents[1] / "docs" / "phases.md"
_HEAD = """# The phases of a node

Written by `scripts/draw_phases.py`. The [role machine](protocol.md#who-owns-a-group) is in one *phase* at a
time. A step that is not in the table fences the group. The diagram leaves out what may happen from nearly
everywhere.
"""
_FROM_MANY = 5
"""So many arrows for one reason are not drawn: the table below the diagram has them."""


def page() -> str:
    """Return the page as it is to be."""
    return "\n".join((_HEAD, *_diagram(), "", *_table(), ""))


def _steps() -> dict[tuple[Phase, str], list[Phase]]:
    """The phase that is entered and why -> the phases from which that is so."""
    steps: dict[tuple[Phase, str], list[Phase]] = {}
    for before, following in TRANSITIONS.items():
        for after, why in following.items():
            steps.setdefault((after, why), []).append(before)
    return steps


def _diagram() -> list[str]:
    drawn = [
        f"    {before} --> {after}"
        for (after, _), origins in _steps().items()
        if len(origins) < _FROM_MANY
        for before in origins
    ]
    return ["```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.LISTENING}", *drawn, "```"]


def _table() -> list[str]:
    rows = [f"| {', '.join(origins)} | {after} | {why} |" for (after, why), origins in _steps().items()]
    return ["| from | to | when |", "|---|---|---|", *rows]


if __name__ == "__main__":
    PAGE.write_text(page())
