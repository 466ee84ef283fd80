"""``fttcp lab endure``: one download and one session of a person outlive one failure after the other."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click

from lab import experiment
from lab.campaign import FAULTS
from lab.errors import LabError
from lab.experiment import DISTURBANCES, Case, start_client
from lab.failures import NOT_PROTECTED, in_state, pause
from lab.hosts import await_condition
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab
from lab.network import NODES
from lab.rootless import become_root
from lab.workloads.registry import serve_specs

WORKLOADS = ("paced-down", "echo")
BOUND_S = 10.0
"""A longer silence is a failure."""
WITHIN_S = 30.0
PAUSE_S = 0.5
"""Between the moment at which both are protected again and the next failure."""
LOG_BYTES = 8 << 20
"""The echo says more than the default bound in some minutes."""


class Endurance:
    """The lab with its two clients, and what was seen."""

    def __init__(self, lab: Lab, size: int, rate: int, directory: Path) -> None:
        self._lab = lab
        self.size = size
        seconds = 10 * size / rate
        cases = [Case("paced-down", size=size, rate=rate, duration_s=seconds)]
        cases.append(Case("echo", duration_s=seconds))
        self._directory = directory
        self._cases = cases
        self.renewals: list[dict[str, Any]] = []

    def run(self, faults: list[str]) -> dict[str, Any]:
        """Strike with each of them; returns the report. Raises LabError."""
        with ExitStack() as stack:
            clients = []
            for case in self._cases:
                place = self._directory / case.workload
                place.mkdir(parents=True)
                clients.append(start_client(self._lab, case, place, BOUND_S))
                stack.callback(clients[-1].kill)
                if not clients[-1].wait_started():
                    raise LabError(f"{case.workload}: {clients[-1].finish()['why']}")
            down, echo = clients
            for number, fault in enumerate(faults, 1):
                if not pause(down, PAUSE_S):
                    raise LabError(f"the download ended before failure {number}; take a larger --size")
                self._strike(fault, number)
            down_report = down.finish()
            echo.enough()
            return self._report(faults, down_report, echo.finish())

    def _strike(self, fault: str, number: int) -> None:
        """One failure, and the time until the connections are protected again."""
        lab = self._lab
        old = lab.node_in_role("primary")
        disturbance = DISTURBANCES[fault]
        disturbance.strike(lab)
        if disturbance.takeover:
            lab.wait(f"primary={next(node for node in NODES if node != old)}", WITHIN_S)
        experiment.revive(lab)
        begin_s = time.monotonic()
        owner = lab.node_in_role("primary")
        await_condition(
            lambda: not in_state(lab, owner, NOT_PROTECTED), WITHIN_S, f"all protected after failure {number}"
        )
        seconds = round(time.monotonic() - begin_s, 3)
        self.renewals.append({"fault": fault, "of": old, "protected_s": seconds})
        click.echo(f"failure {number}: {fault} of {old}; in step, and protected {seconds} s later", err=True)

    def _report(self, faults: list[str], *reports: dict[str, Any]) -> dict[str, Any]:
        kept = ("ok", "kind", "why", "gap_ms", "received", "requests")
        told = {
            workload: {key: report[key] for key in kept if key in report}
            for workload, report in zip(WORKLOADS, reports, strict=True)
        }
        return {
            "ok": all(report["ok"] for report in reports),
            "failures": len(faults),
            "bytes": self.size,
            "renewals": self.renewals,
            "clients": told,
        }


@click.command()
@click.option("--failures", default=10, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--fault", default="crash-host", show_default=True, help="Faults of a campaign, with commas, in turn."
)
@click.option(
    "--size", default=2_000_000_000, show_default=True, type=click.IntRange(1), help="Bytes of the download."
)
@click.option(
    "--rate", default=40_000_000, show_default=True, type=click.IntRange(1), help="Bytes per second of it."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="As for lab up.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--name", default="endure", show_default=True, help="Name of the lab that is made for it.")
@signals_interrupt()
def endure(
    failures: int, fault: str, size: int, rate: int, settings: tuple[str, ...], as_json: bool, name: str
) -> None:
    """One failure after the other, of the two nodes in turn; a download and an echo outlive all of them, byte
    by byte."""
    kinds = fault.split(",")
    unknown = [kind for kind in kinds if kind not in FAULTS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: unknown; wanted: {', '.join(FAULTS)}")
    lab = Lab(name)
    try:
        become_root(name=name)
        lab.up(serve_specs(WORKLOADS), (f"limits.renew_flow_bytes={LOG_BYTES}", *settings))
        try:
            with TemporaryDirectory() as directory:
                endurance = Endurance(lab, size, rate, Path(directory))
                report = endurance.run([kinds[number % len(kinds)] for number in range(failures)])
        finally:
            lab.down()
    except LabError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(report) if as_json else summary(report))
    sys.exit(0 if report["ok"] else 1)


def summary(report: dict[str, Any]) -> str:
    """The report as text."""
    seconds = [one["protected_s"] for one in report["renewals"]]
    lines = [
        f"{report['failures']} failures; protected again {median(seconds):.2f} s after the pair was in step "
        f"(at most {max(seconds):.2f} s)"
    ]
    for workload, client in report["clients"].items():
        verdict = "every byte right" if client["ok"] else f"FAILED: {client['why']}"
        lines.append(f"{workload}: {verdict}, longest silence {client['gap_ms']:.0f} ms")
    return "\n".join(lines)
