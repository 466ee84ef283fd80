"""The metrics in Prometheus' text format, made from the same status that operators see.

Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fttcp.config.words import of_counters, plain
from fttcp.group.shown import Status, is_primary, is_ready

if TYPE_CHECKING:
    from prometheus_client import Metric

Row = tuple[tuple[str, ...], float]
"""Values of the labels beside the group's name, and the number."""
Rows = Callable[[Status], Sequence[Row]]
Table = tuple[tuple[str, str, tuple[str, ...], Rows], ...]
"""Name, what it means, labels beside the group's, and what a group's status yields for it."""

_ROLES = ("starting", "backup", "primary", "fenced")
_UP = ("ok", "failing")
"""States of a check that has not failed; ``failing``: wrong, but not often enough yet."""
_LEVELS = ("kept", "guarded", "flushable")
_PROTECTIONS = ("protected", "unprotected", "detached")
_NOT_COUNTERS = frozenset({"held_now"})
"""Of the engine's counters, what also becomes less; there are gauges for it."""


def metrics_text(status: Status) -> bytes:
    """Return all metrics. ``status``: what `status` replies, and ``event_counts`` and ``peers``."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    class Snapshot:
        def collect(self) -> Iterator[Metric]:
            yield from _of_node(status)
            yield from _of_groups(status["groups"])

    registry = CollectorRegistry()
    registry.register(Snapshot())
    ProcessCollector(registry=registry)
    return bytes(generate_latest(registry))


def _of_node(status: Status) -> Iterator[Metric]:
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
    links = GaugeMetricFamily(
        "fttcp_link_up",
        "1 while heartbeats of the peer come in on this link",
        labels=("group", "peer", "link", "interface"),
    )
    for peer in status["peers"]:
        for number, link in enumerate(peer["links"]):
            for group, heard in link["heard"].items():
                links.add_metric([group, peer["name"], str(number), link["interface"]], float(heard))
    yield links
    ahead = GaugeMetricFamily(
        "fttcp_peer_clock_ahead_seconds", "A peer's wall clock is ahead of this node's", labels=("peer",)
    )
    error = GaugeMetricFamily(
        "fttcp_peer_clock_error_seconds", "Bound of the error of that", labels=("peer",)
    )
    for name, told in status["clocks"].items():
        ahead.add_metric([name], told["ahead_ms"] / 1000)
        error.add_metric([name], told["error_ms"] / 1000)
    yield ahead
    yield error
    yield from _of_adapters(status["adapters"].get(status["node"], []))
    yield from _of_copies(status["sync"])


def _of_adapters(adapters: Sequence[Status]) -> Iterator[Metric]:
    """Yield how this node's adapters stand, if there are several."""
    from prometheus_client.core import GaugeMetricFamily

    texts = {
        "used": "1 at the adapter that the service addresses are at",
        "carrier": "1 while the adapter has a carrier",
        "reference": "1 while a reference address answers over it, or none is asked",
    }
    for key, text in texts.items():
        gauge = GaugeMetricFamily(f"fttcp_adapter_{key}", text, labels=("adapter",))
        for adapter in adapters:
            gauge.add_metric([adapter["name"]], float(adapter[key]))
        yield gauge


def _of_copies(reports: Sequence[Status]) -> Iterator[Metric]:
    """Yield how directories are kept the same."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels = ("entry", "peer")
    good = GaugeMetricFamily(
        "fttcp_sync_good_timestamp_seconds",
        "Both nodes had the same directory as at this time",
        labels=labels,
    )
    failing = GaugeMetricFamily("fttcp_sync_failing", "1 while copies fail", labels=labels)
    counted = {
        "files": "Files copied",
        "bytes": "Bytes of them",
        "removed": "Entries deleted",
        "conflicts": "Versions kept beside newer ones",
    }
    totals = {
        key: CounterMetricFamily(f"fttcp_sync_{key}", text, labels=labels) for key, text in counted.items()
    }
    for report in reports:
        values = [report["entry"], report["peer"]]
        if report["good_at"] is not None:
            good.add_metric(values, datetime.fromisoformat(report["good_at"]).timestamp())
        failing.add_metric(values, float(report["error"] is not None))
        for key, total in totals.items():
            total.add_metric(values, report[key])
    yield from (good, failing, *totals.values())


def _of_groups(groups: Sequence[Status]) -> Iterator[Metric]:
    """Yield what concerns each group."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for table, kind in ((_GAUGES, GaugeMetricFamily), (_COUNTERS, CounterMetricFamily)):
        for name, text, labels, rows in table:
            family = kind(f"fttcp_{name}", text, labels=("group", *labels))
            for group in groups:
                for values, number in rows(group):
                    family.add_metric([group["name"], *values], float(number))
            yield family
    names = dict.fromkeys(name for group in groups for name in group.get("counters", {}))
    told = {name: text for about, words in of_counters().items() for name, text in _told(about, words)}
    for counter in (name for name in names if name not in _NOT_COUNTERS):
        total = CounterMetricFamily(f"fttcp_{counter}", told.get(counter, counter), labels=("group",))
        for group in groups:
            if counter in group.get("counters", {}):
                total.add_metric([group["name"]], group["counters"][counter])
        yield total


def _told(about: str, words: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what each counter counts, for its line HELP."""
    return ((name, f"{about}: {plain(text)}") for name, text in words.items())


def _flag(key: str) -> Rows:
    """A value of the group itself."""
    return lambda group: [((), group.get(key) or 0)]


def _of_engine(rows: Rows) -> Rows:
    """What a fenced group, which has no engine any more, does not have."""
    return lambda group: rows(group) if "flows" in group else []


def _in_step(calls: Status) -> bool:
    return bool(calls["in_step"]) or calls["state"] == "caught-up"


def _last_takeover(group: Status) -> list[Row]:
    last = group["takeovers"][-1] if group["takeovers"] else {}
    steps = ("detected", "gate", "announced", "done")
    return [((step,), last[f"{step}_ms"] / 1000) for step in steps if last.get(f"{step}_ms") is not None]


def _arbiter(key: str, scale: float = 1) -> Rows:
    """A value of the arbiter, if it has one."""

    def rows(group: Status) -> list[Row]:
        value = group["ownership"]["arbiter"].get(key) if "ownership" in group else None
        return [] if value is None else [((), value * scale)]

    return rows


def _solo_lease(group: Status) -> list[Row]:
    return [((), group["ownership"]["lease_ms_left"] / 1000)] if "ownership" in group else []


def _checks(value: Callable[[dict[str, Any]], float | None]) -> Rows:
    """One value of each check of the server that has it."""

    def rows(group: Status) -> list[Row]:
        checks = group.get("server", {}).get("checks", [])
        return [
            ((check["name"], check["kind"]), number)
            for check in checks
            if (number := value(check)) is not None
        ]

    return rows


def _took_s(check: dict[str, Any]) -> float | None:
    took_ms = check["last"].get("took_ms")
    return None if took_ms is None else float(took_ms) / 1000


def _server(key: str) -> Rows:
    return lambda group: [((), group["server"][key])] if "server" in group else []


_CHECK = ("check", "kind")
_GAUGES: Table = (
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
    (
        "not_ready",
        "1 for each reason why this node is not ready, or has no backup that is",
        ("why", "hinders"),
        lambda group: [((r["why"], r["hinders"]), 1) for r in group.get("not_ready", [])],
    ),
    (
        "foreign_claims",
        "stations that are no node of the group and claim one of its addresses now",
        (),
        lambda group: [((), len(group.get("claims", ())))],
    ),
    ("in_step", "1 while both nodes hold the protected connections", (), _flag("synced")),
    (
        "node_role",
        "1 for the role in which this node sees each node of the group",
        ("node", "role"),
        lambda group: [((node["name"], node["role"]), 1) for node in group["nodes"]],
    ),
    (
        "unfit",
        "1 for a node that waits and is not made the backup of this primary, and why",
        ("node", "why"),
        lambda group: [((node, why), 1) for node, why in group.get("unfit", {}).items()],
    ),
    (
        "settings_differ",
        "1 for a setting that a node that is heard has otherwise than this one",
        ("node", "key"),
        lambda group: [((node, key), 1) for node, keys in group.get("differs", {}).items() for key in keys],
    ),
    ("peer_alive", "1 while heartbeats of the peer come in", (), _flag("peer_alive")),
    ("epoch", "Rises with each change of ownership", (), _flag("epoch")),
    ("paused", "1 during maintenance", (), _flag("paused")),
    ("reference_reachable", "0 while no reference address answers this node", (), _flag("reference")),
    (
        "key_exchange",
        "1 while more than one key is believed: finish the exchange",
        (),
        lambda group: [((), len(group["keys"]["believed"]) > 1)] if "keys" in group else [],
    ),
    (
        "server_healthy",
        "1 while the local server is healthy",
        (),
        lambda group: [((), group.get("server", {}).get("healthy", False))],
    ),
    ("server_given_up", "1 when the local server is not started again any more", (), _server("gave_up")),
    (
        "health_check_up",
        "1 while a check of the local server has not failed; 0 as well while nothing is known",
        _CHECK,
        _checks(lambda check: check["state"] in _UP),
    ),
    (
        "health_check_duration_seconds",
        "How long the last question of a probe took",
        _CHECK,
        _checks(_took_s),
    ),
    ("arbiter_reachable", "1 while the arbiter answers", (), _arbiter("reachable")),
    (
        "firewall",
        "1 for what the rules of this host withstand",
        ("level",),
        lambda group: (
            [((level,), group["firewall"]["level"] == level) for level in _LEVELS]
            if group.get("firewall")
            else []
        ),
    ),
    (
        "firewall_standing",
        "1 while all of it is there: rules, which lead to the engine, and the guard behind everything",
        ("layer",),
        lambda group: (
            [((layer,), group["firewall"][layer]) for layer in ("rules", "guard")]
            if group.get("firewall")
            else []
        ),
    ),
    (
        "arbiter_awaited",
        "1 while a change of ownership waits for an arbiter that does not answer",
        (),
        _flag("arbiter_awaited"),
    ),
    ("arbiter_answer_age_seconds", "Time since the arbiter's last answer", (), _arbiter("answered_s_ago")),
    (
        "arbiter_lease_seconds",
        "What is left of the arbiter's lease of a node that serves alone",
        (),
        _solo_lease,
    ),
    ("last_takeover_seconds", "Times of the last takeover by this node", ("step",), _last_takeover),
    (
        "lease_seconds",
        "How long this node may still speak",
        (),
        _of_engine(lambda group: [((), group["lease_ms_left"] / 1000)]),
    ),
    (
        "heartbeat_thread",
        "1 for what the heartbeat thread was allowed to have",
        ("property",),
        _of_engine(
            lambda group: [((name,), name in group["heartbeat_thread"]) for name in ("realtime", "locked")]
        ),
    ),
    (
        "flows",
        "Living connections and UDP sessions, by protection",
        ("protection",),
        _of_engine(lambda group: [((kind,), group["flows"][kind]) for kind in _PROTECTIONS]),
    ),
    (
        "flows_ending",
        "Connections and sessions that a takeover at this moment would end, as far as the node knows",
        (),
        _of_engine(lambda group: [((), group["flows"]["ending"])]),
    ),
    (
        "flows_opening",
        "Handshakes that wait for the backup",
        (),
        _of_engine(lambda group: [((), group["flows"]["opening"])]),
    ),
    (
        "flows_unrenewable",
        "Living connections and UDP sessions with which no new backup could catch up, or did, by the reason",
        ("why",),
        _of_engine(lambda group: [((why,), count) for why, count in group["unrenewable"].items()]),
    ),
    (
        "log_memory_bytes",
        "Memory of what clients have sent, for a renewal",
        (),
        _of_engine(lambda group: [((), group["log_memory_bytes"])]),
    ),
    (
        "spool_bytes",
        "What clients have sent that is on the disk, for a renewal",
        (),
        _of_engine(lambda group: [((), group["spool"]["bytes"])]),
    ),
    (
        "stored_requests",
        "Requests that are known, with their replies if these are stored",
        (),
        _of_engine(lambda group: [((), group["stored"]["requests"])]),
    ),
    (
        "stored_bytes",
        "What is known of them, in memory and on the disk",
        ("where",),
        _of_engine(
            lambda group: [
                (("memory",), group["stored"]["bytes"]),
                (("disk",), group["stored"]["file_bytes"]),
            ]
        ),
    ),
    (
        "stored_in_step",
        "1 while a primary's backup has stored all of them",
        (),
        _of_engine(lambda group: [((), group["stored"]["in_step"])]),
    ),
    (
        "stored_trouble",
        "1 while they cannot be stored: on this node's disk, or a primary's backup has not stored all",
        ("where",),
        _of_engine(
            lambda group: [
                (("here",), bool(group["stored"]["trouble"])),
                (("backup",), bool(group["stored"]["behind"])),
            ]
        ),
    ),
    (
        "calls_in_step",
        "1 while another server follows this one by its calls, or this one has caught up with the primary's",
        (),
        lambda group: [((), _in_step(group["calls"]))] if "calls" in group else [],
    ),
    (
        "flow_memory_bytes",
        "Memory of what is known of connections and UDP sessions",
        (),
        _of_engine(lambda group: [((), group["flow_bytes"])]),
    ),
    (
        "bulk_lane_connections",
        "Connections of the bulk lane: those that stand, and those that should",
        ("of",),
        _of_engine(lambda group: [((of,), group["bulk_lane"][of]) for of in ("up", "wanted")]),
    ),
    ("flows_udp", "Living UDP sessions", (), _of_engine(lambda group: [((), group["flows"]["udp"])])),
    (
        "packets_held",
        "Packets that wait for the backup",
        (),
        _of_engine(lambda group: [((), group["commit"]["held"])]),
    ),
    (
        "commit_lag_median_seconds",
        "How long the last packets waited for the backup, the median",
        (),
        _of_engine(lambda group: [((), group["commit"]["lag_us_p50"] / 1e6)]),
    ),
    (
        "commit_lag_p99_seconds",
        "How long the last packets waited for the backup, the 99th percentile",
        (),
        _of_engine(lambda group: [((), group["commit"]["lag_us_p99"] / 1e6)]),
    ),
)

_COUNTERS: Table = (
    (
        "takeovers",
        "Takeovers by this node",
        ("cause",),
        lambda group: [((cause,), count) for cause, count in group["takeover_counts"].items()],
    ),
    ("server_restarts", "Starts of the local server after it had ended by itself", (), _server("restarts")),
    (
        "health_check_failures",
        "How often a check has turned from good to failed",
        _CHECK,
        _checks(lambda check: check["failures"]),
    ),
    (
        "guard_stopped_packets",
        "Packets under a service address that came round the rules, and were stopped",
        (),
        lambda group: [((), group["firewall"]["stopped"])] if group.get("firewall") else [],
    ),
    (
        "ground_mended",
        "What somebody had changed of what fttcp relies on, and it has put back",
        (),
        lambda group: [((), group.get("mended", 0))],
    ),
    (
        "probe_questions",
        "Questions that a probe has asked",
        _CHECK,
        _checks(lambda check: check["last"].get("asked")),
    ),
    (
        "probe_bad_answers",
        "Questions of a probe without a good answer",
        _CHECK,
        _checks(lambda check: check["last"].get("bad")),
    ),
    (
        "peer_intrusions",
        "Forged or repeated heartbeats that other nodes tell of",
        (),
        _of_engine(lambda group: [((), group["peer_intrusions"])]),
    ),
)
