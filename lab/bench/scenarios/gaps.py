"""What the client notices of a fault: the longest silence, with the way back where a connection is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from lab.bench.rows import FTTCP, NATIVE, silences_ms
from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.stage import Setup, Stage
from lab.bench.systems import HAPROXY, KEEPALIVED
from lab.faults import make_fault

BEFORE_S = 0.6
AFTER_S, AFTER_BREAK_S = 0.8, 3.0
"""How long the client is watched after the fault, when its connection should live, and when it need not."""
MBIT = 1000.0
BEATS_MS = (5, 10, 20, 100)
SHORT_BEAT_MS = 10
MISSES = 3
WORKLOADS = ("download", "upload", "idle", "request")
SHORT_WORKLOADS = ("download", "upload")
FAULTS: dict[str, tuple[object, ...]] = {
    "crash-host": (),
    "kill-server": (),
    "switchover": (),
    "kill-node": (),
    "freeze-node": (),
    "hang-server": (),
    "cut-client": ("client",),
}
SHORT_FAULTS = ("crash-host", "kill-server", "switchover")
PEERS = {"crash-host": (NATIVE, HAPROXY, KEEPALIVED), "kill-server": (NATIVE, HAPROXY)}
"""Systems beside fttcp that have an answer to a fault, be it by an end of the connection. Heartbeats are
nothing to the native one: it is measured with those of SHORT_BEAT_MS only."""
STEPS = ("detected_ms", "gate_ms", "announced_ms", "done_ms")
BACKUP_FAULTS = ("crash-host", "kill-node", "kill-server")


def gap(stage: Stage, system: System, record: Record, *, fault: str, workload: str) -> None:
    """One fault at the node that serves `system`, in the middle of one workload."""
    node = system.serving(stage)
    if watch(stage, system, record, fault, node, workload) and system.name == FTTCP:
        beat_ms = stage.setup.beats[0]
        for step, value in steps(stage, record, node).items():
            record.pool(f"steps.{fault}.{beat_ms}ms.{step}", "ms", value)


def stall(stage: Stage, system: System, record: Record, *, fault: str, workload: str) -> None:
    """One fault at the node that only stands by."""
    watch(stage, system, record, fault, stage.lab.node_in_role("backup"), workload)


def watch(stage: Stage, system: System, record: Record, fault: str, node: str, workload: str) -> bool:
    """Record the longest silence after the fault (and of the time before, to compare); False without one."""
    after_s = AFTER_S if system.name == FTTCP else AFTER_BREAK_S
    seconds = BEFORE_S + (after_s if workload != "idle" else AFTER_S)
    with stage.client(f"watch-{workload}", system.address(stage), seconds) as client:
        time.sleep(BEFORE_S)
        at_s = make_fault(stage.lab, fault.replace("cut-client", "cut"), *FAULTS.get(fault, ()), node)["at_s"]
        report = stage.report(client, seconds)
    if report["breaks"]:
        record.note("ms", "the connection was lost")
    quiet, after = silences_ms(report["arrivals_s"], at_s)
    if workload == "idle":
        asked_s, last_s = report["asked_s"], report["arrivals_s"][-1]
        after = (last_s - asked_s) * 1000 if asked_s and last_s > asked_s else None
    elif quiet is not None:
        record.pool(f"quiet.{workload}", "ms", quiet)
    if after is None or (workload != "idle" and not served_to_the_end(report["arrivals_s"], at_s + after_s)):
        record.note("ms", f"not served again within {after_s:g} s")
        return False
    record.add("ms", after)
    return True


def served_to_the_end(arrivals_s: Sequence[float], end_s: float) -> bool:
    """Whether something came in the last quarter of a second before the client's end, which is a little after
    `end_s` as the fault takes its time."""
    return bool(arrivals_s) and arrivals_s[-1] > end_s - 0.5


def steps(stage: Stage, record: Record, old: str) -> dict[str, float]:
    """Return the times of the takeover from `old`, by step; without one there is a note instead."""
    new = stage.primary()
    if new["node"] == old or not new["takeovers"]:
        record.note("ms", "no takeover")
        return {}
    times = {step.removesuffix("_ms"): new["takeovers"][-1][step] for step in STEPS}
    return {step: value for step, value in times.items() if value is not None}


def _gap_case(fault: str, workload: str, beat_ms: int) -> Case:
    peers = [name for name in PEERS.get(fault, ()) if name != NATIVE or beat_ms == SHORT_BEAT_MS]
    setup = Setup(settings=(f"timing.heartbeat_ms={beat_ms}", f"timing.heartbeat_misses={MISSES}"))
    return Case(
        f"gap.{fault}.{workload}.{beat_ms}ms",
        setup,
        (*peers, FTTCP),
        partial(gap, fault=fault, workload=workload),
        "ms",
        seconds=4.0,
        short=beat_ms == SHORT_BEAT_MS and workload in SHORT_WORKLOADS and fault in SHORT_FAULTS,
        disturbs=True,
        mbit=MBIT,
    )


GAP = Scenario(
    "gap",
    f"Client-visible gap in ms by fault, workload and heartbeat ({MISSES} misses)",
    tuple(
        tuple(_gap_case(fault, workload, beat_ms) for fault in FAULTS for workload in WORKLOADS)
        for beat_ms in BEATS_MS
    ),
)
POOLS = {
    "quiet": "Longest silence in ms in the time before a fault, of all transfers: what load alone does",
    "steps": "Steps of the takeover in ms since the last sign of life (crash), or since it was noticed",
}
"""Tables that the cases of the others fill."""

STALL = Scenario(
    "stall",
    "Longest silence in ms when the backup fails",
    (
        tuple(
            Case(
                f"stall.{fault}.{workload}",
                Setup(),
                (FTTCP,),
                partial(stall, fault=fault, workload=workload),
                "ms",
                seconds=4.0,
                short=fault == "crash-host" and workload in SHORT_WORKLOADS,
                disturbs=True,
                mbit=MBIT,
            )
            for fault in BACKUP_FAULTS
            for workload in WORKLOADS
            if workload != "idle"
        ),
    ),
)
