"""One group's server as the role machine sees it: healthy or not, and why.

Brings together the processes (run or watched), the probes, progress, and resources. Nothing here waits in the
loop: looking happens in a thread, one look at a time; death is told in the turn of the loop that notices it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fttcp.ownership.model import Cause, Role
from fttcp.server import procfs, resources
from fttcp.server.hooks import Hooks
from fttcp.server.probes import Prober
from fttcp.server.progress import Finding, Progress, Sample
from fttcp.server.readiness import Readiness
from fttcp.server.resources import Backlog, Usage
from fttcp.server.rounds import Conclusion, Facts, Look, Rounds
from fttcp.server.sampler import Place, Sampler, bound
from fttcp.server.server import Server
from fttcp.server.settings import HealthSection, HooksSection, ProbeSection, RestartSection
from fttcp.server.verdict import Check, Note, OnChange, State, Verdict
from fttcp.server.workers import Workers

_LISTEN_POLL_S = 0.02
_DOUBT = 10
"""Times ``hang_after_ms``: so long a machine without time for its looks may take to know of a hang."""
_LOOK_LEAST_S = 0.01
_RESTS = "not started: it is when this node is to serve (standby)"
_FOLLOWS = "does what the primary's server has done, and waits for more"

_CHECKS = (
    ("hang", "progress", Cause.SERVER_HUNG),
    ("stall", "progress", Cause.SERVER_HUNG),
    ("backlog", "resource", Cause.RESOURCES_EXHAUSTED),
    ("memory", "resource", Cause.RESOURCES_EXHAUSTED),
    ("files", "resource", Cause.RESOURCES_EXHAUSTED),
    ("host-memory", "resource", Cause.RESOURCES_EXHAUSTED),
)
_ACTIONS = {
    "hang": "hang_action",
    "stall": "stall_action",
    "backlog": "backlog_action",
    "memory": "memory_action",
    "files": "fd_action",
    "host-memory": "host_available_action",
}


@dataclass(frozen=True, slots=True)
class _Resources:
    memory: Usage | None
    files: Usage | None
    backlog: str | None
    overflows: int
    available_mib: float
    unheard: list[Place]


class Health:
    """The health of one group's server."""

    def __init__(
        self,
        server: Server,
        settings: HealthSection,
        ports: Sequence[tuple[int, int, str]],
        address: str,
        hang_after_ms: int,
        hooks: Hooks,
        on_change: OnChange,
        note: Note,
        on_known: Callable[[int, bool], None] = lambda run, ready: None,
        on_crash: Callable[[str], None] = lambda why: None,
        on_bound: Callable[[Sequence[str]], None] = lambda ports: None,
        addresses: Sequence[str] = (),
        on_unheard: Callable[[Sequence[Place]], None] = lambda places: None,
        start_within_s: float = 60.0,
        on_stuck: Callable[[str], bool] = lambda why: False,
        on_doubt: Callable[[float], None] = lambda for_s: None,
        rounds: Rounds | None = None,
        follows: Callable[[], bool] = lambda: False,
        on_listens: Callable[[], None] = lambda: None,
    ) -> None:
        """``address``: where probes find the server; ``addresses``: all of the group. Called in the loop:
        ``on_change``; ``on_known`` with the number of the server's start and whether it could follow another
        node's; ``on_crash`` when one of its workers was killed; ``on_bound`` with the ports on which it takes
        packets from one interface only, each time when it is seen to listen; ``on_unheard`` again and again
        with all places where clients may speak and nobody listens; ``on_stuck`` when a server that was woken
        is not up after ``start_within_s``: true if it was awaited, and counts as unfit for as long again;
        ``on_doubt`` when the server begins to look as if it hung, with the seconds in which that is known at
        the latest, and with 0 when it does not look so any more; ``on_listens`` when it is seen to listen.
        ``rounds``: of all groups of the node. ``follows``: whether the server does call by call what another
        one has done: until it is told that, it waits, and is fit."""
        self._server, self._hooks, self._note = server, hooks, note
        self._verdict = Verdict(on_change, note, lambda: self._restart(failed=True))
        self._sampler = Sampler(ports, addresses)
        self._address = address
        self._numbers = {proto: first for first, last, proto in sorted(ports, key=_first_asked, reverse=True)}
        self._rounds = rounds or Rounds()
        self._listening = False
        self._bound: list[str] = []
        self._readiness = Readiness(hooks, on_known, note)
        self._workers = Workers(on_crash)
        self._follows, self._on_listens = follows, on_listens
        self._on_bound, self._on_unheard = on_bound, on_unheard
        self._on_doubt, self._doubtful = on_doubt, False
        self._start_within_s, self._on_stuck = start_within_s, on_stuck
        self._timer: asyncio.TimerHandle | None = None
        """Of a server that was woken, or did not come up in time."""
        self._unfit = self._lacking = ""
        """Why a server that rests is not fit: the first for a while, the second until it is told better."""
        self._weigh_s = 0.0
        self._calm: tuple[Progress, Sample, str] | None = None
        """What the last look has seen, if there is nothing in it that may become wrong with time."""
        self._role: Role | None = None
        self.resting = False
        """The server does not run, and is not to: it would be started if this node were to serve."""
        self._checks = {
            name: self._verdict.add(Check(name, kind, "ignore", cause)) for name, kind, cause in _CHECKS
        }
        self._probers: list[Prober] = []
        self._settings, self._hang_s = settings, hang_after_ms / 1000
        self._progress, self._backlog = self._new_progress(), Backlog(settings.backlog_after_ms / 1000)
        self._use(settings, hang_after_ms)

    def configure(
        self, settings: HealthSection, restart: RestartSection, hooks: HooksSection, hang_after_ms: int
    ) -> None:
        """Use these settings from now on. A healthy server stays so until it fails a check, what is known of
        it by checks that did not change is kept; one that is not started any more is tried again."""
        other_hook = self._hooks.of("ready_to_follow") != hooks.ready_to_follow
        self._hooks.configure(hooks)
        self._start_within_s = restart.start_within_s
        self._forgive()
        self._server.configure(restart)
        self._server.retry()
        self._use(settings, hang_after_ms)
        if other_hook and self._listening and self._role is not Role.PRIMARY:
            self._readiness.ask(believed=True)

    def _use(self, settings: HealthSection, hang_after_ms: int) -> None:
        self._settings, self._hang_s = settings, hang_after_ms / 1000
        for name, key in _ACTIONS.items():
            self._checks[name].action = getattr(settings, key)
        self._progress.configure(self._hang_s, settings.stall_after_ms / 1000)
        self._backlog.configure(settings.backlog_after_ms / 1000)
        with self._verdict.changing():
            self._use_probes(settings.probe)

    def _use_probes(self, probes: Sequence[ProbeSection]) -> None:
        """Ask these. One that is as before goes on with what it knows; one that is not begins with what is
        known of the server."""
        trusted = self._verdict.healthy or self._verdict.serves
        before = list(self._probers)
        kept = {id(probe): _taken(before, probe) for probe in probes}
        for prober in before:
            prober.cancel()
            self._verdict.remove(prober.check)
        self._probers = [kept[id(probe)] or self._prober(probe) for probe in probes]
        for prober in self._probers if self._listening else ():
            if prober not in kept.values():
                prober.begin(trusted)

    def _prober(self, probe: ProbeSection) -> Prober:
        port = self._numbers.get("udp" if probe.type == "udp" else "tcp", 0)
        return Prober(probe, self._address, port, self._verdict)

    def shown(self) -> dict[str, Any]:
        """As in ``status --json``: docs/status.md tells the fields."""
        pids, verdict = self._server.pids, self._verdict
        return {
            "pid": pids[0] if pids else None,
            "pids": pids,
            "resting": self.resting,
            "healthy": verdict.healthy,
            "since": verdict.since.isoformat(timespec="milliseconds"),
            "reason": verdict.reason,
            "workers": len(self._workers),
            "restarts": self._server.restarts,
            "gave_up": self._server.gave_up,
            "checks": verdict.shown(),
            "follow": self._readiness.shown(),
            "bound": self._bound,
        }

    @property
    def ours(self) -> bool:
        """Whether the server can be ended and started."""
        return self._server.ours

    @property
    def healthy(self) -> bool:
        """The verdict."""
        return self._verdict.healthy

    @property
    def pids(self) -> list[int]:
        """The server's main processes."""
        return self._server.pids

    @property
    def reason(self) -> str:
        """Why, for people."""
        return self._verdict.reason

    @property
    def lacks(self) -> str:
        """What the server lacks to follow another one, for people; '' if nothing, or if not asked yet."""
        return self._readiness.why

    # ------------------------------------------------------------------ orders

    def start(self) -> None:
        """Start or find the server, and look after it; one that rests is started when it is woken."""
        self._server.start(self)
        self._rounds.join(self)

    def restart(self, failed: bool = False) -> None:
        """The server's connections are continued nowhere: have it begin anew. ``failed``: it was not fit."""
        self._restart(failed)

    def rest(self) -> None:
        """This node does not serve: the server ends, and is fit all the same, if it came up the last time."""
        self.resting = True
        self._later(self._forgive if self._unfit else None)
        self._server.rest()
        self.server_ended("")

    def hold(self, why: str) -> None:
        """While it rests, it is not fit for this; '' ends that."""
        self._lacking = why
        if self.resting:
            self._verdict.serve(*self._at_rest)

    @property
    def _at_rest(self) -> tuple[bool, Cause, str]:
        """What is to be said of a server that rests."""
        why = self._unfit or self._lacking
        return not why, Cause.SERVER_DIED, why or _RESTS

    def wake(self) -> None:
        """This node is to serve: the server starts, if it rests."""
        if self.resting:
            self.resting = self._listening = False
            self._later(self._look_whether_up)
            for prober in self._probers:
                self._verdict.say(prober.check, State.WAITING, "the server does not run")
            self._verdict.serve(False, Cause.SERVER_DIED, "it starts")
            self._server.wake()

    def refuse(self, why: str) -> None:
        """The server that was to start must not: it rests on, and is unfit for a while."""
        self._unfit = why
        self._verdict.serve(False, Cause.SERVER_DIED, why)

    def _look_whether_up(self) -> None:
        """As long as it is awake: its first start, or another one, may be awaited."""
        within_s, reason = self._start_within_s, self._verdict.reason
        self._later(self._look_whether_up)
        if not self._verdict.healthy:
            self._unfit = f"it was not up within {within_s:g} s when this node was to serve: {reason}"
            if not self._on_stuck(self._unfit):
                self._unfit = ""

    def _forgive(self) -> None:
        """What did not come up in time may do so another time."""
        self._unfit = ""
        if self.resting:
            self._verdict.serve(*self._at_rest)

    def _later(self, do: Callable[[], None] | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if do is None else loop.call_later(self._start_within_s, do)

    def _restart(self, failed: bool) -> None:
        if self._server.restart(failed):
            self._workers.forget()
            self._listening = False
            why = self._verdict.reason if failed else "restarted: its connections are continued nowhere"
            self._verdict.serve(False, Cause.SERVER_DIED, why)

    def role_changed(self, role: Role, epoch: int, cause: str) -> None:
        """This node has a new role: run the hooks for that, behind everything else."""
        before, self._role = self._role, role
        self._hooks.role_changed(before, role, epoch, cause)
        if before is Role.PRIMARY and role is not before and self._listening:
            self._readiness.ask()  # it was not restarted: whether it may follow is another question now

    def restore_record(self) -> bool:
        """Write the record of the servers again, if it is gone; say whether it was."""
        return self._server.restore_record()

    async def stop(self) -> None:
        """End the server, if it is ours, and everything here."""
        self._verdict.closed = True
        self._later(None)
        self._workers.forget()
        looked_at = await self._rounds.leave(self)
        for prober in self._probers:
            await prober.close()
        await self._server.stop()
        await self._readiness.close()
        await self._hooks.close()
        if not looked_at:  # else a thread that is stuck has its sockets
            self._sampler.close()

    # ------------------------------------------------------------------ what the server tells

    def server_started(self) -> None:
        """All processes run: wait until they listen."""
        self._listening = False
        self._readiness.started()
        self._progress = self._new_progress()
        self._doubt(False)
        if self._follows():
            self._readiness.ask()
            self._verdict.serve(True, Cause.SERVER_DIED, _FOLLOWS)

    def server_ended(self, reason: str) -> None:
        """A process is gone."""
        self._workers.forget()
        self._listening = False
        self._on_unheard([])
        self._readiness.ended()
        self._doubt(False)
        with self._verdict.changing():
            self._verdict.serve(*(self._at_rest if self.resting else (False, Cause.SERVER_DIED, reason)))
            for prober in self._probers:
                prober.end()
                if self.resting:
                    self._verdict.say(prober.check, State.OK, _RESTS)
            for check in self._checks.values():
                self._verdict.say(check, State.WAITING, "the server does not run")

    def server_down(self, reason: str, final: bool) -> None:
        """What is known about it by now."""
        if self.resting:
            return
        self._verdict.serve(False, Cause.SERVER_DIED, reason)
        if final:
            self._note("server-given-up", "error", reason=reason)

    # ------------------------------------------------------------------ looking

    def _new_progress(self) -> Progress:
        return Progress(self._hang_s, self._settings.stall_after_ms / 1000)

    def next_look(self) -> tuple[Look | None, float]:
        """See ``Looked``."""
        pids = self._server.pids
        if not self._server.complete:
            return None, _LISTEN_POLL_S
        if not self._listening:
            return partial(self._look_for_ports, pids), _LISTEN_POLL_S
        now_s, interval_s = time.monotonic(), self._settings.resources_interval_ms / 1000
        if weighs := now_s >= self._weigh_s:
            self._weigh_s = (now_s // interval_s + 1) * interval_s
        return partial(self._look, pids, self._progress, weighs), max(_LOOK_LEAST_S, self._hang_s / 4)

    def look_failed(self, error: Exception) -> None:
        """See ``Looked``: it is told, and tried again."""
        self._note("health-failed", "error", why=f"{type(error).__name__}: {error}")

    def _look_for_ports(self, pids: Sequence[int], facts: Facts) -> Conclusion:
        missing, listeners = self._sampler.not_served(pids, facts)
        return partial(self._conclude_ports, pids, missing, bound(listeners))

    def _conclude_ports(self, pids: Sequence[int], missing: str, ports: list[str]) -> None:
        if pids != self._server.pids or not self._server.complete or (missing and self._follows()):
            return
        if missing:
            self._verdict.serve(False, Cause.SERVER_DIED, missing)
        else:
            self._listening, self._bound = True, ports
            self._on_bound(ports)
            self._on_listens()
            if ports:
                self._note("server-bound", "warning", ports=ports)
            if self._role is not Role.PRIMARY:
                self._readiness.ask()
            for prober in self._probers:
                prober.begin()
            self._verdict.serve(True, Cause.SERVER_DIED, "serving")

    def _look(self, pids: Sequence[int], progress: Progress, weighs: bool, facts: Facts) -> Conclusion | None:
        """Does it make progress? And, now and then: how near to its limits is it?"""
        sample = self._sampler.sample(pids, progress, facts)
        if not weighs and (progress, sample, self._sampler.blind) == self._calm:
            return None
        seen: _Resources | Exception | None = None
        if weighs:
            try:
                seen = self._read_resources(pids, facts)
            except Exception as error:  # whether it hangs is known all the same
                seen = error
        return partial(self._conclude, pids, progress, sample, seen)

    def _conclude(
        self, pids: Sequence[int], progress: Progress, sample: Sample, seen: _Resources | Exception | None
    ) -> None:
        if pids != self._server.pids or progress is not self._progress or not self._listening:
            return
        self._workers.watch(set(sample.family) - set(pids))
        finding = progress.judge(sample, time.monotonic())
        acts = self._checks["hang"].action in ("failover", "restart") and not self._follows()
        self._doubt(progress.doubtful and acts)
        self._conclude_progress(finding)
        calm = finding is None and sample.unread is None and not progress.doubtful
        self._calm = (progress, sample, self._sampler.blind) if calm else None
        if isinstance(seen, Exception):
            self.look_failed(seen)
        elif seen is not None:
            self._conclude_resources(seen)
            self._on_unheard(seen.unheard)

    def _doubt(self, doubtful: bool) -> None:
        if doubtful != self._doubtful:
            self._doubtful = doubtful
            self._on_doubt(_DOUBT * self._hang_s if doubtful else 0)

    def _conclude_progress(self, finding: Finding | None) -> None:
        kind = "" if finding is None else finding.kind
        if kind != "stopped" and self._follows():
            kind = ""  # it waits for the other one
        hung = finding if kind not in ("", "stalled") else None
        stalled = finding if kind == "stalled" else None
        fine = self._sampler.blind or "reads its input"
        self._say("hang", hung.reason if hung else None, fine)
        self._say("stall", stalled.reason if stalled else None, fine)

    def _say(self, name: str, wrong: str | None, fine: str, **last: Any) -> None:
        """A check has this result."""
        check = self._checks[name]
        if wrong is None or check.action == "ignore":
            self._verdict.say(check, State.OK, fine, **last)
        else:
            self._verdict.say(check, State.FAILED, wrong, **last)

    # ------------------------------------------------------------------ weighing

    def _read_resources(self, pids: Sequence[int], facts: Facts) -> _Resources:
        relatives = list(facts.once(("tree", *pids), lambda: procfs.tree(pids)))
        settings, listeners = self._settings, self._sampler.listeners(facts)
        return _Resources(
            facts.once(
                ("memory", settings.memory_limit_mib, *pids),
                lambda: resources.tightest(resources.memory(relatives, settings)),
            ),
            facts.once(("files", *pids), lambda: resources.tightest(resources.files(relatives))),
            self._backlog.judge(listeners, time.monotonic()),
            facts.once("overflows", resources.listen_overflows),
            facts.once("available", procfs.host_available_bytes) / resources.MIB,
            self._sampler.unheard(listeners),
        )

    def _conclude_resources(self, seen: _Resources) -> None:
        settings = self._settings
        fine = "no queue is full" if settings.backlog_action != "ignore" else "ignored"
        self._say("backlog", seen.backlog, fine, listen_overflows=seen.overflows)
        self._say_usage("memory", seen.memory, settings.memory_percent, "MiB")
        self._say_usage("files", seen.files, settings.fd_percent, "")
        least, available = settings.host_available_mib, seen.available_mib
        low = (
            f"this host has {available:.0f} MiB of memory left, less than {least}"
            if available < least
            else None
        )
        self._say("host-memory", low, f"{available:.0f} MiB available", available_mib=round(available))

    def _say_usage(self, name: str, usage: Usage | None, percent: int, unit: str) -> None:
        if usage is None:
            self._say(name, None, "no limit is set")
            return
        text = (
            f"{usage.what}: {usage.used:.0f} of {usage.most:.0f} {unit}".rstrip()
            + f" ({usage.percent:.0f} %)"
        )
        wrong = text if percent and usage.percent >= percent else None
        self._say(name, wrong, text, used=round(usage.used, 1), most=round(usage.most, 1))


def _taken(probers: list[Prober], probe: ProbeSection) -> Prober | None:
    """Take the one that asks this out of the list, if there is one."""
    found = next((prober for prober in probers if prober.probe == probe), None)
    if found is not None:
        probers.remove(found)
    return found


def _first_asked(ports: tuple[int, int, str]) -> tuple[bool, int]:
    """Probes ask the smallest single port, or, without one, the first of a range."""
    return ports[0] != ports[1], ports[0]
