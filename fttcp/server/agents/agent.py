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
from fttcp.server.launch import Finished, LaunchError, run

DEFAULT_TIMEOUT_S = 20.0
_META_DATA_S = 10.0
_META_DATA_MOST = 1 << 20
_ACTIONS = {Act.START: "start", Act.STOP: "stop", Act.STATUS: "monitor"}
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
    unit = section.unit
    commands = (
        [shlex.split(command or "") for command in section.commands]
        if unit is None
        else [["systemctl", verb, "--", unit] for verb in ("start", "stop", "is-active")]
    )
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
    then it does not matter how ``stop`` has ended."""

    def __init__(
        self, section: ResourceSection, argv: Mapping[Act, Sequence[str]], environment: Mapping[str, str]
    ) -> None:
        self.section = section
        self._argv, self._environment = argv, environment

    async def act(self, act: Act, probe: bool) -> Outcome:
        """See ``Agent``."""
        outcome = await self._done(act)
        if act is Act.STOP and outcome.rung is Rung.FAILED:
            found = await self._done(Act.STATUS)
            return Outcome(Rung.STOPPED) if found.rung is Rung.STOPPED else outcome
        return outcome

    async def _done(self, act: Act) -> Outcome:
        timeout_s = _asked(self.section, act) or DEFAULT_TIMEOUT_S
        try:
            finished = await run(self._argv[act], timeout_s, self._environment, leave=True)
        except LaunchError as error:
            return Outcome(Rung.FAILED, str(error), absent=act is Act.STATUS)
        if finished.status == 0:
            return Outcome(_AFTER[act])
        if act is Act.STATUS and finished.status is not None and finished.status > 0:
            return Outcome(Rung.STOPPED, f"it does not run: its status {finished.shown()}")
        return _failed(act, finished)


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
            return Outcome(Rung.FAILED, str(error), absent=act is Act.STATUS)
        action = _ACTIONS[act]
        advised = self._known.timeouts.get(action, DEFAULT_TIMEOUT_S)
        timeout_s = _asked(self.section, act) or advised
        interval_s = self.section.interval_s if act is Act.STATUS and not probe else 0
        told = ocf.environment(
            self._agent, self.section.name, self.section.parameters, action, timeout_s, interval_s
        )
        try:
            finished = await run([str(path), action], timeout_s, {**self._environment, **told}, leave=True)
        except LaunchError as error:
            return Outcome(Rung.FAILED, str(error), absent=act is Act.STATUS)
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
