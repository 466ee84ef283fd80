"""A group's resources as the role machine sees them: all run, or not, and why.

One task does one act at a time, as ladder.py says. Orders never wait for it. What is under way when this
node is not to serve any more is ended, but for a stop.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from fttcp.ownership.model import Cause, Role
from fttcp.server.agents.agent import Agent
from fttcp.server.agents.ladder import Act, Ladder, Outcome, Rung, Step
from fttcp.server.hooks import Hooks
from fttcp.server.restart import RestartPolicy
from fttcp.server.settings import HealthSection, HooksSection, RestartSection
from fttcp.server.verdict import Check, Note, OnChange, State, Verdict

_AGAIN_S = 5.0
"""Until a stop that failed, or what the loop itself could not do, is tried again."""
_CLOSES_S = 60.0
"""So long a daemon that ends tries to stop one that does not. TimeoutStopSec of its unit is longer."""
_RESTS = "not started: it is when this node is to serve"
_STATES = {Rung.RUNNING: State.OK, Rung.FAILED: State.FAILED}

_T = TypeVar("_T")


@dataclass(slots=True)
class _Resource:
    """One resource: who looks after it, and what is shown of it."""

    agent: Agent
    check: Check = field(init=False)
    due_s: float = 0.0
    """When it is to be looked at again."""

    def __post_init__(self) -> None:
        section = self.agent.section
        self.check = Check(
            section.name, section.kind, "failover", Cause.SERVER_DIED, reason="not looked at yet"
        )


class Resources:
    """What only the node that serves runs; same face as Health."""

    def __init__(
        self,
        agents: Sequence[Agent],
        settings: RestartSection,
        hooks: Hooks,
        on_change: OnChange,
        note: Note,
        on_known: Callable[[int, bool], None],
        on_stuck: Callable[[str], bool],
        unheard: Callable[[], Sequence[str]],
    ) -> None:
        """Called in the loop: ``on_change``; ``on_known`` with a number while any of them may run, and 0 when
        none does; ``on_stuck`` when they do not start: true if this node was to serve by them, and gives that
        up. Then it counts as unfit for ``start_within_s``. ``unheard``: returns the other nodes that are not
        heard, which may run them still."""
        self._resources = [_Resource(agent) for agent in agents]
        self._ladder = Ladder(len(agents))
        self._settings, self._policy = settings, RestartPolicy(settings)
        self._hooks, self._note = hooks, note
        self._on_known, self._on_stuck, self._unheard = on_known, on_stuck, unheard
        self._verdict = Verdict(on_change, note, lambda: None)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._cancellable: asyncio.Task[Any] | None = None
        """A start, a look, or the hook before all starts."""
        self._stirred = asyncio.Event()
        """Something was ordered: what waits looks again."""
        self._admitted = False
        """The hook before all starts has succeeded."""
        self._closing_until_s: float | None = None
        self._run = 0
        self._up_s = 0.0
        self._unfit = self._lacking = ""
        """Why this node is not to serve: the first for a while, the second until it is told better."""
        self._timer: asyncio.TimerHandle | None = None
        self._role: Role | None = None
        self.resting = False

    def configure(
        self, settings: HealthSection, restart: RestartSection, hooks: HooksSection, hang_after_ms: int
    ) -> None:
        """Use these from now on; what was given up is tried again."""
        self._settings = restart
        self._policy.configure(restart)
        self._hooks.configure(hooks)
        self._forgive()

    @property
    def ours(self) -> bool:
        """They can be stopped and started."""
        return True

    @property
    def healthy(self) -> bool:
        """The verdict."""
        return self._verdict.healthy

    @property
    def pids(self) -> list[int]:
        """None that are known: agents tell of no processes."""
        return []

    @property
    def reason(self) -> str:
        """Why, for people."""
        return self._verdict.reason

    @property
    def lacks(self) -> str:
        """Nothing: there is nothing to follow."""
        return ""

    def shown(self) -> dict[str, Any]:
        """As in ``status --json``: docs/status.md tells the fields."""
        return {
            "pid": None,
            "pids": [],
            "resting": self.resting,
            "healthy": self._verdict.healthy,
            "since": self._verdict.since.isoformat(timespec="milliseconds"),
            "reason": self._verdict.reason,
            "workers": 0,
            "restarts": self._policy.total,
            "gave_up": self._policy.gave_up,
            "checks": [one.check.shown() for one in self._resources],
            "follow": {"ready": True, "why": ""},
            "bound": [],
        }

    # ------------------------------------------------------------------ orders

    def start(self) -> None:
        """Look what runs, and stop it unless this node is to serve."""
        self._know(secrets.randbits(63) | 1)
        self._judge()
        self._task = self._loop.create_task(self._live())

    def restart(self, failed: bool = False) -> None:
        """Nothing: no connection is continued anywhere."""

    def rest(self) -> None:
        """This node does not serve: stop what runs, in reverse."""
        self.resting = True
        self._want(False)

    def wake(self) -> None:
        """This node is to serve: start them in order."""
        if self.resting:
            self.resting = self._admitted = False
            self._forgive()
            self._want(True)

    def hold(self, why: str) -> None:
        """While they rest, this node is not fit for this; '' ends that."""
        self._lacking = why
        self._judge()

    def refuse(self, why: str) -> None:
        """They must not start: they rest on, and this node is unfit for a while."""
        self._spurn(why)

    def role_changed(self, role: Role, epoch: int, cause: str) -> None:
        """This node has a new role: run the hooks for that, behind everything else."""
        before, self._role = self._role, role
        self._hooks.role_changed(before, role, epoch, cause)

    def restore_record(self) -> bool:
        """There is none: agents find what runs by looking."""
        return False

    async def stop(self) -> None:
        """Stop what runs, in reverse; what does not stop is tried again for a minute. As long as one runs the
        other node is told so."""
        self._verdict.closed = True
        self._closing_until_s = self._loop.time() + _CLOSES_S
        self._want(False)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await self._task
        await self._hooks.close()

    def _want(self, wanted: bool) -> None:
        self._ladder.want(wanted)
        if not wanted and self._cancellable is not None:
            self._cancellable.cancel()
        self._judge()
        self._stirred.set()

    def _spurn(self, why: str) -> None:
        self._unfit = why
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._settings.start_within_s, self._forgive)
        self._judge()

    def _forgive(self) -> None:
        """What failed may succeed another time."""
        self._unfit = ""
        if self._timer is not None:
            self._timer.cancel()
        self._policy.forgive()
        self._ladder.again()
        self._judge()
        self._stirred.set()

    # ------------------------------------------------------------------ what is known

    def _know(self, run: int) -> None:
        if run != self._run:
            self._run = run
            self._on_known(run, True)

    def _judge(self) -> None:
        ladder = self._ladder
        if self.resting:
            why = self._unfit or self._lacking or ladder.absent or ladder.stuck
            self._verdict.serve(not why, Cause.SERVER_DIED, why or _RESTS)
        else:
            why = ladder.broken or "they start"
            self._verdict.serve(self._up, Cause.SERVER_DIED, "serving" if self._up else why)

    # ------------------------------------------------------------------ the one task

    async def _live(self) -> None:
        while True:
            try:
                while not self._ended:
                    await self._turn()
                return
            except Exception as error:
                self._note("health-failed", "error", why=f"{type(error).__name__}: {error}")
                await self._pause(_AGAIN_S)

    @property
    def _ended(self) -> bool:
        until_s = self._closing_until_s
        if until_s is None:
            return False
        return self._ladder.down or (bool(self._ladder.stuck) and self._loop.time() >= until_s)

    @property
    def _up(self) -> bool:
        return self._admitted and self._ladder.up

    async def _turn(self) -> None:
        """Do the next thing, or wait until there is one."""
        ladder = self._ladder
        self._stirred.clear()
        step = ladder.next()
        climbs = ladder.up or (step is not None and step.act is Act.START)
        if climbs and ladder.wanted and not self._admitted:
            await self._admit()
        elif step is not None:
            await self._take(step)
            if ladder.stuck and not self._ended:
                await self._pause(_AGAIN_S)
        elif ladder.up:
            await self._watch()
        elif ladder.wanted:
            await self._try_again()
        else:
            await self._pause(self._settings.start_within_s if ladder.absent else None)
            ladder.again()

    async def _admit(self) -> None:
        """Nothing starts, or counts as up, before the operator's program has succeeded: an address was moved,
        a host fenced."""
        for peer in () if self._hooks.has("wait_for") else self._unheard():
            self._note("resources-unfenced", "warning", peer=peer)
        why = await self._until_unwanted(self._hooks.why_not("wait_for"))
        if why is None:
            self._admitted = self._ladder.wanted
            self._judge()
        elif why and self._ladder.wanted:
            self._note("hook-failed", "error", hook="wait_for", why=why)
            self._ladder.broken = f"the hook wait_for failed, so nothing was started: {why}"
            self._failed()

    async def _take(self, step: Step) -> None:
        """Do one act, and see what follows from it."""
        ladder, one, begun_s = self._ladder, self._resources[step.index], self._loop.time()
        broken, up = ladder.broken, self._up
        if step.act is Act.START:
            self._know(self._run or secrets.randbits(63) | 1)
        work = one.agent.act(step.act, ladder.rungs[step.index] is Rung.UNKNOWN)
        outcome: Outcome | None
        try:
            ended = await (work if step.act is Act.STOP else self._until_unwanted(work))
            outcome = None if isinstance(ended, str) else ended
        except Exception as error:  # a fault of ours: nobody knows what it has left
            outcome = Outcome(Rung.FAILED, f"its {step.act}: {type(error).__name__}: {error}")
        ladder.done(step, outcome)
        self._tell(step, outcome, self._loop.time() - begun_s)
        one.due_s = self._loop.time() + one.agent.section.interval_s
        if self._up and not up:
            self._up_s = self._loop.time()
        if ladder.down:
            self._know(0)
        elif ladder.any:
            self._know(self._run or secrets.randbits(63) | 1)
        self._judge()
        if ladder.broken and not broken and ladder.wanted:
            self._failed()

    def _tell(self, step: Step, outcome: Outcome | None, took_s: float) -> None:
        check, rung = self._resources[step.index].check, self._ladder.rungs[step.index]
        state, before = _STATES.get(rung, State.WAITING), check.state
        why = "interrupted" if outcome is None else outcome.why or rung.value
        if (state, why) != (before, check.reason):
            check.state, check.reason, check.since = state, why, datetime.now(UTC)
        took = {"resource": check.name, "took_ms": round(1000 * took_s)}
        if outcome is None:
            return
        if step.act is Act.STOP and rung is Rung.FAILED:
            check.failures += 1
            self._note("resource-stuck", "error", resource=check.name, why=outcome.why)
        elif outcome.why and self._ladder.broken == outcome.why:
            check.failures += 1
            self._note("resource-failed", "error", resource=check.name, act=step.act.value, why=outcome.why)
        elif step.act is Act.STOP:
            self._note("resource-stopped", "info", **took)
        elif rung is Rung.STARTED:
            self._note("resource-started", "info", **took)

    def _failed(self) -> None:
        """Something does not run that should. Who was to serve gives that up; who serves starts anew."""
        why = self._ladder.broken
        if self._on_stuck(why):
            self._ladder.wanted = False
            self._spurn(why)

    async def _watch(self) -> None:
        """All run: look at the one whose turn is next."""
        index = min(range(len(self._resources)), key=lambda i: self._resources[i].due_s)
        wait_s = self._resources[index].due_s - self._loop.time()
        if wait_s > 0:
            await self._pause(wait_s)
        else:
            await self._take(Step(index, Act.STATUS))

    async def _try_again(self) -> None:
        """All are down since one has failed: start anew as the restart policy says."""
        now_s = self._loop.time()
        ran_s, self._up_s = now_s - self._up_s if self._up_s else 0.0, 0.0
        delay_s = self._policy.ended(ran_s, True, now_s)
        if delay_s is None:
            self._note("server-given-up", "error", reason=self._ladder.broken)
        await self._pause(delay_s)
        self._ladder.again()

    async def _pause(self, seconds: float | None) -> None:
        """Wait until something is ordered, at most so long; None: as long as that takes."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return

    async def _until_unwanted(self, work: Coroutine[Any, Any, _T]) -> _T | str:
        """Do it to its end, or until this node is not to serve any more: then ''."""
        self._cancellable = self._loop.create_task(work)
        try:
            await asyncio.wait([self._cancellable])
            return "" if self._cancellable.cancelled() else self._cancellable.result()
        finally:
            self._cancellable = None
