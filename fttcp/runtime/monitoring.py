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

METRICS_KIND = "text/plain; version=0.0.4; charset=utf-8"
_ROLES = ("starting", "backup", "primary", "fenced")
_PATHS = "/metrics, /health/live, /health/primary[/GROUP], /health/ready[/GROUP]"


def is_primary(group: Status) -> bool:
    """True if this node serves the group now: a primary with a valid lease."""
    return bool(group["role"] == "primary" and group.get("lease_ms_left", 0) > 0)


def is_ready(group: Status) -> bool:
    """True if this node serves the group, or could take it over with every protected connection."""
    standby = group["role"] == "backup" and group["synced"] and group.get("server", {}).get("healthy", True)
    return bool(is_primary(group) or standby)


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

    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"fttcp_{name}", text, labels=("group", *labels))

    role = gauge("role", "1 for the role that this node has", "role")
    plain = {
        "primary": (gauge("serving", "1 while this node serves: primary with a valid lease"), is_primary),
        "ready": (gauge("ready", "1 while this node serves or could take over"), is_ready),
        "synced": (gauge("in_step", "1 while both nodes hold the protected connections"), None),
        "peer_alive": (gauge("peer_alive", "1 while heartbeats of the peer come in"), None),
        "epoch": (gauge("epoch", "Rises with each change of ownership"), None),
        "paused": (gauge("paused", "1 during maintenance"), None),
        "divergences": (gauge("divergences", "Blocks of output in which the servers differed"), None),
    }
    lease = gauge("lease_seconds", "How long this node may still speak")
    links = gauge("links_up", "Links on which the peer is heard")
    flows = gauge("flows", "Living connections", "protection")
    held = gauge("packets_held", "Packets that wait for the backup")
    lag = gauge("commit_lag_seconds", "How long the last packets waited for the backup", "quantile")
    healthy = gauge("server_healthy", "1 while the local server is healthy")
    arbiter = gauge("arbiter_reachable", "1 while the arbiter answers")
    last = gauge("last_takeover_seconds", "Times of the last takeover by this node", "step")
    takeovers = CounterMetricFamily("fttcp_takeovers", "Takeovers by this node", labels=("group", "cause"))
    counters: dict[str, CounterMetricFamily] = {}
    for group in groups:
        name = group["name"]
        for one in _ROLES:
            role.add_metric([name, one], group["role"] == one)
        for key, (family, function) in plain.items():
            family.add_metric([name], float(function(group) if function else group.get(key) or 0))
        if "ownership" in group:
            arbiter.add_metric([name], bool(group["ownership"]["arbiter"]["reachable"]))
        healthy.add_metric([name], group.get("server", {}).get("healthy", False))
        for cause, count in group["takeover_counts"].items():
            takeovers.add_metric([name, cause], count)
        for step in ("detected", "gate", "announced", "done") if group["takeovers"] else ():
            took_ms = group["takeovers"][-1][f"{step}_ms"]
            if took_ms is not None:
                last.add_metric([name, step], took_ms / 1000)
        if "flows" not in group:
            continue  # fenced: there is no engine to ask
        lease.add_metric([name], group["lease_ms_left"] / 1000)
        links.add_metric([name], len(group["links_up"]))
        for protection, count in group["flows"].items():
            flows.add_metric([name, protection], count)
        held.add_metric([name], group["commit"]["held"])
        for quantile, key in (("0.5", "lag_us_p50"), ("0.99", "lag_us_p99")):
            lag.add_metric([name, quantile], group["commit"][key] / 1e6)
        for counter, value in group["counters"].items():
            total = counters.setdefault(
                counter,
                CounterMetricFamily(f"fttcp_{counter}", f"{counter}, see abi.h", labels=("group",)),
            )
            total.add_metric([name], value)
    yield from (
        arbiter,
        role,
        *(family for family, _ in plain.values()),
        lease,
        links,
        flows,
        held,
        lag,
        healthy,
        last,
    )
    yield takeovers
    yield from counters.values()
