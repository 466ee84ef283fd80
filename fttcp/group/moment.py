"""How the connections of a primary are, for the moment of a planned act."""

from __future__ import annotations

from fttcp.ownership import events as ev
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import Engine, HistoryStage

_PROGRESS = ("renewed", "renewals_failed", "renewal_steps", "lane_bytes_sent")
_PLAYED = frozenset({HistoryStage.SENDS, HistoryStage.ALIGNS, HistoryStage.LAST, HistoryStage.MARKS})


def flows_seen(engine: Engine) -> ev.FlowsSeen:
    """Return what the engine tells now. A history that is played counts as one more connection, as do stored
    replies that the backup lacks."""
    status, counters = engine.status(), engine.counters()
    lacks = status.mode == EngineMode.PAIRED and status.stored_requests and not status.stored_in_step
    catching = status.flows_catching + (HistoryStage(status.history_stage) in _PLAYED) + bool(lacks)
    progress = status.history_played + sum(counters.get(name, 0) for name in _PROGRESS)
    return ev.FlowsSeen(catching, progress, status.flows_unverified, counters.get("renewals_failed", 0))
