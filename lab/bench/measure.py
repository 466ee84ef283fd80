"""What is measured: the gap around a fault, the round trip of an echo, the throughput of bulk transfers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lab import network
from lab.bench.report import ADDED, NATIVE, PROTECTED, Key, Samples, percentile
from lab.errors import LabError
from lab.experiment import mend
from lab.lifecycle import Lab

HERE = Path(__file__).parent
PORT = 7070
SERVE = f"{PORT}/tcp=" + shlex.join([sys.executable, "-I", str(HERE / "server.py"), str(PORT)])
GAP_SETTINGS = ("timing.heartbeat_ms=10", "timing.heartbeat_misses=3")
FAULTS = ("crash-host", "kill-server", "switchover")
LOADS = (("download", 1000.0), ("download", 100.0), ("upload", 1000.0))
"""Direction, and Mbit/s of the client's link."""
BEFORE_S, AFTER_S = 1.0, 1.5
"""How long the transfer runs before a fault, and after it."""
ECHO_COUNT = 3000
ECHO_PERCENTILES = (50, 99)
BULK_S = 3.0
BULK_LINKS = (1000.0, None)
END_S = 30.0
"""A client that does not end so long after its time has failed."""
STEPS = ("detected_ms", "gate_ms", "announced_ms", "done_ms")

GAP = "Client-visible gap"
QUIET = "Longest silence in the second before the fault"
TAKEOVER = "Steps of the takeover, since the last sign of life (crash) or since the cause was noticed"
ECHO, BULK = "Round trip of a 64-byte TCP echo", "Throughput of one connection"
MEASURES = (*FAULTS, "echo", "throughput")

Say = Callable[[str], None]
Report = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """One run of the measurements: how often, which of MEASURES, where samples and live words go."""

    repeat: int
    only: Sequence[str]
    samples: Samples
    say: Say

    def run(self) -> list[str]:
        """Measure; a lab that fails ends its own part only. Returns what went wrong."""
        errors = []
        faults = [fault for fault in FAULTS if fault in self.only]
        for wanted, settings, part in (
            (bool(faults), GAP_SETTINGS, lambda lab: self._gaps(lab, faults)),
            ({"echo", "throughput"} & set(self.only), (), self._paths),
        ):
            if wanted:
                try:
                    with pair(settings) as lab:
                        part(lab)
                except LabError as error:
                    errors.append(str(error))
        return errors

    def _gaps(self, lab: Lab, faults: Sequence[str]) -> None:
        for number in range(self.repeat):
            for fault in faults:
                for direction, mbit in LOADS:
                    Gap(self, fault, direction, mbit, number).measure(lab)
                    mend(lab)

    def _paths(self, lab: Lab) -> None:
        for number in range(self.repeat):
            if "echo" in self.only:
                self._echo(lab, number)
        for mbit in BULK_LINKS if "throughput" in self.only else ():
            lab.fault("heal") if mbit is None else lab.fault("rate", "client", mbit)
            for number in range(self.repeat):
                for mode in ("download", "upload"):
                    self._bulk(lab, mode, mbit, number)

    def _echo(self, lab: Lab, number: int) -> None:
        found: dict[tuple[str, int], float] = {}
        for system in (NATIVE, PROTECTED):
            report = self._pass(lab, system, "echo", ECHO_COUNT, Key(ECHO, "p50", system, "us"))
            for percent in ECHO_PERCENTILES if report else ():
                value = percentile(report["round_trips_us"], percent)
                found[system, percent] = value
                self.samples.add(Key(ECHO, f"p{percent}", system, "us"), number, value)
                self.say(f"echo, {system}: p{percent} {value:.0f} us")
        for percent in ECHO_PERCENTILES:
            if (NATIVE, percent) in found and (PROTECTED, percent) in found:
                added = found[PROTECTED, percent] - found[NATIVE, percent]
                self.samples.add(Key(ECHO, f"p{percent}", ADDED, "us"), number, added)

    def _bulk(self, lab: Lab, mode: str, mbit: float | None, number: int) -> None:
        for system in (NATIVE, PROTECTED):
            key = Key(BULK, f"{mode}, {link_name(mbit)}", system, "Mbit/s")
            report = self._pass(lab, system, mode, BULK_S, key)
            if report:
                value = report["bytes"] * 8 / report["seconds"] / 1e6
                self.samples.add(key, number, value)
                self.say(f"{key.name}, {system}: {value:.0f} Mbit/s")

    def _pass(self, lab: Lab, system: str, mode: str, amount: float, key: Key) -> Report:
        """Run the client once and return its report, {} when its connection was lost; notes what was odd."""
        before = primary(lab)
        address = network.SERVICE4 if system == PROTECTED else lab.env()[f"{before['node'].upper()}4"]
        with client(lab, mode, address, amount) as process:
            port = wait_started(process)
            if port and system == PROTECTED:
                note_protection(self.samples, key, lab, port)
            report = finish(process, amount)
        after = primary(lab)
        if report["error"]:
            self.samples.note(key, f"lost: {report['error']}")
        if after["epoch"] != before["epoch"]:
            self.samples.note(key, "a takeover during the pass")
        for reason in detachments(lab, after["node"], port):
            self.samples.note(key, f"detached during the pass: {reason}")
        return {} if report["error"] else report


@dataclass(frozen=True)
class Gap:
    """One fault in the middle of one transfer."""

    bench: Bench
    fault: str
    direction: str
    mbit: float
    number: int

    def measure(self, lab: Lab) -> None:
        """Let the fault happen and add the gap, the takeover's steps, and the longest silence before."""
        samples, load = self.bench.samples, f"{self.direction}, {link_name(self.mbit)}"
        key = Key(GAP, f"{self.fault}, {load}", PROTECTED, "ms")
        lab.fault("rate", "client", self.mbit)
        old = primary(lab)["node"]
        mode = "progress" if self.direction == "upload" else self.direction
        with client(lab, mode, network.SERVICE4, BEFORE_S + AFTER_S) as process:
            port = wait_started(process)
            if not port:
                samples.note(key, f"lost before the fault: {finish(process, 0)['error']}")
                return
            note_protection(samples, key, lab, port)
            time.sleep(BEFORE_S)
            at_s = lab.fault(self.fault, "primary")["at_s"]
            report = finish(process, BEFORE_S + AFTER_S)
        quiet, gap = silences_ms(report["arrivals_s"], at_s)
        if report["error"] or gap is None:
            samples.note(key, f"lost: {report['error'] or 'nothing came after the fault'}")
            self.bench.say(f"{key.name}: the connection was lost")
            return
        samples.add(key, self.number, gap)
        if quiet is not None:
            samples.add(Key(QUIET, load, PROTECTED, "ms"), self._of(FAULTS, self.fault), quiet)
        self.bench.say(f"{key.name}: {gap:.1f} ms")
        new = primary(lab)
        if new["node"] == old or not new["takeovers"]:
            samples.note(key, "no takeover")
            return
        for step in STEPS:
            step_key = Key(TAKEOVER, f"{self.fault}: {step.removesuffix('_ms')}", PROTECTED, "ms")
            load_number = self._of(LOADS, (self.direction, self.mbit))
            samples.add(step_key, load_number, new["takeovers"][-1][step])

    def _of(self, group: Sequence[Any], item: Any) -> int:
        """Number this sample where one pass gives one for each item of `group`."""
        return self.number * len(group) + group.index(item)


def silences_ms(arrivals_s: Sequence[float], at_s: float) -> tuple[float | None, float | None]:
    """Return the longest silences in ms: of those that ended before `at_s`, and of those that ended after.

    None where there was none.
    """
    silences = [(later, (later - earlier) * 1000) for earlier, later in pairwise(arrivals_s)]
    before = [length for end, length in silences if end < at_s]
    after = [length for end, length in silences if end >= at_s]
    return max(before, default=None), max(after, default=None)


def link_name(mbit: float | None) -> str:
    """Name the shape of the client's link."""
    return "unshaped" if mbit is None else f"{mbit:g} Mbit/s"


def primary(lab: Lab) -> dict[str, Any]:
    """Return the group's status at the primary with the highest epoch, and its "node"; raises LabError."""
    claims = [
        {**group, "node": node["node"]}
        for node in lab.status()["nodes"]
        for group in node["groups"]
        if group["role"] == "primary"
    ]
    if not claims:
        raise LabError(f"lab {lab.name!r}: no node is primary; see: fttcp lab logs")
    return max(claims, key=lambda claim: int(claim["epoch"]))


def note_protection(samples: Samples, key: Key, lab: Lab, port: int) -> None:
    """Note when the client's flow from `port`, which runs now, is not protected."""
    flows = lab.ask(primary(lab)["node"], {"op": "connections"})["connections"]
    words = [f"{flow['protection']} ({flow['reason']})" for flow in flows if flow["client_port"] == port]
    if not words or not words[0].startswith("protected"):
        samples.note(key, f"at the start of the pass: {words[0] if words else 'unknown to the primary'}")


def detachments(lab: Lab, node: str, port: int) -> list[str]:
    """Return why `node` has detached the client's flow from `port`: nothing, or one reason."""
    events = lab.ask(node, {"op": "events", "since": 0})["events"]
    return [
        event["reason"]
        for event in events
        if event["event"] == "flow-detached" and f":{port} > " in event["flow"]
    ]


@contextmanager
def pair(settings: Sequence[str]) -> Iterator[Lab]:
    """A lab of its own with the pair in step; whatever happens, it is removed."""
    lab = Lab(f"bench-{os.getpid()}")
    try:
        lab.up([SERVE], settings)
        yield lab
    finally:
        lab.down()


@contextmanager
def client(lab: Lab, mode: str, address: str, amount: float) -> Iterator[subprocess.Popen[bytes]]:
    """The client of one pass; it is gone at the end of the block."""
    argv = [sys.executable, "-I", str(HERE / "client.py"), mode, address, str(PORT), str(amount)]
    with lab.popen(
        network.CLIENT, argv, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_started(process: subprocess.Popen[bytes]) -> int:
    """Return the client's port when its traffic flows, 0 when it has ended before (after its PATIENCE_S)."""
    assert process.stderr is not None
    words = process.stderr.readline().split()
    return int(words[1]) if words[:1] == [b"started"] else 0


def finish(process: subprocess.Popen[bytes], amount: float) -> Report:
    """Return the client's report; raises LabError when it gives none."""
    try:
        out, err = process.communicate(timeout=amount + END_S)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"client {process.args!r}: no end after {amount + END_S:g} s") from error
    if process.returncode != 0:
        raise LabError(
            f"client {process.args!r}: status {process.returncode}: {err.decode(errors='replace')}"
        )
    report: Report = json.loads(out)
    return report
