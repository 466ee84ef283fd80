#!/usr/bin/env python3
"""Draw the table of phases (fttcp/ownership/phases.py) into docs/protocol.md, between its two marks.

.venv/bin/python scripts/draw_phases.py
"""

from __future__ import annotations

from pathlib import Path

from fttcp.ownership.model import Phase
from fttcp.ownership.phases import TRANSITIONS

PAGE = Path(__file__).parents[1] / "docs" / "protocol.md"
BEGIN = "<!-- phases: drawn by scripts/draw_phases.py -->\n"
END = "<!-- end of phases -->\n"
_FROM_MANY = 5
"""So many arrows for one reason are not drawn: the table below the diagram has them."""


def page(text: str) -> str:
    """Return the page with the diagram and the table as they are now. Raises ValueError without the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks the marks {BEGIN.strip()} and {END.strip()}")
    return before + begin + "\n".join(("", *_diagram(), "", *_table(), "", "")) + end + after


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
    PAGE.write_text(page(PAGE.read_text()))
