"""What an idle connection costs in memory of the daemon, on each node."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lab.bench.rows import FTTCP
from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.scenarios.flows import CROWD
from lab.bench.stage import Stage
from lab.hosts import await_condition
from lab.network import NODES

COUNTS = (1_000, 10_000)
KNOWN_S = 30.0


def anonymous_bytes(pid: int) -> int:
    """Return the memory of process `pid` that is its own (RssAnon of proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def per_flow(stage: Stage, system: System, record: Record, *, flows: int) -> None:
    """What the daemons have grown by, once both know all connections and each has had one echo."""
    daemons = {node: stage.lab.node_process(node).pid for node in NODES}
    before = {node: anonymous_bytes(pid) for node, pid in daemons.items()}
    roles = {stage.primary()["node"]: "primary"}

    def known() -> bool:
        groups = [group for node in stage.lab.status()["nodes"] for group in node["groups"]]
        return len(groups) == len(NODES) and all(group["flows"]["protected"] >= flows for group in groups)

    with stage.loaded("hold", system.address(stage), flows=flows):
        await_condition(known, KNOWN_S, f"{flows} protected flows on both nodes", interval_s=0.1)
        for node, pid in daemons.items():
            grown = anonymous_bytes(pid) - before[node]
            record.add("bytes/flow", grown / flows, roles.get(node, "backup"))


SCENARIO = Scenario(
    "memory",
    "Memory of the daemon per idle connection (a fresh pair each time)",
    tuple(
        (
            Case(
                f"memory.{count}",
                CROWD,
                (FTTCP,),
                partial(per_flow, flows=count),
                "bytes/flow",
                seconds=4 + count / 2000,
                short=count == COUNTS[-1],
                fresh=True,
            ),
        )
        for count in COUNTS
    ),
)
