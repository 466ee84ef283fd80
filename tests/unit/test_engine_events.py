"""What people are told of what an engine met."""

from __future__ import annotations

import errno

import pytest

from fttcp.group.engine_events import described
from fttcp.planes.base import EngineEvent, EventKind, LaneRefusal, StoredLag, StoredNews

PEERS = ("beta", "gamma")


@pytest.mark.parametrize(
    ("error", "why"), [(errno.ECONNREFUSED, "Connection refused"), (0, "the other node has not connected")]
)
def test_a_lane_that_is_down_tells_what_is_known(error: int, why: str) -> None:
    event = EngineEvent(EventKind.LANE_DOWN, 1, value=error, link=3, peer=1)
    assert described(event, PEERS) == ("warning", {"peer": "gamma", "worker": 3, "why": why})


@pytest.mark.parametrize(
    ("error", "why"),
    [(errno.ENOSPC, "No space left on device"), (errno.EBADMSG, "something else was read than was written")],
)
def test_a_spool_that_fails_tells_why(error: int, why: str) -> None:
    event = EngineEvent(EventKind.SPOOL, 1, value=error)
    assert described(event, PEERS) == ("warning", {"why": why})


@pytest.mark.parametrize(
    ("error", "why"), [(errno.EPROTOTYPE, "it is no Ethernet"), (errno.EPERM, "Operation not permitted")]
)
def test_an_adapter_that_cannot_be_used_tells_why(error: int, why: str) -> None:
    event = EngineEvent(EventKind.ADAPTER_FAILED, 1, value=error)
    assert described(event, PEERS) == ("warning", {"why": why})


@pytest.mark.parametrize("refusal", [LaneRefusal.GARBAGE, LaneRefusal.VERSION_OTHER, LaneRefusal.WRONG_KEY])
def test_a_stranger_on_the_lane_is_told_of(refusal: LaneRefusal) -> None:
    """Those that the engine posts: the others may be the partner's, and are only counted."""
    level, fields = described(EngineEvent(EventKind.LANE_REFUSED, 1, value=refusal, link=2), PEERS)
    assert level == "warning" and fields["worker"] == 2 and fields["what"]


@pytest.mark.parametrize(
    ("news", "value", "level", "more"),
    [
        (StoredNews.TROUBLE, errno.ENOSPC, "warning", {"why": "No space left on device"}),
        (StoredNews.TROUBLE, errno.ETIMEDOUT, "warning", {"why": "the disk does not answer"}),
        (StoredNews.READ, 5, "info", {"requests": 5}),
        (StoredNews.GOOD, 0, "info", {}),
        (StoredNews.NO_ROOM, 0, "warning", {}),
        (StoredNews.CUT, 17, "warning", {"bytes": 17}),
        (StoredNews.IN_STEP, 5, "info", {"requests": 5}),
    ],
)
def test_what_is_told_of_stored_replies(
    news: StoredNews, value: int, level: str, more: dict[str, object]
) -> None:
    event = EngineEvent(EventKind.STORED, 1, value=value, reason=news)
    assert described(event, PEERS) == (level, {"what": news.name.lower().replace("_", "-")} | more)


def test_why_a_backup_has_not_stored_all() -> None:
    told = set()
    for lag in StoredLag:
        event = EngineEvent(EventKind.STORED, 1, value=errno.EIO, link=lag, reason=StoredNews.BEHIND)
        level, fields = described(event, PEERS)
        assert level == "warning" and fields["what"] == "behind"
        told.add(fields["why"])
    assert len(told) == len(StoredLag) and "its disk: Input/output error" in told


@pytest.mark.parametrize(
    ("serial", "error", "more"),
    [
        (0x2A, errno.EPROTO, {"file": "stored-000000000000002a"}),
        (0, errno.EWOULDBLOCK, {}),
        (0, errno.EIO, {"why": "Input/output error"}),
    ],
)
def test_what_cannot_be_read_is_told(serial: int, error: int, more: dict[str, object]) -> None:
    event = EngineEvent(EventKind.STORED, 1, value=serial, link=error, reason=StoredNews.UNREAD)
    level, fields = described(event, PEERS)
    assert level == "warning" and fields == {"what": "unread", "why": fields["why"]} | more
