"""What Prometheus is told: right numbers, and names that keep to its conventions."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from msgspec import to_builtins
from prometheus_client.parser import text_string_to_metric_families

from fttcp.face.metrics import metrics_text
from fttcp.ownership.model import Cause
from fttcp.server.verdict import Check, State, Verdict
from fttcp.sync.record import Report
from tests.unit.test_frontend import frontend, group_state

CHECKS = [
    {"name": "web", "kind": "http", "state": "failing", "failures": 2,
     "last": {"took_ms": 12.5, "asked": 40, "bad": 3}},
    {"name": "memory", "kind": "resource", "state": "warning", "failures": 1, "last": {"used": 1.0}},
    {"name": "late", "kind": "tcp", "state": "waiting", "failures": 0, "last": {}},
]  # fmt: skip
SERVER = {
    "pid": 1,
    "healthy": True,
    "reason": "",
    "since": "",
    "checks": CHECKS,
    "restarts": 3,
    "gave_up": False,
}
ARBITER = {"reachable": True, "answered_s_ago": 0.25}
LINKS = [{"interface": "peer0", "heard": {"web": True}}, {"interface": "svc0", "heard": {"web": False}}]


COPY = to_builtins(
    Report("www", "beta", "alpha", "/www", "", "1970-01-01T00:01:00+00:00", "no rsync", "", 1, 5, 700, 2, 3)
)


def status(*groups: dict[str, Any]) -> dict[str, Any]:
    node = {"node": "alpha", "cluster": "c", "version": "1", "outlets": [{"name": "log", "lost": 1}]}
    peers = [{"name": "beta", "links": LINKS}]
    clocks = {"beta": {"ahead_ms": -1500.0, "error_ms": 0.5, "apart": True}}
    adapters = {"alpha": [{"name": "svc0", "used": True, "carrier": True, "reference": False}]}
    told = {
        "adapters": adapters,
        "peers": peers,
        "clocks": clocks,
        "event_counts": {"role": 2},
        "sync": [COPY],
    }
    return {**node, "groups": list(groups), **told}


def serving() -> dict[str, Any]:
    return group_state(
        server=SERVER,
        ownership={"arbiter": ARBITER, "record": None, "lease_ms_left": 1500.0},
        arbiter_awaited=False,
        keys={"believed": ["a", "b"], "sending": "a", "peers": {}},
        heartbeat_thread=["realtime"],
        peer_intrusions=4,
        firewall={"level": "kept", "rules": True, "guard": False, "missing": ["x"], "stopped": 6},
        links_up=[0],
        flows={"protected": 5, "unprotected": 1, "detached": 0, "opening": 2, "ending": 1, "udp": 3},
        unrenewable={"log-too-long": 2},
        flow_bytes=4096,
        log_memory_bytes=512,
        spool={"bytes": 69632, "trouble": ""},
        stored={
            "requests": 3,
            "bytes": 900,
            "file_bytes": 500,
            "in_step": True,
            "trouble": "",
            "behind": "x",
        },
        calls={"in_step": True, "state": "leads"},
        bulk_lane={"up": 3, "wanted": 4},
        commit={"held": 7, "lag_us_p50": 50.0, "lag_us_p99": 900.0},
        counters={"held_now": 7, "divergences": 1, "drop_lease": 9},
    )


def samples(text: bytes) -> dict[str, float]:
    """Every sample, by the line that it stands in; the parser refuses what is not well-formed."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if sample.name.startswith("fttcp_"):
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                assert f"{sample.name}{{{labels}}}" not in found, "a sample stands there twice"
                found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_each_number_is_what_status_tells() -> None:
    told = samples(metrics_text(status(serving())))
    check = "check=web,group=web,kind=http"
    for line, value in {
        "fttcp_node_role{group=web,node=beta,role=spare}": 1,
        f"fttcp_health_check_up{{{check}}}": 1,
        "fttcp_health_check_up{check=memory,group=web,kind=resource}": 0,
        "fttcp_health_check_up{check=late,group=web,kind=tcp}": 0,
        f"fttcp_health_check_duration_seconds{{{check}}}": 0.0125,
        f"fttcp_health_check_failures_total{{{check}}}": 2,
        f"fttcp_probe_questions_total{{{check}}}": 40,
        f"fttcp_probe_bad_answers_total{{{check}}}": 3,
        "fttcp_server_restarts_total{group=web}": 3,
        "fttcp_arbiter_reachable{group=web}": 1,
        "fttcp_arbiter_answer_age_seconds{group=web}": 0.25,
        "fttcp_arbiter_lease_seconds{group=web}": 1.5,
        "fttcp_arbiter_awaited{group=web}": 0,
        "fttcp_adapter_used{adapter=svc0}": 1,
        "fttcp_adapter_reference{adapter=svc0}": 0,
        "fttcp_key_exchange{group=web}": 1,
        "fttcp_heartbeat_thread{group=web,property=realtime}": 1,
        "fttcp_heartbeat_thread{group=web,property=locked}": 0,
        "fttcp_peer_intrusions_total{group=web}": 4,
        "fttcp_firewall{group=web,level=kept}": 1,
        "fttcp_firewall{group=web,level=flushable}": 0,
        "fttcp_firewall_standing{group=web,layer=rules}": 1,
        "fttcp_firewall_standing{group=web,layer=guard}": 0,
        "fttcp_guard_stopped_packets_total{group=web}": 6,
        "fttcp_flows{group=web,protection=protected}": 5,
        "fttcp_flows_opening{group=web}": 2,
        "fttcp_flows_unrenewable{group=web,why=log-too-long}": 2,
        "fttcp_flows_udp{group=web}": 3,
        "fttcp_flow_memory_bytes{group=web}": 4096,
        "fttcp_log_memory_bytes{group=web}": 512,
        "fttcp_spool_bytes{group=web}": 69632,
        "fttcp_stored_requests{group=web}": 3,
        "fttcp_stored_bytes{group=web,where=memory}": 900,
        "fttcp_stored_bytes{group=web,where=disk}": 500,
        "fttcp_stored_in_step{group=web}": 1,
        "fttcp_stored_trouble{group=web,where=here}": 0,
        "fttcp_stored_trouble{group=web,where=backup}": 1,
        "fttcp_calls_in_step{group=web}": 1,
        "fttcp_bulk_lane_connections{group=web,of=up}": 3,
        "fttcp_bulk_lane_connections{group=web,of=wanted}": 4,
        "fttcp_commit_lag_p99_seconds{group=web}": 0.0009,
        "fttcp_link_up{group=web,interface=peer0,link=0,peer=beta}": 1,
        "fttcp_link_up{group=web,interface=svc0,link=1,peer=beta}": 0,
        "fttcp_divergences_total{group=web}": 1,
        "fttcp_drop_lease_total{group=web}": 9,
        "fttcp_takeovers_total{cause=peer-lost,group=web}": 2,
        "fttcp_events_lost_total{outlet=log}": 1,
        "fttcp_peer_clock_ahead_seconds{peer=beta}": -1.5,
        "fttcp_peer_clock_error_seconds{peer=beta}": 0.0005,
        "fttcp_sync_good_timestamp_seconds{entry=www,peer=beta}": 60,
        "fttcp_sync_failing{entry=www,peer=beta}": 1,
        "fttcp_sync_files_total{entry=www,peer=beta}": 5,
        "fttcp_sync_bytes_total{entry=www,peer=beta}": 700,
        "fttcp_sync_removed_total{entry=www,peer=beta}": 2,
        "fttcp_sync_conflicts_total{entry=www,peer=beta}": 3,
        "fttcp_role{group=web,role=primary}": 1,
        "fttcp_role{group=web,role=backup}": 0,
    }.items():
        assert told[line] == value, line
    assert not any("held_now" in line or "protection=udp" in line for line in told)


def test_names_keep_to_the_conventions() -> None:
    """Those of `promtool check metrics`, and that no family is announced twice."""
    text = metrics_text(status(serving(), serving() | {"name": "mail"})).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    announced = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert len(announced) == len({name for name, _ in announced}) == len(families) > 30
    for name, kind in announced:
        if name.startswith("fttcp_"):
            assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), name
            assert (kind == "counter") == name.endswith("_total"), name
            assert not re.search(r"_(ms|us|ns|milliseconds|kib|percent)(_|$)", name), name
            assert not name.endswith(("_count", "_sum", "_bucket")), name
    for family in families.values():
        assert family.documentation
        for sample in family.samples:
            assert not {"le", "quantile", "job", "instance"} & set(sample.labels), sample


def test_a_fenced_group_has_metrics_too() -> None:
    fenced = group_state(role="fenced", ownership={"arbiter": ARBITER, "record": None, "lease_ms_left": 0})
    del fenced["lease_ms_left"]
    told = samples(metrics_text(status(fenced | {"server": SERVER})))
    assert told["fttcp_role{group=web,role=fenced}"] == 1 and told["fttcp_events_total{event=role}"] == 2
    assert told["fttcp_arbiter_reachable{group=web}"] == 1 and "fttcp_lease_seconds{group=web}" not in told


def test_a_node_tells_them(tmp_path: Path) -> None:
    async def test() -> None:
        async with frontend(tmp_path) as (face, _, _):
            told = samples(metrics_text(face._monitored()))
            assert told["fttcp_link_up{group=web,interface=peer0,link=0,peer=beta}"] in (0, 1)
            assert told["fttcp_in_step{group=web}"] == 1

    asyncio.run(test())


def test_failures_of_a_check_are_counted_once_each() -> None:
    verdict = Verdict(lambda *told: None, lambda *told, **fields: None, lambda: None)
    check = verdict.add(Check("web", "http", "failover", Cause.PROBE_FAILED))
    for state in (State.OK, State.FAILING, State.FAILED, State.FAILED, State.OK, State.FAILED):
        verdict.say(check, state, "said")
    assert check.shown()["failures"] == 2
