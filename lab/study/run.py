"""One run of an experiment: a lab of its own, clients, faults at their moments, and what was measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lab import links
from lab.capture import Capture
from lab.control import NoAnswerError
from lab.errors import LabError
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import SERVICE4, SERVICE6
from lab.study.folder import Folder, Row, lines, write_lines
from lab.study.plan import Client, Fault, Run
from lab.study.program import program, server_spec, words

_UP_S, _BEGIN_S, _MOMENT_S, _END_S = 60.0, 10.0, 120.0, 60.0
_SAMPLE_S = 0.05


def do(run: Run, folder: Folder, name: str) -> Row:
    """Do it in a lab of that name, which is removed afterwards; return its row. Raises LabError when it could
    not be done; that a connection was lost is a result."""
    directory, lab = folder.run(run.number), Lab(name)
    place = run.study.lab
    try:
        lab.up(
            place.serve or (server_spec(),),
            [f"{key}={_toml(value)}" for key, value in place.set.items()],
            wait_s=_UP_S,
            arbiter=place.arbiter,
            nodes=place.nodes,
        )
        return _Stage(lab, run, directory).play()
    finally:
        lab.down()


def _toml(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


class _Clock:
    """Moments of the monotonic clock as those of the wall clock, by which clients and nodes write."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def us(self, monotonic_s: float) -> int:
        return round((monotonic_s + self._ahead_s) * 1e6)


class _Speaker:
    """A client process."""

    def __init__(self, lab: Lab, run: Run, number: int, directory: Path) -> None:
        self.client: Client = run.study.client[number]
        self.file = directory / f"client-{number}.jsonl"
        self._errors = directory / f"client-{number}.err"
        address = SERVICE4 if self.client.family == 4 else SERVICE6
        with self.file.open("wb") as out, self._errors.open("wb") as errors:
            self.process = lab.popen(
                self.client.host, words(self.client, run, number, address), stdout=out, stderr=errors,
                env=os.environ | {"SERVICE4": SERVICE4, "SERVICE6": SERVICE6, "MEASURE": program()},
            )  # fmt: skip

    def said(self) -> list[dict[str, Any]]:
        """What our own client has said so far; nothing of another command."""
        return lines(self.file) if self.client.measure else []

    def finish(self, timeout_s: float) -> int:
        """Wait for its end; return its exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()

    def why(self) -> str:
        """The last line of what it said about an error."""
        return self._errors.read_text(errors="replace").strip().rpartition("\n")[2]


class _Stage:
    """A run, in a lab that is in step."""

    def __init__(self, lab: Lab, run: Run, directory: Path) -> None:
        self._lab, self._run, self._directory = lab, run, directory
        self._clock = _Clock()
        self._speakers: list[_Speaker] = []
        self._events: list[dict[str, Any]] = []
        self._from = {node: self._log_size(node) for node in lab.nodes()}

    def play(self) -> Row:
        """Let it happen."""
        study = self._run.study
        for link in study.link:
            if link.needs_wire():
                links.apply(self._lab, link.link, link.terms(), link.sender, self._run.seed)
                continue
            if link.rate_mbit is not None:
                self._lab.fault("rate", link.link, link.rate_mbit)
            if link.loss_percent:
                self._lab.fault("loss", link.link, link.loss_percent)
        with ExitStack() as running:
            if study.capture:
                running.enter_context(Capture(self._lab, self._directory))
            running.enter_context(self._sampling())
            running.callback(lambda: [speaker.kill() for speaker in self._speakers])
            began_s = time.monotonic()
            acts: list[tuple[float, Callable[[], None]]] = [
                (client.at_s, lambda number=number: self._start(number))  # type: ignore[misc]
                for number, client in enumerate(study.client)
            ]
            for at_s, act in sorted(acts, key=lambda one: one[0]):
                time.sleep(max(0.0, began_s + at_s - time.monotonic()))
                act()
            began_s = self._await_traffic()
            for fault in study.fault:
                self._strike(fault, began_s)
            statuses = [
                speaker.finish(study.seconds + _END_S + speaker.client.patience_s)
                for speaker in self._speakers
            ]
        self._keep_events()
        write_lines(self._directory / "links.jsonl", links.show(self._lab))
        return self._row(statuses)

    def _start(self, number: int) -> None:
        self._speakers.append(_Speaker(self._lab, self._run, number, self._directory))

    def _await_traffic(self) -> float:
        """Return the moment from which faults count: the first client has begun."""
        first = self._speakers[0]

        def begun() -> bool:
            return bool(first.said()) or not first.client.measure or first.process.poll() is not None

        await_condition(begun, _BEGIN_S, "the first client begins")
        return time.monotonic()

    # ---- faults

    def _strike(self, fault: Fault, began_s: float) -> None:
        if fault.at_s is not None:
            time.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
        elif fault.when is not None:
            self._await_moment(fault.when)
        time.sleep(fault.then_s)
        drawn = {"seed": self._run.seed} if fault.kind == "link" else {}
        report = self._lab.fault(fault.kind, **fault.arguments(), **drawn)
        self._events.append({"time_us": self._clock.us(report["at_s"]), "event": "fault", **report})

    def _await_moment(self, when: str) -> None:
        first = self._speakers[0]
        match when.split():
            case [("received" | "answers") as what, number, *_]:
                wanted = float(number)
                if what == "received":
                    wanted *= first.client.bytes * first.client.connections / 100

                def reached() -> bool:
                    return (
                        sum(line.get(what, 0) for line in first.said() if line["type"] == "bucket") >= wanted
                    )

                def over() -> bool:
                    return first.process.poll() is not None

                await_condition(
                    lambda: reached() or over(), _MOMENT_S, f"the moment {when!r}", interval_s=0.01
                )
                if not reached():
                    raise LabError(
                        f"the first client ended before {when!r}: {first.why() or 'too little was asked for'}"
                    )
            case ["renewed"]:
                self._lab.wait("synced", _MOMENT_S)
                await_condition(
                    self._is_renewed, _MOMENT_S, "connections are protected again", interval_s=0.02
                )
            case [condition]:
                self._lab.wait(condition, _MOMENT_S)

    def _is_renewed(self) -> bool:
        """All connections that there are, are protected."""
        group = next(
            group
            for node in self._lab.status()["nodes"]
            for group in node["groups"]
            if group["role"] == "primary"
        )
        flows = group["flows"]
        waiting = ("opening", "catching", "unprotected")
        return flows["protected"] > 0 and not any(flows[kind] for kind in waiting)

    # ---- what is measured beside the clients

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """Ask the nodes for their state, again and again, and keep it."""
        over, samples = threading.Event(), []

        def sample() -> None:
            while not over.wait(_SAMPLE_S):
                for node in self._lab.nodes():
                    at_us = self._clock.us(time.monotonic())
                    try:
                        groups = self._lab.ask(node, {"op": "status"})["groups"]
                    except NoAnswerError:  # it is down, or busy: the gap in the data says so
                        continue
                    samples.extend({"time_us": at_us, "node": node, **_looked_at(group)} for group in groups)

        thread = threading.Thread(target=sample, name="samples", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            write_lines(self._directory / "nodes.jsonl", samples)

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
        ends = [
            next((line for line in said if line["type"] == "end"), {})
            for said in map(_Speaker.said, self._speakers)
        ]
        first = ends[0]
        row: Row = {
            "run": self._run.number,
            "repetition": self._run.repetition,
            "seed": self._run.seed,
            "parameters": self._run.parameters,
            "ok": not any(statuses),
            "why": next(
                (speaker.why() for speaker, status in zip(self._speakers, statuses, strict=True) if status),
                "",
            ),
        }
        measured = [end for end in ends if end]
        if measured:
            row |= {
                "received": sum(end["received"] for end in measured),
                "sent": sum(end["sent"] for end in measured),
                "lost": sum(end["lost"] for end in measured),
                "longest_gap_ms": max(end["longest_gap_us"] for end in measured) / 1000,
                "mbit_s": round(sum(8 * end["received"] / end["us"] for end in measured), 3),
            }
            row |= {f"wait_{name}_us": value for name, value in first.get("wait_us", {}).items()}
        return row | self._takeover()

    def _takeover(self) -> Row:
        """How long after the first fault another node served, and had heard of nobody."""
        faults = [event for event in self._events if event["event"] == "fault"]
        if not faults:
            return {}
        at_us = faults[0]["time_us"]
        took = [
            event["time_us"] - at_us
            for event in self._events
            if event["event"] == "role" and event.get("role") == "primary" and event["time_us"] >= at_us
        ]
        return {"fault": faults[0]["fault"], "fault_us": at_us} | (
            {"takeover_ms": took[0] / 1000} if took else {}
        )


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
