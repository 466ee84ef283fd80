"""Throughput: one connection in each direction in use, shaped and unshaped, by sendfile and by iperf3."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.stage import Setup, Stage
from lab.bench.systems import STEADY, UNSHAPED_BULK
from lab.errors import LabError

SECONDS = 2.0
DIRECTIONS = {"download": ("download",), "upload": ("upload",), "both": ("download", "upload")}
LINKS = {"1000mbit": 1000.0, "2500mbit": 2500.0, "unshaped": None}
SHORT = ("download.1000mbit", "download.unshaped", "upload.unshaped")
IPERF_PORT = 5201
IPERF = Setup(serve=(f"{IPERF_PORT}/tcp=iperf3 --server --port {IPERF_PORT}",), probes=False)
IPERF_OPTIONS: dict[str, list[str]] = {"download": ["--reverse"], "upload": [], "both": ["--bidir"]}


def transfer(stage: Stage, system: System, record: Record, *, direction: str) -> None:
    """Send and receive by client.py; the server sends with sendfile."""
    address = system.address(stage)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(stage.client(mode, address, SECONDS)) for mode in DIRECTIONS[direction]
        ]
        reports = [stage.report(client, SECONDS) for client in clients]
    for report in reports:
        if report["error"]:
            record.note("Mbit/s", f"lost: {report['error']}")
            return
    record.add("Mbit/s", sum(report["bytes"] * 8 / report["seconds"] / 1e6 for report in reports))


def iperf3(stage: Stage, system: System, record: Record, *, direction: str) -> None:
    """The same by iperf3, which writes from a buffer; what the receivers have counted is taken."""
    argv = ["iperf3", "--client", system.address(stage), "--port", str(IPERF_PORT), "--time", f"{SECONDS:g}"]
    report = json.loads(
        stage.run([*argv, "--json", "--repeating-payload", *IPERF_OPTIONS[direction]], SECONDS)
    )
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    ends = report["end"]
    counted = [ends[name] for name in ("sum_received", "sum_received_bidir_reverse") if name in ends]
    mbit_s = [each["bits_per_second"] / 1e6 for each in counted]
    if not all(mbit_s):
        raise LabError(f"iperf3: nothing has arrived in one direction ({mbit_s} Mbit/s)")
    record.add("Mbit/s", sum(mbit_s))


def _cases(tool: str, setup: Setup, measure: Callable[..., None], needs: tuple[str, ...]) -> tuple[Case, ...]:
    return tuple(
        Case(
            f"throughput.{tool}.{direction}.{link}",
            setup,
            STEADY if mbit else UNSHAPED_BULK,
            partial(measure, direction=direction),
            "Mbit/s",
            seconds=SECONDS + 1,
            short=tool == "sendfile" and f"{direction}.{link}" in SHORT,
            mbit=mbit,
            needs=needs,
        )
        for link, mbit in LINKS.items()
        for direction in DIRECTIONS
    )


SCENARIO = Scenario(
    "throughput",
    "Throughput: one connection each way",
    (_cases("sendfile", Setup(), transfer, ()), _cases("iperf3", IPERF, iperf3, ("iperf3",))),
)
