"""Who looks after a resource: commands of the operator, systemd, or an OCF agent.

Each act is one program that ends in time, or is killed with all that it has started.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Protocol

from fttcp.server.agents import ocf
from fttcp.server.agents.ladder import Act, Outcome, Rung
from fttcp.server.agents.settings import ResourceSection
from fttcp.server.launch import Finished, LaunchError, NoProgram, run

DEFAULT_TIMEOUT_S = 20.0
_META_DATA_S = 10.0
_META_DATA_MOST = 1 << 20
_ACTIONS = {Act.START: "start", Act.STOP: "stop", Act.STATUS: "monitor"}
_UNIT_STATES = {
    "active": Rung.RUNNING,
    "reloading": Rung.RUNNING,
    "refreshing": Rung.RUNNING,
    "inactive": Rung.STOPPED,
    "failed": Rung.STOPPED,
}
_AFTER = {Act.START: Rung.STARTED, Act.STOP: Rung.STOPPED, Act.STATUS: Rung.RUNNING}


class Agent(Protocol):
    """Looks after one resource."""

    @property
    def section(self) -> ResourceSection:
        """What the configuration says of it."""

    async def act(self, act: Act, probe: bool) -> Outcome:
        """Do it; ``probe``: nobody knows whether it runs. Returns in bounded time; when it is cancelled
        nothing of it runs on."""


def agent_of(section: ResourceSection, environment: Mapping[str, str]) -> Agent:
    """Return who looks after a resource. ``environment``: what every program is told."""
    if section.agent is not None:
        return OcfAgent(section, section.agent, environment)
    if section.unit is not None:
        return Unit(section, section.unit, environment)
    commands = [shlex.split(command or "") for command in section.commands]
    return Programs(section, dict(zip((Act.START, Act.STOP, Act.STATUS), commands, strict=True)), environment)


def _asked(section: ResourceSection, act: Act) -> int | None:
    """The timeout that the configuration has, if it has one."""
    timeouts = {
        Act.START: section.start_timeout_s,
        Act.STOP: section.stop_timeout_s,
        Act.STATUS: section.status_timeout_s,
    }
    return timeouts[act]


def _failed(act: Act, finished: Finished) -> Outcome:
    return Outcome(Rung.FAILED, f"its {act} {finished.shown()}")


class Programs:
    """A program for each act. Status 0 is success; any other of ``status`` says that it does not run, and
    then it does not matter how ``stop`` has ended. Without the program of ``status`` it does not run, unless
    it was seen to."""

    def __init__(
        self, section: ResourceSection, argv: Mapping[Act, Sequence[str]], environment: Mapping[str, str]
    ) -> None:
        self.section = section
        self._argv, self._environment = argv, environment

    async def act(self, act: Act, probe: bool) -> Outcome:
        """See ``Agent``."""
        outcome = await self._done(act, probe)
        if act is Act.STOP and outcome.rung is Rung.FAILED:
            found = await self._done(Act.STATUS, False)
            return Outcome(Rung.STOPPED) if found.rung is Rung.STOPPED else outcome
        return outcome

    async def _done(self, act: Act, probe: bool) -> Outcome:
        timeout_s = _asked(self.section, act) or DEFAULT_TIMEOUT_S
        try:
            finished = await run(self._argv[act], timeout_s, self._environment, leave=True)
        except LaunchError as error:
            return _not_launched(act, probe, error)
        if act is Act.STATUS:
            return self._found(finished)
        return Outcome(_AFTER[act]) if finished.status == 0 else _failed(act, finished)

    def _found(self, finished: Finished) -> Outcome:
        """What the end of ``status`` means."""
        if finished.status == 0:
            return Outcome(Rung.RUNNING)
        if finished.status is not None and finished.status > 0:
            return Outcome(Rung.STOPPED, f"it does not run: its status {finished.shown()}")
        return _failed(Act.STATUS, finished)


class Unit(Programs):
    """A unit of systemd. One that is on its way up or down neither runs nor is it stopped."""

    def __init__(self, section: ResourceSection, unit: str, environment: Mapping[str, str]) -> None:
        argv = {
            Act.START: ["systemctl", "start", "--", unit],
            Act.STOP: ["systemctl", "stop", "--", unit],
            Act.STATUS: ["systemctl", "show", "--property=ActiveState", "--value", "--", unit],
        }
        super().__init__(section, argv, environment)

    def _found(self, finished: Finished) -> Outcome:
        if finished.status != 0:
            return _failed(Act.STATUS, finished)
        state = (finished.output.split() or ["unknown"])[-1]
        return Outcome(_UNIT_STATES.get(state, Rung.FAILED), f"systemd calls it {state}")


def _not_launched(act: Act, probe: bool, error: LaunchError) -> Outcome:
    """What has no program cannot run, unless it was seen to."""
    absent = act is Act.STATUS and probe and isinstance(error, NoProgram)
    return Outcome(Rung.FAILED, str(error), absent=absent)


class OcfAgent:
    """An OCF agent. Its meta-data is read before anything else, once."""

    def __init__(self, section: ResourceSection, agent: str, environment: Mapping[str, str]) -> None:
        self.section = section
        self._agent, self._environment = agent, environment
        self._known: ocf.MetaData | None = None

    async def act(self, act: Act, probe: bool) -> Outcome:
        """See ``Agent``."""
        try:
            path = ocf.find(self._agent)
            if self._known is None:
                self._known = await examined(self._agent, self.section.parameters)
        except ocf.AgentError as error:
            absent = act is Act.STATUS and probe and isinstance(error, ocf.NoAgent)
            return Outcome(Rung.FAILED, str(error), absent=absent)
        action = _ACTIONS[act]
        timeout_s = _asked(self.section, act) or self._known.timeouts.get(action) or DEFAULT_TIMEOUT_S
        interval_s = self.section.interval_s if act is Act.STATUS and not probe else 0
        told = ocf.environment(
            self._agent, self.section.name, self.section.parameters, action, timeout_s, interval_s
        )
        try:
            finished = await run([str(path), action], timeout_s, {**self._environment, **told}, leave=True)
        except LaunchError as error:
            return _not_launched(act, probe, error)
        return judged(act, probe, finished)


def judged(act: Act, probe: bool, finished: Finished) -> Outcome:
    """What the end of an action of an agent means."""
    status = finished.status
    if status == ocf.Exit.SUCCESS or (act is Act.STATUS and status == ocf.Exit.RUNNING_PROMOTED):
        return Outcome(_AFTER[act])
    meanings: Mapping[int | None, str] = {code.value: said for code, said in ocf.MEANINGS.items()}
    why = f"its {_ACTIONS[act]} {finished.shown()}" + (f" ({meanings[status]})" if status in meanings else "")
    if act is Act.STATUS and status == ocf.Exit.NOT_RUNNING:
        return Outcome(Rung.STOPPED, why)
    return Outcome(Rung.FAILED, why, absent=probe and act is Act.STATUS and status in ocf.ABSENT)


async def examined(agent: str, parameters: Mapping[str, ocf.Value]) -> ocf.MetaData:
    """Return the meta-data of an agent that takes these parameters. Raises AgentError."""
    path = ocf.find(agent)
    try:
        told = {"OCF_ROOT": ocf.root()}
        finished = await run([str(path), "meta-data"], _META_DATA_S, told, most=_META_DATA_MOST)
    except LaunchError as error:
        raise ocf.AgentError(str(error)) from error
    if finished.status != ocf.Exit.SUCCESS:
        raise ocf.AgentError(f"agent {agent}: its meta-data {finished.shown()}")
    known = ocf.read(agent, finished.output)
    if complaints := list(ocf.wrong(agent, parameters, known)):
        raise ocf.AgentError("; ".join(complaints))
    return known
