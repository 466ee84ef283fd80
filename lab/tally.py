"""What came of the runs of a campaign: counted, and told."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.experiment import DISTURBANCES, Case, Outcome


@dataclass
class Report:
    """The figures of a campaign; `settings` are those of its lab, and `file` has its servers, if one has.
    A run needs them to be done again."""

    settings: Sequence[str] = ()
    file: str = ""
    runs: int = 0
    survived: int = 0
    wrong_bytes: int = 0
    rebuilt: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    detached: Counter[str] = field(default_factory=Counter)
    detached_runs: list[dict[str, Any]] = field(default_factory=list)
    taken_over: Counter[str] = field(default_factory=Counter)  # runs by workload, of servers kept in step
    went_on: Counter[str] = field(default_factory=Counter)  # of those: none of their connections was reset
    cut_runs: list[dict[str, Any]] = field(default_factory=list)
    struck: Counter[int] = field(default_factory=Counter)  # runs, by how many failures struck before the end
    unrenewed: int = 0  # connections that were still being caught up with as a further failure struck
    excused: list[dict[str, Any]] = field(default_factory=list)  # a connection ended that was not protected
    gaps_ms: list[float] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.survived += outcome.ok
        self.wrong_bytes += outcome.kind == "wrong"
        self.detached.update(outcome.detached)
        case = outcome.case
        if outcome.ok and case.fault != "none" and outcome.gap_ms:  # an exit status tells none
            self.gaps_ms.append(outcome.gap_ms)
        told = {
            "seed": case.seed,
            "workload": case.workload,
            "fault": case.fault,
            "family": case.family,
            "topology": case.topology,
            "again": again(case, self.settings, self.file),
            "evidence": outcome.directory,
        }
        if not outcome.ok:
            self.failures.append(told | {"why": outcome.why})
        if outcome.detached:
            self.detached_runs.append(told | {"detached": outcome.detached})
        if outcome.in_step and DISTURBANCES[case.fault].takeover:
            self.taken_over[case.workload] += 1
            self.went_on[case.workload] += outcome.ok and not outcome.cut and not outcome.excused
        self.struck[(outcome.strike is not None) + len(outcome.then)] += 1
        self.unrenewed += outcome.unrenewed
        if outcome.excused:
            self.excused.append(told | {"why": outcome.excused})
        if outcome.ok and outcome.cut:
            self.cut_runs.append(told | {"resets": outcome.cut, "errors": outcome.client["errors"]})

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data; times in milliseconds."""
        return {
            "runs": self.runs,
            "survived": self.survived,
            "wrong_bytes": self.wrong_bytes,
            "failures": self.failures,
            "gap_ms": percentiles(self.gaps_ms),
            "detached": dict(self.detached),
            "detached_runs": self.detached_runs,
            "taken_over": dict(self.taken_over),
            "went_on": dict(self.went_on),
            "cut_runs": self.cut_runs,
            "struck": dict(sorted(self.struck.items())),
            "unrenewed": self.unrenewed,
            "excused": self.excused,
            "rebuilt": self.rebuilt,
        }


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p99 and max of the values (each None when there are none), by nearest rank."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p99": None, "max": None}
    last = len(ordered) - 1
    return {"p50": ordered[round(last * 0.5)], "p99": ordered[round(last * 0.99)], "max": ordered[-1]}


def again(case: Case, settings: Sequence[str] = (), file: str = "") -> str:
    """The command that does this run again, as a shell reads it."""
    words = ["fttcp", "lab", "campaign", *([file] if file else []), "--runs", "1", "--seed", str(case.seed)]
    words += ["--workload", case.workload, "--fault", ",".join(case.pool) or case.fault]
    words += [] if file else ["--family", str(case.family)]
    words += ["--failures", str(1 + len(case.then))] if case.then else []
    words += ["--topology", case.topology] if case.topology != "segment" else []
    for setting in settings:
        words += ["--set", setting]
    return shlex.join(words)


def detached_text(detached: Mapping[str, int]) -> str:
    """How many flows lost their protection, by reason."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(detached.items()))
    return f"detached: {reasons or 'none'}"


def shares(report: dict[str, Any]) -> str:
    """Of how many takeovers the connections of servers in step went on, in all and by workload."""
    went_on, taken_over = report["went_on"], report["taken_over"]
    total = f"{sum(went_on.values())} of {sum(taken_over.values())}"
    each = ", ".join(f"{name} {went_on[name]}/{count}" for name, count in sorted(taken_over.items()))
    return f"{total} ({each})"


def summary(report: dict[str, Any]) -> str:
    """A campaign's figures as text."""
    gap = report["gap_ms"]
    lines = [
        f"{report['survived']} of {report['runs']} runs survived, {report['wrong_bytes']} with wrong bytes, "
        f"flows {detached_text(report['detached'])}",
        f"gap ms: p50 {gap['p50']}, p99 {gap['p99']}, max {gap['max']}",
    ]
    if any(int(number) > 1 for number in report["struck"]):
        by_number = ", ".join(f"{count} of {number}" for number, count in report["struck"].items())
        unrenewed, excused = report["unrenewed"], len(report["excused"])
        lines.append(
            f"failures that struck: {by_number}; {unrenewed} not renewed in time, {excused} ended unprotected"
        )
    if report["taken_over"]:
        lines.append(f"went on at a takeover, of all runs with one: {shares(report)}")
    lines += [f"ended unprotected: {one['again']}\n  {one['why']}" for one in report["excused"]]
    lines += [f"failed: {failure['again']}\n  {failure['why']}" for failure in report["failures"]]
    lines += [
        f"{detached_text(one['detached'])}: {one['again']}\n  evidence in {one['evidence']}"
        for one in report["detached_runs"]
    ]
    lines += [
        f"{one['resets']} reset: {one['again']}\n  {one['errors'][0]}\n  evidence in {one['evidence']}"
        for one in report["cut_runs"]
    ]
    return "\n".join(lines)
