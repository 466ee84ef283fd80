"""A new backup catches up with connections that there are: how fast, and what their logs cost in memory."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from lab.bench.rows import FTTCP, NATIVE
from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.scenarios.flows import CROWD
from lab.bench.stage import Setup, Stage
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.network import CLIENT

INPUT_BYTES = 1024
"""What each of many idle connections has sent."""
STANDS_AT = 1_000_000_000
COUNTS = (1_000, 10_000)
WITHIN_S = 60.0


def renewed_s(stage: Stage, record: Record, unit: str, flows: int) -> float | None:
    """Let the backup go and come again; the seconds from its first connection to its last, None without."""
    primary = stage.primary()["node"]
    make_fault(stage.lab, "crash-host", "backup")
    since = max(event["number"] for event in stage.events(primary, 0))
    stage.mend()

    def told() -> dict[str, dict[str, object]]:
        return {event["event"]: event for event in stage.events(primary, since)}

    await_condition(lambda: "renewed" in told(), WITHIN_S, "the end of the renewal")
    events = told()
    if events["renewed"]["flows"] != flows:
        record.note(unit, f"{events['renewed']['failed']} of {flows} connections not renewed")
        return None
    begin, end = (
        datetime.fromisoformat(str(events[name]["time"])).timestamp() for name in ("catching-up", "renewed")
    )
    return end - begin


def idle(stage: Stage, system: System, record: Record, *, flows: int) -> None:
    """Each has sent INPUT_BYTES, and has them back."""
    with stage.loaded("hold", system.address(stage), flows=flows, size=INPUT_BYTES):
        before = stage.primary()
        seconds = renewed_s(stage, record, "s", flows)
        record.add("bytes/flow", before["log_memory_bytes"] / flows, "log")
        if seconds is not None:
            record.add("s", seconds)


def download(stage: Stage, system: System, record: Record) -> None:
    """A download stands at STANDS_AT; natively a client of the same host takes so much over its loopback."""
    own = system.name == NATIVE
    with stage.client(
        "stand", system.address(stage), STANDS_AT, system.serving(stage) if own else CLIENT
    ) as one:
        seconds = None if own else renewed_s(stage, record, "MB/s", 1)
        report = stage.report(one, WITHIN_S)
    if report["error"]:
        record.note("MB/s", f"lost: {report['error']}")
        return
    seconds = report["seconds"] if own else seconds
    if seconds:
        record.add("MB/s", STANDS_AT / 1e6 / seconds)


SCENARIO = Scenario(
    "renewal",
    "A new backup catches up: idle connections of 1 KiB of input each, and a download that stands at 1 GB",
    (
        (
            Case(
                "renewal.download",
                Setup(),
                (NATIVE, FTTCP),
                download,
                "MB/s",
                seconds=8.0,
                disturbs=True,
            ),
        ),
        *(
            (
                Case(
                    f"renewal.idle.{count}",
                    CROWD,
                    (FTTCP,),
                    partial(idle, flows=count),
                    "s",
                    seconds=6 + count / 1000,
                    disturbs=True,
                ),
            )
            for count in COUNTS
        ),
    ),
)
