"""One run of a probe: a pair in the lab, its input, and what both copies said."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fttcp.server import calls
from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import Host, await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES, SERVICE4, SERVICE6
from lab.probe import recording
from lab.probe.judge import Compared, Verdict, compare
from lab.probe.streams import Key, read, streams

ROOT = Path(__file__).resolve().parents[2]
LATER_S = 1.2
"""So much later the backup's copy goes on in the second half: a clock that counts seconds has gone on."""
JOINED = "/srv/probe-joined"
"""Starts a copy that is joined to the other one by a log of calls."""
LOG = "/srv/probe-calls"
PLACE = "/srv/probe"
"""Where a copy runs: each node has its own, of one name. Paths are told, or get into numbers."""
LEADER = NODES[0]
"""It is primary when the pair is in step: so it has the highest priority."""
QUIET_S, SETTLE_S = 1.0, 15.0
PATIENT = ("timing.end_grace_ms=5000", "timing.hang_after_ms=20000")
"""A copy that only is slower is not taken for one that answers otherwise."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Input:
    """What the client does: a command in its host, once for each half; `patience_s` for each."""

    command: Sequence[str]
    patience_s: float = 60.0


@dataclass
class Run:
    """What was seen."""

    lockstep: str
    connections: list[Compared] = field(default_factory=list)
    divergences: int = 0
    statuses: list[int] = field(default_factory=list)
    said: str = ""
    log: dict[str, Any] | None = None
    """What the log of calls tells, if there was one."""

    @property
    def failed(self) -> bool:
        """Whether a client ended otherwise than well: then it has not said what it should."""
        return any(self.statuses)

    @property
    def worst(self) -> Verdict:
        """The worst verdict of a connection."""
        return max((one.verdict for one in self.connections), default=Verdict.SAME)

    @property
    def together(self) -> Verdict:
        """The worst of those in which both copies ran side by side."""
        return max((one.verdict for one in self.connections if not one.later), default=Verdict.SAME)

    def count(self, verdict: Verdict) -> int:
        """How many connections have it."""
        return sum(1 for one in self.connections if one.verdict is verdict)

    def example(self) -> Compared | None:
        """The first of the worst connections, if they are not all the same."""
        bad = (one for one in self.connections if one.verdict is self.worst is not Verdict.SAME)
        return next(bad, None)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        example = self.example()
        return {
            "lockstep": self.lockstep,
            "verdict": self.worst.name.lower(),
            "connections": len(self.connections),
            **{verdict.name.lower(): self.count(verdict) for verdict in Verdict},
            "divergences": self.divergences,
            "client_statuses": self.statuses,
            "log": self.log,
            "first": None if example is None else example.as_json(),
        }


@dataclass(frozen=True)
class Probe:
    """A server, and what is said to it. `serve`: PORT/tcp[,...]=COMMAND."""

    serve: str
    given: Input
    settings: tuple[str, ...] = ()
    files: Path | None = None
    timeout_s: float = 30.0
    steps: Sequence[recording.Step] = ()

    def run(self, lab: Lab, lockstep: str, say: Say) -> Run:
        """Make the pair, give it the input twice, the second time with the backup's copy behind, and compare.
        The lab is removed. Raises LabError."""
        by_calls = lockstep == "calls"
        own = ("lockstep=connection",) if lockstep == "connection" else ()
        settings = [*PATIENT, *self.settings, *own]
        prepare = self.prepare_by_calls if by_calls else self.prepare
        with removed_for_certain(lab):
            say("starting two copies")
            lab.up([self._served(by_calls)], settings, wait_s=self.timeout_s, prepare=prepare)
            steps_of(lab).write_text(json.dumps(self.steps))
            if by_calls and lab.node_in_role("primary") != LEADER:
                raise LabError(f"{LEADER} leads by its calls, and is not primary: try again")
            run = self.observe(lab, Run(lockstep), say)
            run.log = calls.shown(log_of(lab.home)) if by_calls else None
            return run

    @property
    def served(self) -> str:
        """The ports, and the command as it begins in its place."""
        return self._served(by_calls=False)

    def _served(self, by_calls: bool) -> str:
        ports, _, command = self.serve.partition("=")
        return f"{ports}={f'{JOINED} ' if by_calls else ''}env -C {PLACE} PWD={PLACE} {command}"

    def observe(self, lab: Lab, run: Run, say: Say) -> Run:
        """Give a pair that is in step the input, and compare."""
        with Taps(lab) as taps:
            say("the same input to both")
            self._speak(lab, run)
            _settle(lab, taps)
            before = frozenset(taps.primary_streams())
            say("once more, the backup's copy a second later")
            make_fault(lab, "hang-server", "backup")
            began = time.monotonic()
            with self._speaking(lab) as client:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    client.wait(LATER_S)
                time.sleep(max(0.0, began + LATER_S - time.monotonic()))
                make_fault(lab, "heal")
                self._heard(run, client)
            _settle(lab, taps)
            flows = flows_of(lab, taps.primary)
            status = lab.status()
        primaries, backups = taps.primary_streams(), taps.backup_streams()
        if not primaries:
            raise LabError(f"no client was answered: {run.said or 'it said nothing'}\n{taps.logs()}")
        run.connections = compare(primaries, backups, flows, [key for key in primaries if key not in before])
        groups = [group for node in status["nodes"] for group in node["groups"]]
        run.divergences = sum(int(group["divergences"]) for group in groups)
        return run

    def prepare(self, host: Host) -> None:
        """Put the files where a node's server begins."""
        place = host.home / Path(PLACE).relative_to("/")
        if self.files is None:
            place.mkdir()
        else:
            shutil.copytree(self.files, place, symlinks=True)

    def prepare_by_calls(self, host: Host) -> None:
        """... and join both copies by a log of their calls: one file, under two names."""
        self.prepare(host)
        log, own = log_of(host.home.parent), host.home / Path(LOG).relative_to("/")
        if not log.exists():
            calls.make(log)
        own.hardlink_to(log)
        words = calls.environment(Path(LOG), "leader" if host.name == LEADER else "follower", {})
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in words.items())
        launcher = host.home / Path(JOINED).relative_to("/")
        launcher.write_text(f'#!/bin/sh\n{exports}exec {calls.AS_ONE} "$@"\n')
        launcher.chmod(0o755)

    @contextlib.contextmanager
    def _speaking(self, lab: Lab) -> Iterator[subprocess.Popen[str]]:
        client = lab.popen(
            CLIENT, self.given.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        with client:
            try:
                yield client
            except BaseException:
                client.kill()
                raise

    def _speak(self, lab: Lab, run: Run) -> None:
        with self._speaking(lab) as client:
            self._heard(run, client)

    def _heard(self, run: Run, client: subprocess.Popen[str]) -> None:
        try:
            said, _ = client.communicate(timeout=self.given.patience_s)
        except subprocess.TimeoutExpired:
            raise LabError(f"the client has not ended within {self.given.patience_s:g} s") from None
        run.said = said.strip()[-2000:]
        run.statuses.append(client.returncode)


class Taps:
    """What both nodes' stacks say, while a `with` block runs."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.primary, self._backup = lab.node_in_role("primary"), lab.node_in_role("backup")
        self._running: list[subprocess.Popen[str]] = []
        self._kept: dict[str, dict[Key, Any]] = {}

    def _file(self, node: str) -> Path:
        return self._lab.home / node / "tap"

    def __enter__(self) -> Taps:
        environment = ["env", f"PYTHONPATH={ROOT}"]
        for node in (self.primary, self._backup):
            words = [sys.executable, "-m", "lab.probe.tap", str(self._file(node)), SERVICE4, SERVICE6]
            tap = self._lab.popen(
                node, [*environment, *words], cwd="/", text=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            self._running.append(tap)
            assert tap.stdout and tap.stderr
            if tap.stdout.readline().strip() != "ready":
                raise LabError(
                    f"host {node}: what its server says cannot be seen: {tap.stderr.read().strip()}"
                )
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for tap in self._running:
            tap.terminate()
        lost = ""
        for tap in self._running:
            lost += tap.communicate(timeout=SETTLE_S)[1]
        for node in (self.primary, self._backup):
            self._kept[node] = dict(streams(read(self._file(node))))
        if lost and kind is None:
            raise LabError(f"not all that the servers said could be taken; give less input ({lost.strip()})")

    def size(self) -> tuple[int, ...]:
        """How much was seen until now."""
        return tuple(self._file(node).stat().st_size for node in (self.primary, self._backup))

    def primary_streams(self) -> dict[Key, Any]:
        """What the primary's copy has said."""
        return self._kept.get(self.primary) or streams(read(self._file(self.primary)))

    def backup_streams(self) -> dict[Key, Any]:
        """What the backup's copy has said."""
        return self._kept.get(self._backup) or streams(read(self._file(self._backup)))

    def logs(self) -> str:
        """The end of the primary's log."""
        return "\n".join(self._lab.log(self.primary).read_text(errors="replace").splitlines()[-15:])


def flows_of(lab: Lab, node: str) -> dict[tuple[str, int, int], dict[str, Any]]:
    """What the engine of a node tells of the connections, by client, its port and the service's."""
    listed = lab.ask(node, {"op": "connections", "all": True, "limit": 100_000}, 5.0)["connections"]
    found = {}
    for flow in listed:
        client, _, service = flow["flow"].partition(" > ")
        address, _, port = client.rpartition(":")
        service_port = service.rpartition(":")[2].partition("/")[0]
        if service_port.isdecimal():
            found[address.strip("[]"), int(port), int(service_port)] = flow
    return found


def _settle(lab: Lab, taps: Taps) -> None:
    """Wait until both copies have nothing more to say: every connection is over, or nothing moves."""
    seen: tuple[int, ...] = ()
    since = time.monotonic()

    def at_rest() -> bool:
        nonlocal seen, since
        if (now := taps.size()) != seen:
            seen, since = now, time.monotonic()
        over = all(flow["closed"] for node in lab.nodes() for flow in flows_of(lab, node).values())
        return time.monotonic() - since > (QUIET_S / 5 if over else QUIET_S)

    await_condition(at_rest, SETTLE_S, "the end of what the servers say", interval_s=0.05)


@contextlib.contextmanager
def removed_for_certain(lab: Lab) -> Iterator[None]:
    """Remove the lab at the end of the block, and also when this process is killed."""
    words = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "lab.probe.sweep", lab.name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True):  # the end closes its stdin
        try:
            yield
        finally:
            lab.down()


def log_of(home: Path) -> Path:
    """Where the log of calls of a lab is; it goes with the lab. Hosts do not see this place."""
    return home / "calls"


def steps_of(lab: Lab) -> Path:
    """Where the client finds what it is to say again; it goes with the lab."""
    return lab.home / CLIENT / "steps"


def generated(port: int, connections: int, at_once: int, tls: bool, replay: Path | None = None) -> list[str]:
    """The command of the client that says what is generated, or recorded."""
    words = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "lab.probe.client", SERVICE4, str(port)]
    words += ["--connections", str(connections), "--at-once", str(at_once), *(["--tls"] if tls else [])]
    return words + (["--replay", str(replay)] if replay is not None else [])
