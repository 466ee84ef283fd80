"""Connections that were there before a flood of SYNs, while it lasts, and what it costs in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.bench.rows import FTTCP, NATIVE
from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.scenarios.memory import anonymous_bytes
from lab.bench.stage import Setup, Stage
from lab.network import NODES

SYNS, SYNS_PER_S = 200_000, 50_000.0
SECONDS = 4.0
FLOWS = 16
MBIT = 1000.0


@contextmanager
def under_flood(stage: Stage, system: System, record: Record) -> Iterator[None]:
    """A flood that begins with the block; what of it was sent, and what the daemons have grown by."""
    daemons = {node: stage.lab.node_process(node).pid for node in NODES} if system.name == FTTCP else {}
    before = {node: anonymous_bytes(pid) for node, pid in daemons.items()}
    roles = {stage.primary()["node"]: "primary"} if daemons else {}
    with stage.flooded(system.address(stage), SYNS, SYNS_PER_S) as flood:
        yield
        sent = stage.report(flood, SYNS / SYNS_PER_S)
    record.add("SYNs/s", sent["sent"] / sent["seconds"], "sent")
    for node, pid in daemons.items():
        record.add("MiB", (anonymous_bytes(pid) - before[node]) / 2**20, roles.get(node, "backup"))


def download(stage: Stage, system: System, record: Record) -> None:
    """A download that is under way when the flood begins."""
    with (
        stage.client("download", system.address(stage), SECONDS) as client,
        under_flood(stage, system, record),
    ):
        report = stage.report(client, SECONDS)
    if report["error"]:
        record.note("Mbit/s", f"lost: {report['error']}")
    else:
        record.add("Mbit/s", report["bytes"] * 8 / report["seconds"] / 1e6)


def echo(stage: Stage, system: System, record: Record) -> None:
    """Echoes on FLOWS connections that are open when the flood begins."""
    with (
        stage.loaded("echo", system.address(stage), flows=FLOWS, window=FLOWS, seconds=SECONDS) as client,
        under_flood(stage, system, record),
    ):
        report = stage.report(client, SECONDS)
    for percentile in ("p50", "p99"):
        record.add("us", report[f"{percentile}_us"], percentile)
    if report["lost"]:
        record.note("us", f"lost: {report['lost']} connections")


SCENARIO = Scenario(
    "flood",
    f"A flood of SYNs, {SYNS_PER_S:,.0f} in a second as far as the machine can send them",
    tuple(
        (
            Case(
                f"flood.{measure.__name__}",
                Setup(),
                (NATIVE, FTTCP),
                measure,
                unit,
                seconds=SECONDS + 6,
                short=measure is download,
                fresh=True,
                mbit=MBIT,
            ),
        )
        for measure, unit in ((download, "Mbit/s"), (echo, "us"))
    ),
)
