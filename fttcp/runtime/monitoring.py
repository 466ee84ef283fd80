"""What load balancers and Prometheus are told: made from the same status that operators see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fttcp.runtime.http import Page

if TYPE_CHECKING:
    from prometheus_client import Metric

Status = dict[str, Any]
"""As the operation ``status`` replies, and ``event_counts``."""

Row = tuple[tuple[str, ...], float]
"""Values of the labels beside the group's name, and the number."""
Rows = Callable[[Status], Sequence[Row]]

METRICS_KIND = "text/plain; version=0.0.4; charset=utf-8"
_ROLES = ("starting", "backup", "primary", "fenced")
_PATHS = "/metrics, /health/live, /health/primary[/GROUP], /health/ready[/GROUP]"


def is_primary(group: Status) -> bool:
    """True if this node serves the group now: a primary with a valid lease."""
    return bool(group["role"] == "primary" and group.get("lease_ms_left", 0) > 0)


def is_ready(group: Status) -> bool:
    """True if this node serves the group, or could take it over with every protected connection if the
    primary were lost now: in step, its server healthy, the arbiter heard, and no maintenance."""
    standby = group["role"] == "backup" and group["synced"] and group.get("server", {}).get("healthy", True)
    arbiter = group.get("ownership", {}).get("arbiter", {})
    prevented = group.get("paused") or arbiter.get("reachable") is False
    return bool(is_primary(group) or (standby and not prevented))


_QUESTIONS: dict[str, Callable[[Status], bool]] = {"primary": is_primary, "ready": is_ready}


def health(question: str, name: str, status: Status) -> Page:
    """Answer /health/QUESTION[/NAME]: 200 if true of the group, or of every group; else 503."""
    if question == "live" and not name:
        return _json(HTTPStatus.OK, {"node": status["node"], "live": True})
    groups = [group for group in status["groups"] if not name or group["name"] == name]
    if question not in _QUESTIONS or (name and not groups):
        return _json(HTTPStatus.NOT_FOUND, {"error": f"there is nothing here; there are {_PATHS}"})
    told = {group["name"]: _QUESTIONS[question](group) for group in groups}
    good = bool(told) and all(told.values())
    body = {"node": status["node"], question: good, "groups": told}
    return _json(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, body)


def _json(status: HTTPStatus, value: object) -> Page:
    return Page(status, json.dumps(value).encode() + b"\n")


class Pages:
    """The pages of the HTTP server."""

    def __init__(self, status: Callable[[], Status]) -> None:
        """``status`` is called in the loop, for each request."""
        self._status = status

    async def page(self, path: str) -> Page:
        """Return the page of a path."""
        if path == "/metrics":
            # The engine is asked here, in the loop; text is made of it elsewhere.
            return Page(HTTPStatus.OK, await asyncio.to_thread(metrics_text, self._status()), METRICS_KIND)
        root, _, rest = path.lstrip("/").partition("/")
        question, _, name = rest.partition("/")
        return health(question if root == "health" else "", name, self._status())


def metrics_text(status: Status) -> bytes:
    """Return the metrics in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    class Snapshot:
        def collect(self) -> Iterator[Metric]:
            yield from node_metrics(status)
            yield from group_metrics(status["groups"])

    registry = CollectorRegistry()
    registry.register(Snapshot())
    ProcessCollector(registry=registry)
    return bytes(generate_latest(registry))


def node_metrics(status: Status) -> Iterator[Metric]:
    """Yield what concerns the whole node."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    info = GaugeMetricFamily("fttcp_info", "Who this is", labels=("node", "cluster", "version"))
    info.add_metric([status["node"], status["cluster"], status["version"]], 1)
    yield info
    events = CounterMetricFamily("fttcp_events", "Events since the start of the daemon", labels=("event",))
    for kind, count in sorted(status["event_counts"].items()):
        events.add_metric([kind], count)
    yield events
    lost = CounterMetricFamily(
        "fttcp_events_lost", "Events that an outlet did not keep up with", labels=("outlet",)
    )
    for outlet in status["outlets"]:
        lost.add_metric([outlet["name"]], outlet["lost"])
    yield lost


def group_metrics(groups: Sequence[Status]) -> Iterator[Metric]:
    """Yield what concerns each group."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name, text, labels, rows in _GAUGES:
        gauge = GaugeMetricFamily(f"fttcp_{name}", text, labels=("group", *labels))
        for group in groups:
            for values, number in rows(group):
                gauge.add_metric([group["name"], *values], float(number))
        yield gauge
    takeovers = CounterMetricFamily("fttcp_takeovers", "Takeovers by this node", labels=("group", "cause"))
    for group in groups:
        for cause, count in group["takeover_counts"].items():
            takeovers.add_metric([group["name"], cause], count)
    yield takeovers
    for counter in dict.fromkeys(name for group in groups for name in group.get("counters", {})):
        total = CounterMetricFamily(f"fttcp_{counter}", f"{counter}, see abi.h", labels=("group",))
        for group in groups:
            if counter in group.get("counters", {}):
                total.add_metric([group["name"]], group["counters"][counter])
        yield total


def _flag(key: str) -> Rows:
    """A value of the group itself."""
    return lambda group: [((), group.get(key) or 0)]


def _of_engine(rows: Rows) -> Rows:
    """What a fenced group, which has no engine any more, does not have."""
    return lambda group: rows(group) if "flows" in group else []


def _last_takeover(group: Status) -> list[Row]:
    last = group["takeovers"][-1] if group["takeovers"] else {}
    steps = ("detected", "gate", "announced", "done")
    return [((step,), last[f"{step}_ms"] / 1000) for step in steps if last.get(f"{step}_ms") is not None]


def _arbiter(group: Status) -> list[Row]:
    return [((), bool(group["ownership"]["arbiter"]["reachable"]))] if "ownership" in group else []


def _lag(group: Status) -> list[Row]:
    commit = group["commit"]
    return [(("0.5",), commit["lag_us_p50"] / 1e6), (("0.99",), commit["lag_us_p99"] / 1e6)]


_GAUGES: tuple[tuple[str, str, tuple[str, ...], Rows], ...] = (
    (
        "role",
        "1 for the role that this node has",
        ("role",),
        lambda group: [((role,), group["role"] == role) for role in _ROLES],
    ),
    (
        "serving",
        "1 while this node serves: primary with a valid lease",
        (),
        lambda group: [((), is_primary(group))],
    ),
    ("ready", "1 while this node serves or could take over", (), lambda group: [((), is_ready(group))]),
    ("in_step", "1 while both nodes hold the protected connections", (), _flag("synced")),
    ("peer_alive", "1 while heartbeats of the peer come in", (), _flag("peer_alive")),
    ("epoch", "Rises with each change of ownership", (), _flag("epoch")),
    ("paused", "1 during maintenance", (), _flag("paused")),
    ("divergences", "Blocks of output in which the servers differed", (), _flag("divergences")),
    (
        "server_healthy",
        "1 while the local server is healthy",
        (),
        lambda group: [((), group.get("server", {}).get("healthy", False))],
    ),
    ("arbiter_reachable", "1 while the arbiter answers", (), _arbiter),
    ("last_takeover_seconds", "Times of the last takeover by this node", ("step",), _last_takeover),
    (
        "lease_seconds",
        "How long this node may still speak",
        (),
        _of_engine(lambda group: [((), group["lease_ms_left"] / 1000)]),
    ),
    (
        "links_up",
        "Links on which the peer is heard",
        (),
        _of_engine(lambda group: [((), len(group["links_up"]))]),
    ),
    (
        "flows",
        "Living connections",
        ("protection",),
        _of_engine(lambda group: [((kind,), count) for kind, count in group["flows"].items()]),
    ),
    (
        "packets_held",
        "Packets that wait for the backup",
        (),
        _of_engine(lambda group: [((), group["commit"]["held"])]),
    ),
    (
        "commit_lag_seconds",
        "How long the last packets waited for the backup",
        ("quantile",),
        _of_engine(_lag),
    ),
)
"""Name, what it means, labels beside the group's, and what a group's status yields for it."""
