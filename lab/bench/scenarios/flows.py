"""Many connections at once: echoes and answers of 64 KiB, spread over all of them."""

from __future__ import annotations

from functools import partial

from lab.bench import programs
from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.stage import PORT, Setup, Stage
from lab.bench.systems import STEADY, UNSHAPED

SECONDS = 2.0
COUNTS = (1, 100, 1_000, 10_000, 50_000)
SHORT = (100, 1_000)
MOST_TWICE = 1_000
"""More flows take so long to open that two loads would not begin at the same time."""
WINDOW = 64
ANSWER_BYTES = 65536
SERVERS = 4
"""Processes of the server: one may not have enough files for all connections."""
CROWD = Setup(
    serve=(f"{PORT}/tcp={programs.SERVE} {PORT} {SERVERS}",), settings=("limits.max_half_open=65536",)
)


def crowd(stage: Stage, system: System, record: Record, *, verb: str, flows: int) -> None:
    """WINDOW questions at any time, in turn on all flows."""
    most = system.most_flows()
    unit = "echoes/s" if verb == "echo" else "Mbit/s"
    if most is not None and flows > most:
        record.note(unit, f"not measured: it may have {most} flows here, as the limit of open files is low")
        return
    size = 64 if verb == "echo" else ANSWER_BYTES
    report = stage.load(
        verb, system.address(stage), flows=flows, size=size, window=min(flows, WINDOW), seconds=SECONDS
    )
    per_trip = 1.0 if verb == "echo" else size * 8 / 1e6
    record.add(unit, report["trips"] / report["seconds"] * per_trip)
    record.add("us", report["p50_us"], "p50")
    record.add("us", report["p99_us"], "p99")
    if verb == "echo" and flows > 1:
        record.add("connections/s", flows / report["open_s"], "opened")
    if report["lost"]:
        record.note(unit, f"lost: {report['lost']} connections")


SCENARIO = Scenario(
    "flows",
    f"Connections at once, {WINDOW} of them asking at any time",
    tuple(
        tuple(
            Case(
                f"flows.{verb}.{count}",
                CROWD,
                UNSHAPED if count <= MOST_TWICE else STEADY,
                partial(crowd, verb=verb, flows=count),
                "echoes/s" if verb == "echo" else "Mbit/s",
                seconds=SECONDS + 0.5 + count / 4000,
                short=count in SHORT,
            )
            for verb in ("echo", "ask")
        )
        for count in COUNTS
    ),
)
