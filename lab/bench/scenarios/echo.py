"""The round trip of an echo, one after the other on one connection."""

from __future__ import annotations

from functools import partial

from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.stage import Setup, Stage
from lab.bench.systems import UNSHAPED

SECONDS = 1.5
SIZES = {"64B": 64, "16KiB": 16384}
PERCENTILES = {"p50": "p50_us", "p99": "p99_us", "p99.9": "p999_us"}


def echo(stage: Stage, system: System, record: Record, *, size: int) -> None:
    """Percentiles of the round trips of one pass."""
    report = stage.load("echo", system.address(stage), size=size, seconds=SECONDS)
    if report["lost"]:
        record.note("us", "lost: the connection", "p50")
        return
    for name, field in PERCENTILES.items():
        record.add("us", report[field], name)


SCENARIO = Scenario(
    "echo",
    "Round trip of a TCP echo",
    (
        tuple(
            Case(
                f"echo.{name}",
                Setup(),
                UNSHAPED,
                partial(echo, size=size),
                "us",
                seconds=SECONDS + 0.3,
                short=True,
            )
            for name, size in SIZES.items()
        ),
    ),
)
