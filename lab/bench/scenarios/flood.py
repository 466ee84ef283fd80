"""Connections that were there before a flood of SYNs, while it lasts, and what it costs in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from subprocess import Popen

from lab.bench.rows import FTTCP, NATIVE
from lab.bench.scenario import Case, Record, Scenario
from lab.bench.scenarios.memory import anonymous_bytes
from lab.bench.stage import Setup, Stage
from lab.bench.systems import System
from lab.network import NODES

SYNS, SYNS_PER_S = 200_000, 50_000.0
SECONDS = 4.0
FLOWS = 16
MBIT = 1000.0


def under_flood(stage: Stage, system: System, record: Record, *, traffic: str) -> None:
    """Either a download or echoes on FLOWS connections; they are open when the flood begins."""
    address = system.address(stage)
    daemons = {node: stage.lab.node_process(node).pid for node in NODES} if system.name == FTTCP else {}
    before = {node: anonymous_bytes(pid) for node, pid in daemons.items()}
    roles = {stage.primary()["node"]: "primary"} if daemons else {}
    client: AbstractContextManager[Popen[str]] = (
        stage.client("download", address, SECONDS)
        if traffic == "download"
        else stage.loaded("echo", address, flows=FLOWS, window=FLOWS, seconds=SECONDS)
    )
    with client as process, stage.flooded(address, SYNS, SYNS_PER_S) as flood:
        report = stage.report(process, SECONDS)
        sent = stage.report(flood, SYNS / SYNS_PER_S)
    if traffic == "echo":
        record.add("us", report["p50_us"], "p50")
        record.add("us", report["p99_us"], "p99")
    elif not report["error"]:
        record.add("Mbit/s", report["bytes"] * 8 / report["seconds"] / 1e6)
    if report["lost" if traffic == "echo" else "error"]:
        record.note("us" if traffic == "echo" else "Mbit/s", "a connection was lost")
    record.add("SYNs/s", sent["sent"] / sent["seconds"], "sent")
    for node, pid in daemons.items():
        record.add("MiB", (anonymous_bytes(pid) - before[node]) / 2**20, roles.get(node, "backup"))


SCENARIO = Scenario(
    "flood",
    f"A flood of SYNs, {SYNS_PER_S:,.0f} in a second as far as the machine can send them",
    tuple(
        (
            Case(
                f"flood.{traffic}",
                Setup(),
                (NATIVE, FTTCP),
                partial(under_flood, traffic=traffic),
                unit,
                seconds=SECONDS + 6,
                short=traffic == "download",
                fresh=True,
                mbit=MBIT,
            ),
        )
        for traffic, unit in (("download", "Mbit/s"), ("echo", "us"))
    ),
)
