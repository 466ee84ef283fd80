"""How long a takeover takes with many connections: the node's own steps, and the client's last answer."""

from __future__ import annotations

import json
import time
from functools import partial

from lab.bench.rows import FTTCP
from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.scenarios.flows import CROWD
from lab.bench.scenarios.gaps import SHORT_BEAT_MS, steps
from lab.bench.stage import Setup, Stage
from lab.errors import LabError
from lab.faults import make_fault

COUNTS = (1, 100, 1_000, 10_000)
FAULTS = ("crash-host", "switchover")
SETUP = Setup(
    serve=CROWD.serve,
    settings=(*CROWD.settings, f"timing.heartbeat_ms={SHORT_BEAT_MS}", "timing.heartbeat_misses=3"),
)


def takeover(stage: Stage, system: System, record: Record, *, fault: str, flows: int) -> None:
    """All connections are asked at once, as soon as the fault has happened."""
    old = system.serving(stage)
    with stage.loaded("hold", system.address(stage), flows=flows) as client:
        assert client.stdin and client.stdout
        at_s = make_fault(stage.lab, fault, old)["at_s"]
        asked_s = time.monotonic()
        client.stdin.write("ask\n")
        client.stdin.flush()
        line = client.stdout.readline()
        if not line:
            raise LabError("load hold: it ended without a report")
    report = json.loads(line)
    if report["lost"]:
        record.note("ms", f"lost: {report['lost']} of {flows} connections")
    if report["trips"]:
        record.add("ms", (asked_s - at_s) * 1000 + report["max_us"] / 1000, "all-answered")
    for step, value in steps(stage, record, old).items():
        record.add("ms", value, step)


SCENARIO = Scenario(
    "takeover",
    "Takeover with many connections, in ms since the fault: steps of the new primary, all answered",
    (
        tuple(
            Case(
                f"takeover.{fault}.{count}",
                SETUP,
                (FTTCP,),
                partial(takeover, fault=fault, flows=count),
                "ms",
                seconds=4 + count / 1000,
                short=count in (1, 1_000),
                disturbs=True,
            )
            for count in COUNTS
            for fault in FAULTS
        ),
    ),
)
