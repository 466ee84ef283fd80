"""What people are told of an engine's event."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

from fttcp.ownership.model import NS_PER_MS
from fttcp.planes.base import (
    STAMPED_MAX,
    EngineEvent,
    EventKind,
    HistoryFailure,
    Intrusion,
    LaneRefusal,
    Reason,
    StoredLag,
    StoredNews,
    Unrenewable,
)

_INTRUSIONS = {
    Intrusion.MAC: "bad MAC",
    Intrusion.REPLAY: "replay",
    Intrusion.AT_PEER: "the peer met a bad MAC, a replay or another cluster",
    Intrusion.VERSION: "another version of heartbeats: run one release on all nodes",
    Intrusion.CLUSTER: "right key, another cluster",
}
_LANE_REFUSALS = {
    LaneRefusal.GARBAGE: "no words of the bulk lane",
    LaneRefusal.VERSION_OTHER: "another version of the bulk lane: run one release on all nodes",
    LaneRefusal.WRONG_KEY: "not made with the pair's key",
}
_WHOLE_PACKETS = {
    errno.ENOTUNIQ: "the mirror comes in on the service interface",
    errno.E2BIG: f"the group has more than {STAMPED_MAX} pairs of address and port",
}


_NO_HISTORIES = {
    Unrenewable.LOG_GAP: "the server had been told something before, or something that could not be kept",
    Unrenewable.LOGS_TOO_LONG: "clients have sent more than history_bytes",
    Unrenewable.LOG_TOO_LONG: "a client has sent more than 64 MiB on one connection",
}
_NO_NAMELESS = "the file system has no files without a name: use ext4, xfs or btrfs"
_HISTORY_FAILURES = {
    HistoryFailure.NOT_SAID: "it does not say what the primary's server has said",
    HistoryFailure.CUT: "the bulk lane ended",
    HistoryFailure.NOT_FRESH: "it had been told something before: a server must begin anew with each pairing",
    HistoryFailure.NO_ROOM: "a bound of this node is too small for it",
}


def why_no_history(why: int) -> str | None:
    """Say why there is no history: ``history_why`` of an engine's status."""
    return _NO_HISTORIES.get(Unrenewable(why), Unrenewable(why).name.lower()) if why else None


def why_no_spool(error: int) -> str:
    """Say what is wrong with the spool: ``spool_error`` of an engine's status."""
    words = {errno.EBADMSG: "something else was read than was written", errno.EOPNOTSUPP: _NO_NAMELESS}
    return words.get(error, os.strerror(error)) if error else ""


def why_unanswered(error: int) -> str:
    """Say why neighbours cannot be answered on the service interface."""
    return "it is no Ethernet" if error == errno.EPROTOTYPE else os.strerror(error)


_STORES = {
    errno.ETIMEDOUT: "the disk does not answer",
    errno.EPROTO: "it is of another release: move it away, and requests in it may be executed again",
    errno.EWOULDBLOCK: "another process has the directory, or had it and still waits for its disk",
}
_LAGS = {
    StoredLag.NO_LAG: "",
    StoredLag.CATCHES_UP: "it is being sent what there is",
    StoredLag.LATE: "it did not store a request within detach_after_ms",
    StoredLag.NO_LANE: "the bulk lane is down",
    StoredLag.SAYS_NOTHING: "it does not say what it has stored: is it of another release?",
}


def why_not_stored(error: int) -> str:
    """Say what keeps requests from being stored, or read: ``stored_trouble`` of an engine's status."""
    return _STORES.get(error, os.strerror(error)) if error else ""


def why_behind(lag: int, error: int) -> str:
    """Say why a backup has not stored all: ``stored_lag``, ``stored_peer_trouble`` of an engine's status."""
    return _LAGS.get(StoredLag(lag), f"its disk: {why_not_stored(error)}")


def stored_told(event: EngineEvent) -> tuple[str, dict[str, Any]]:
    """Return level and fields of an event about stored replies."""
    news = StoredNews(event.reason)
    level = "info" if news in (StoredNews.GOOD, StoredNews.IN_STEP, StoredNews.READ) else "warning"
    fields: dict[str, Any] = {"what": news.name.lower().replace("_", "-")}
    match news:
        case StoredNews.TROUBLE:
            fields["why"] = why_not_stored(event.value)
        case StoredNews.CUT:
            fields["bytes"] = event.value
        case StoredNews.IN_STEP | StoredNews.READ:
            fields["requests"] = event.value
        case StoredNews.BEHIND:
            fields["why"] = why_behind(event.link, event.value)
        case StoredNews.UNREAD:
            file = {"file": f"stored-{event.value:016x}"} if event.value else {}
            fields |= {"why": why_not_stored(event.link), **file}
    return level, fields


def why_whole(error: int) -> str | None:
    """Say why the kernel edits no headers for a backup: ``whole_packets`` of an engine's status."""
    kernel = f"the kernel cannot, 5.18 or later with nf_tables is needed: {os.strerror(error)}"
    return _WHOLE_PACKETS.get(error, kernel) if error else None


def described(event: EngineEvent, peers: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return level and fields of an event; ``peers``: the names, in the order in which events number them."""
    level = "info"
    fields: dict[str, Any] = {}
    match event.kind:
        case EventKind.PEER_BODY | EventKind.GATE_OPEN | EventKind.ANNOUNCED | EventKind.TAKEOVER_DONE:
            level = "debug"
        case EventKind.PEER_QUIET:
            level, fields = "debug", {"peer": peers[event.peer], "silent_ms": event.value / NS_PER_MS}
        case EventKind.PEER_UP:
            fields = {"peer": peers[event.peer], "boot": f"{event.value:016x}"}
        case EventKind.PEER_LOST | EventKind.PEER_SUSPECTED:
            level = "warning"
            fields = {"peer": peers[event.peer], "silent_ms": event.value / NS_PER_MS}
        case EventKind.LINK_UP:
            fields = {"peer": peers[event.peer], "link": event.link}
        case EventKind.LINK_LOST:
            level, fields = "warning", {"peer": peers[event.peer], "link": event.link}
            fields["silent_ms"] = event.value / NS_PER_MS
        case EventKind.INTRUSION:
            level, fields = (
                "warning",
                {"link": event.link, "what": _INTRUSIONS[Intrusion(event.value)]},
            )
        case EventKind.LANE_REFUSED:
            level, fields = "warning", {"what": _LANE_REFUSALS[LaneRefusal(event.value)]}
            fields["worker"] = event.link
        case EventKind.LANE_DOWN:
            level, fields = "warning", {"peer": peers[event.peer], "worker": event.link}
            # only the backup tries, so only it knows
            fields["why"] = os.strerror(event.value) if event.value else "the other node has not connected"
        case EventKind.CATCHING_UP:
            fields = {"flows": event.value}
        case EventKind.HISTORY if event.reason:
            level, fields = "warning", {"why": why_no_history(event.reason)}
        case EventKind.HISTORY:
            fields = {"bytes": event.value}
        case EventKind.HISTORY_FAILED:
            level, fields = "warning", {"why": _HISTORY_FAILURES[HistoryFailure(event.value)]}
        case EventKind.RENEWED | EventKind.PROMOTED:
            fields = {"flows": event.value, "failed": event.reason}
        case EventKind.SPOOL:
            level, fields = "warning", {"why": why_no_spool(event.value)}
        case EventKind.ADAPTER_FAILED:
            level, fields = "warning", {"why": why_unanswered(event.value)}
        case EventKind.STORED:
            level, fields = stored_told(event)
        case EventKind.LANE_UP:
            fields = {"peer": peers[event.peer], "worker": event.link}
        case EventKind.WHOLE_PACKETS:
            level, fields = "warning", {"why": why_whole(event.value)}
        case EventKind.DIVERGENCE:
            how = (
                "equal length"
                if event.reason == Reason.NONE
                else "shifted, or not known to be equal: detached"
            )
            level, fields = "warning", {"flow": str(event.key), "differs": how, "verified": event.value}
        case EventKind.FLOW_DETACHED | EventKind.UNSUPPORTED:
            why = Reason(event.reason).name.lower().replace("_", "-")
            level, fields = "warning", {"flow": str(event.key), "reason": why, "value": event.value}
    return level, fields
