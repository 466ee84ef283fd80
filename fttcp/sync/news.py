"""What a copy that has ended is told of. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fttcp.sync.record import Report


def news(report: Report, before: Report | None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield kind, level and fields of each event. ``before``: how the copy before it had gone."""
    where = {"entry": report.entry, "peer": report.peer}
    error_before = None if before is None else before.error
    if report.error is not None and error_before is None:
        yield "sync-failed", "warning", {**where, "why": report.error, "good_at": report.good_at}
    elif report.error is None and error_before is not None:
        yield "sync-good", "info", where
    new = report.conflicts - (0 if before is None else before.conflicts)
    if new > 0:
        yield "sync-conflict", "warning", {**where, "conflicts": new, "directory": report.directory}
