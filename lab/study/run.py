"""One run of an experiment: a lab of its own, clients, faults at their moments, and what was measured."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab import links, pcap
from lab.bench.programs import missing
from lab.bench.rows import FTTCP
from lab.bench.stage import Setup
from lab.bench.stage import Stage as BenchStage
from lab.bench.systems import SYSTEMS
from lab.capture import Capture
from lab.control import NoAnswerError
from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab, rehearse
from lab.network import SERVICE6
from lab.study.checks import REPAIRS, WAITS
from lab.study.folder import PACKETS, Folder, Row, lines, write_lines
from lab.study.plan import Run, combinations, named
from lab.study.program import program, words
from lab.study.schema import Client, Fault, Study
from lab.study.served import asked, download, preparation

_UP_S, _BEGIN_S, _MOMENT_S, _END_S = 60.0, 10.0, 120.0, 60.0
_SAMPLE_S = 0.05
UNEXPECTED = 256
"""In place of an exit status: all was well for the client, but it has printed something else."""


def do(run: Run, folder: Folder, name: str) -> Row:
    """Do it in a lab of that name, which is removed afterwards; return its row. Raises LabError when it could
    not be done; that a connection was lost is a result."""
    directory, lab = folder.run(run.number), Lab(name)
    place, scratch = run.study.lab, TemporaryDirectory(prefix="fttcp-study-")
    Path(scratch.name).chmod(0o755)  # some make their files as a user of their own
    try:
        segments = [segment.of_lab() for segment in run.study.segment]
        lab.up(
            *asked(run.study), wait_s=_UP_S, arbiter=place.arbiter, nodes=place.nodes, more=segments,
            prepare=preparation(run.study, Path(scratch.name)),
        )  # fmt: skip
        return _Stage(lab, run, directory, _address(run.study, lab), Path(scratch.name)).play()
    finally:
        lab.down()
        scratch.cleanup()


def rehearse_all(study: Study, where: str) -> None:
    """Raise LabError when a lab of the experiment would be refused, before the first of them is made."""
    for run in combinations(study, where):
        if absent := missing(SYSTEMS[run.study.lab.system].needs):
            raise LabError(f"{where}: lab.system: {absent}")
        try:
            rehearse(*asked(run.study), run.study.lab.arbiter, run.study.lab.nodes)
        except LabError as error:
            told = f" with {named(run.parameters)}" if run.parameters else ""
            raise LabError(f"{where}: [lab]{told}: {error}") from error


def _address(study: Study, lab: Lab) -> str:
    """Let the experiment's system serve; return where it does by IPv4."""
    system = SYSTEMS[study.lab.system]
    serve, settings = asked(study)
    stage = BenchStage(Setup(tuple(serve), tuple(settings)), lab)
    stage.require(system)
    return system.address(stage)


class _Clock:
    """Moments of the monotonic clock as those of the wall clock, by which clients and nodes write."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def us(self, monotonic_s: float) -> int:
        return round((monotonic_s + self._ahead_s) * 1e6)


class _Speaker:
    """A client process."""

    def __init__(
        self, lab: Lab, run: Run, number: int, directory: Path, service4: str, command: list[str]
    ) -> None:
        self._service4 = service4
        self.client: Client = run.study.client[number]
        self.file = directory / f"client-{number}.jsonl"
        timed = self.client.measure and not self.client.bytes
        self._limit_s = run.study.seconds + self.client.patience_s + _END_S if timed else self.client.limit_s
        self._late = self._unexpected = ""
        self._errors = directory / f"client-{number}.err"
        with self.file.open("wb") as out, self._errors.open("wb") as errors:
            self.process = lab.popen(
                self.client.host, command, stdout=out, stderr=errors,
                stdin=subprocess.DEVNULL,
                env=os.environ | self._told(run.study.seconds),
            )  # fmt: skip
        self._ends_s = time.monotonic() + self._limit_s
        self.ended_s = math.inf
        self._ending = threading.Thread(target=self._await_end, name=f"end of client {number}", daemon=True)
        self._ending.start()

    def _await_end(self) -> None:
        self.process.wait()
        self.ended_s = time.monotonic()

    def _told(self, seconds: float) -> dict[str, str]:
        """What a command may use."""
        there = {"SERVICE4": self._service4, "SERVICE6": SERVICE6, "MEASURE": program()}
        return there | {"RATE": str(self.client.rate), "SECONDS": f"{seconds:g}"}

    def said(self) -> list[dict[str, Any]]:
        """What our own client has said so far; nothing of another command."""
        return lines(self.file) if self.client.measure else []

    def finish(self) -> int:
        """Wait for its end, within its limit; return its exit status, or UNEXPECTED."""
        self._ending.join(max(0.0, self._ends_s - time.monotonic()))
        if self._ending.is_alive():
            self._late = f"it did not end within {self._limit_s:g} s"
            self.kill()
            return -signal.SIGKILL
        status: int = self.process.returncode
        if status == 0 and self.client.expect not in (None, self.file.read_text(errors="replace")):
            self._unexpected = "it has not printed what `expect` says"
            return UNEXPECTED
        return status

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self._ending.join()

    def why(self) -> str:
        """What went wrong, in a line."""
        lost = [line for line in self.said() if line["type"] == "lost"]
        told = [f"{line['kind']} at byte {line['at']}: {line['why']}" for line in lost[:1]]
        more = [f"{len(lost)} connections were lost"] if len(lost) > 1 else []
        last = self._errors.read_text(errors="replace").strip().rpartition("\n")[2]
        return "; ".join(filter(None, (self._late, self._unexpected, *told, *more, last)))


class _Stage:
    """A run, in a lab that is in step."""

    def __init__(self, lab: Lab, run: Run, directory: Path, service4: str, scratch: Path) -> None:
        self._lab, self._run, self._directory, self._service4 = lab, run, directory, service4
        self._scratch = scratch
        self._clock = _Clock()
        self._speakers: dict[int, _Speaker] = {}
        self._events: list[dict[str, Any]] = []
        self._from = {node: self._log_size(node) for node in lab.nodes()}

    def play(self) -> Row:
        """Let it happen."""
        study = self._run.study
        for link in study.link:  # always the same program, so that what is swept is all that differs
            links.apply(self._lab, link.link, link.terms(), link.sender, self._run.seed)
        with ExitStack() as running:
            if study.capture:
                running.enter_context(Capture(self._lab, self._directory, study.capture))
            running.enter_context(self._sampling())
            running.callback(self._kill_speakers)
            with self._starting():
                began_s = self._await_traffic()
                for fault in study.fault:
                    self._strike(fault, began_s)
            statuses = [self._speakers[number].finish() for number in range(len(study.client))]
        self._keep_events()
        self._keep_packets()
        write_lines(self._directory / "links.jsonl", links.show(self._lab))
        return self._row(statuses)

    def _keep_packets(self) -> None:
        """What was captured, in one file whose interfaces are the links."""
        files: dict[str, Path] = {link: self._directory / f"{link}.pcap" for link in self._run.study.capture}
        if files:
            pcap.join(files, self._directory / PACKETS)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Start each client at its moment, whatever happens meanwhile; at the end all of them are."""
        clients, given_up = self._run.study.client, threading.Event()
        began_s = time.monotonic()

        def start() -> None:
            for number in sorted(range(len(clients)), key=lambda one: clients[one].at_s):
                if given_up.wait(max(0.0, began_s + clients[number].at_s - time.monotonic())):
                    return
                self._speakers[number] = _Speaker(
                    self._lab, self._run, number, self._directory, self._service4, self._command(number)
                )

        with ThreadPoolExecutor(1, "clients") as pool:
            started = pool.submit(start)
            try:
                yield
            except BaseException:
                given_up.set()
                raise
            started.result()

    def _command(self, number: int) -> list[str]:
        study, client = self._run.study, self._run.study.client[number]
        address = self._service4 if client.family == 4 else SERVICE6
        if client.measure == "recipe":
            return download(study, client, self._scratch, address)
        return words(client, self._run, number, address)

    def _await_traffic(self) -> float:
        """Return the moment from which faults count: the first client has begun."""

        def begun() -> bool:
            first = self._speakers.get(0)
            return first is not None and (
                bool(first.said()) or not first.client.measure or first.process.poll() is not None
            )

        limit_s = self._run.study.client[0].at_s + _BEGIN_S
        await_condition(begun, limit_s, "the first client begins")
        return time.monotonic()

    # ---- faults

    def _strike(self, fault: Fault, began_s: float) -> None:
        if fault.at_s is not None:
            time.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
        elif fault.when is not None:
            self._await_moment(fault.when)
        time.sleep(fault.then_s)
        drawn = {"seed": self._run.seed} if fault.kind == "link" else {}
        report = make_fault(self._lab, fault.kind, **fault.arguments(), **drawn)
        self._events.append({"time_us": self._clock.us(report["at_s"]), "event": "fault", **report})

    def _kill_speakers(self) -> None:
        for speaker in self._speakers.values():
            speaker.kill()

    def _await_moment(self, when: str) -> None:
        first = self._speakers[0]
        match when.split():
            case [("received" | "answers") as named, number, *_]:
                what, wanted = str(named), float(number)
                if what == "received":
                    wanted *= first.client.bytes * first.client.connections / 100
                    what = "sent" if first.client.measure == "up" else what

                def reached() -> bool:
                    told = (line for line in first.said() if line["type"] == "bucket")
                    return sum(float(line.get(what, 0)) for line in told) >= wanted

                self._await_of(first, reached, when, "too little was asked for")
            case ["renewed"]:
                self._lab.wait("synced", _MOMENT_S)
                self._await_of(first, self._is_renewed, when, "`seconds` is too short")
            case [condition]:
                self._lab.wait(condition, _MOMENT_S)

    @staticmethod
    def _await_of(first: _Speaker, reached: Callable[[], bool], when: str, cause: str) -> None:
        """Wait for a moment that does not come any more if the first client has ended. Raises LabError."""
        await_condition(
            lambda: reached() or first.process.poll() is not None, _MOMENT_S, f"the moment {when!r}",
            interval_s=0.01,
        )  # fmt: skip
        if not reached():
            raise LabError(f"the first client ended before {when!r}: {first.why() or cause}")

    def _is_renewed(self) -> bool:
        """All connections that there are, are protected."""
        groups = [group for node in self._lab.status()["nodes"] for group in node["groups"]]
        waiting = ("opening", "catching", "unprotected")
        return any(
            group["role"] == "primary"
            and group["flows"]["protected"] > 0
            and not any(group["flows"][kind] for kind in waiting)
            for group in groups
        )

    # ---- what is measured beside the clients

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """Ask the nodes for their state, again and again, and keep it."""
        over = threading.Event()
        samples: list[dict[str, Any]] = []

        def sample() -> None:
            while not over.wait(_SAMPLE_S):
                for node in self._lab.nodes():
                    at_us = self._clock.us(time.monotonic())
                    try:
                        groups = self._lab.ask(node, {"op": "status"})["groups"]
                    except NoAnswerError:  # it is down, or busy: the gap in the data says so
                        continue
                    samples.extend({"time_us": at_us, "node": node, **_looked_at(group)} for group in groups)

        with ThreadPoolExecutor(1, "samples") as pool:
            sampling = pool.submit(sample)
            try:
                yield
            finally:
                over.set()
                pool.shutdown()
                write_lines(self._directory / "nodes.jsonl", samples)
        sampling.result()

    def _log_size(self, node: str) -> int:
        return self._lab.log(node).stat().st_size

    def _keep_events(self) -> None:
        for node, start in self._from.items():
            with self._lab.log(node).open("rb") as file:
                file.seek(start)
                for line in file:
                    self._events += _event(line)
        self._events.sort(key=lambda event: event["time_us"])
        write_lines(self._directory / "events.jsonl", self._events)

    # ---- what is told

    def _row(self, statuses: list[int]) -> Row:
        speakers = [self._speakers[number] for number in range(len(statuses))]
        ends = [next((line for line in speaker.said() if line["type"] == "end"), {}) for speaker in speakers]
        whys = [
            speaker.why() or f"client {number} ended with status {status}, and said nothing"
            for number, (speaker, status) in enumerate(zip(speakers, statuses, strict=True))
            if status
        ]
        last_us = max(
            end.get("time_us", self._clock.us(speaker.ended_s))
            for speaker, end in zip(speakers, ends, strict=True)
        )
        late = {} if whys else too_late(self._events, last_us)
        if late:
            who = "the client" if len(speakers) == 1 else "the last client"
            whys = [f"the fault came {late['late_ms']:.0f} ms after {who} had ended: nothing was tested"]
        row: Row = {
            "run": self._run.number,
            "repetition": self._run.repetition,
            "seed": self._run.seed,
            "parameters": self._run.parameters,
            "ok": not whys,
            "why": whys[0] if whys else "",
        } | late  # fmt: skip
        measured = [end for end in ends if end]
        if measured:
            row |= {
                "received": sum(end["received"] for end in measured),
                "sent": sum(end["sent"] for end in measured),
                "lost": sum(end["lost"] for end in measured),
                "longest_gap_ms": max(end["longest_gap_us"] for end in measured) / 1000,
                "mbit_s": round(sum(8 * (end["received"] + end["sent"]) / end["us"] for end in measured), 3),
            }
            waits = ends[0].get("wait_us", {})
            row |= {f"wait_{name}_us": waits[name] for name in WAITS if name in waits}
        return row | self._takeover()

    def _takeover(self) -> Row:
        """How long another node took to serve, the first time, from the fault before that on."""
        faults = [event for event in self._events if event["event"] == "fault"]
        if not faults:
            return {}
        row: Row = {"fault": faults[0]["fault"], "fault_us": faults[0]["time_us"]}
        if self._run.study.lab.system != FTTCP:  # the pair is there, but no client comes to it
            return row
        for event in self._events:
            before = [fault["time_us"] for fault in faults if fault["time_us"] <= event["time_us"]]
            if before and event["event"] == "role" and event.get("role") == "primary":
                return row | {"takeover_ms": (event["time_us"] - before[-1]) / 1000}
        return row


def too_late(events: Sequence[Mapping[str, Any]], last_us: int) -> Row:
    """Return by how much a fault that is no repair missed the clients, of which the last has ended at
    `last_us`; nothing if all met them."""
    struck = [one["time_us"] for one in events if one["event"] == "fault" and one["fault"] not in REPAIRS]
    return next(({"late_ms": (at_us - last_us) / 1000} for at_us in struck if at_us > last_us), {})


def _looked_at(group: dict[str, Any]) -> dict[str, Any]:
    return {
        "role": group["role"],
        "mode": group["mode"],
        "synced": group["synced"],
        "flows": group.get("flows", {}),
        "lag_us_p50": group.get("commit", {}).get("lag_us_p50"),
        "lag_us_p99": group.get("commit", {}).get("lag_us_p99"),
    }


def _event(line: bytes) -> Iterator[dict[str, Any]]:
    """What a node's log says in a line, if it is an event of it."""
    try:
        said = json.loads(line)
        at = datetime.fromisoformat(said["time"])
    except (ValueError, KeyError, TypeError):  # a server writes there too
        return
    yield {
        "time_us": round(at.timestamp() * 1e6),
        **{k: v for k, v in said.items() if k not in ("time", "number", "level")},
    }
