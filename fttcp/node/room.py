"""Sheds groups of a node for which it has no units, and takes them up again: see ``fttcp.cluster.room``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fttcp.cluster.placement import Group
from fttcp.cluster.room import Claim, Health, Part, fits
from fttcp.config import Config
from fttcp.config.placement import groups_of
from fttcp.group.group import GroupRuntime
from fttcp.ownership.model import Cause, Phase, Role
from fttcp.ownership.pair import PairMachine

_NEWS_S = 0.02
"""News of several groups come together."""


class Room:
    """Looks when there is news of groups, and when somebody has waited long enough."""

    def __init__(self, config: Callable[[], Config], groups: Mapping[str, GroupRuntime]) -> None:
        self._config, self._groups = config, groups
        self._unserved_s: dict[str, float] = {}
        """Group -> since when nobody serves it."""
        self._admitted_s: dict[str, float] = {}
        """Group that made others leave -> when; it is not awaited for ever."""
        self._vain: set[str] = set()
        """Groups for which others left in vain: not again before another one serves them, or a reload."""
        self._health: dict[str, Health] = {}
        """Of servers of groups of which this node is primary, and that it has not shed."""
        self._start_within_s: dict[str, float] = {}
        self._steady_s: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def news(self) -> None:
        """Something has changed in a group: look soon."""
        if self._config().node.capacity is not None:
            self._look_in(_NEWS_S)

    def forget(self) -> None:
        """Another configuration: what was in vain may not be now."""
        self._vain.clear()
        self._health.clear()
        self.look()

    def close(self) -> None:
        """Look no more: groups end."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def look(self, config: Config | None = None) -> None:
        """Tell each group whether there are units for it, by this configuration, or by the one in use."""
        if self._closed:
            return
        config = config or self._config()
        by_name = {group.name: group for group in groups_of(config)}
        self._start_within_s = {one.name: one.restart.start_within_s for one in config.group}
        self._steady_s = {one.name: one.restart.steady_s for one in config.group}
        now_s = asyncio.get_running_loop().time()
        runtimes = {
            name: one
            for name, one in self._groups.items()
            if name in by_name and not (one.fenced or one.machine.view.stopping)
        }
        for kept in (self._unserved_s, self._admitted_s, self._health):
            for name in kept.keys() - runtimes.keys():
                del kept[name]
        self._vain &= runtimes.keys()
        claims = [self._claim(by_name[name], runtime, now_s) for name, runtime in runtimes.items()]
        room = fits(claims, config.node.capacity)
        for claim in claims:
            name, runtime = claim.group.name, runtimes[claim.group.name]
            fit = name in room or _stays(runtime.machine)
            self._note_admitted(claim, fit, now_s)
            why = f"no units: {config.node.name} has {config.node.capacity}, others come first"
            runtime.serving.have_units("" if fit else why)
        if config.node.capacity is not None:
            self._look_at_the_next(claims, now_s)

    # ------------------------------------------------------------------ what it knows of a group

    def _claim(self, group: Group, runtime: GroupRuntime, now_s: float) -> Claim:
        name, machine = group.name, runtime.machine
        part = _part(machine, runtime.serving.shed)
        if machine.role is not Role.PRIMARY:
            self._health.pop(name, None)
        if part is Part.SERVES and self._fails(name, runtime, now_s):
            part = Part.UNSERVED
            self._vain.add(name)
        if part is not Part.UNSERVED or machine.paused or machine.settings.cold:
            self._unserved_s.pop(name, None)
            self._admitted_s.pop(name, None)
            if part not in (Part.UNSERVED, Part.SERVES):
                self._vain.discard(name)
            return Claim(group, part)
        since_s = self._unserved_s.setdefault(name, now_s)
        waited = 0.0 if name in self._vain else (now_s - since_s) / self._wait_s(machine)
        return Claim(group, part, waited)

    def _fails(self, name: str, runtime: GroupRuntime, now_s: float) -> bool:
        """Whether the server of a primary has not stayed up for as long as one may take to begin to serve."""
        machine, health = runtime.machine, self._health.setdefault(name, Health())
        if machine.paused or machine.settings.cold:
            self._health[name] = Health()
            return False
        health.note(runtime.serving.healthy, now_s, self._steady_s[name])
        if health.ails_since_s is None:
            self._vain.discard(name)
        return health.fails(now_s, self._patience_s(name))

    def _note_admitted(self, claim: Claim, admitted: bool, now_s: float) -> None:
        """It has waited until others left; if nobody serves it all the same, they did in vain."""
        name = claim.group.name
        if not admitted or claim.part is not Part.UNSERVED or claim.waited < 0.5:
            return
        since_s = self._admitted_s.setdefault(name, now_s)
        if now_s - since_s > self._patience_s(name):
            self._vain.add(name)

    def _patience_s(self, name: str) -> float:
        """How long one for which others left may take until it serves."""
        return self._start_within_s[name] + self._wait_s(self._groups[name].machine)

    def _wait_s(self, machine: PairMachine) -> float:
        """How long nobody serves a group before others leave for it here: the longer the more nodes are
        first, and as long as its owner may take to start its server anew."""
        settings, owner = machine.settings, machine.view.owner()
        mine = (-settings.priority, settings.name)
        heard = [(-peer.said.priority, peer.name) for peer in machine.view.peers if peer.said is not None]
        wait_s = (2 + sum(one < mine for one in heard)) * settings.startup_wait_ns / 1e9
        starts = owner is not None and owner.said is not None and owner.said.reason is not Cause.NO_UNITS
        return wait_s + (2 * self._start_within_s.get(settings.group, 0.0) if starts else 0.0)

    # ------------------------------------------------------------------ when

    def _look_at_the_next(self, claims: list[Claim], now_s: float) -> None:
        """Look again when a wait is over, or the server of one that leaves is to end."""
        times = [self._groups[claim.group.name].serving.leaves_by_s for claim in claims]
        for claim in claims:
            name = claim.group.name
            if name in self._unserved_s and name not in self._vain:
                begun_s, wait_s = self._unserved_s[name], self._wait_s(self._groups[name].machine)
                times += [begun_s + wait_s / 2, begun_s + wait_s]
        times += [since_s + self._patience_s(name) for name, since_s in self._admitted_s.items()]
        for name, health in self._health.items():
            if health.ails_since_s is not None:
                times.append(health.ails_since_s + self._patience_s(name))
            if health.well_since_s is not None:
                times.append(health.well_since_s + self._steady_s[name])
        later = [at_s for at_s in times if at_s > now_s]
        if later:
            self._look_in(min(later) - now_s + 0.001)

    def _look_in(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._closed:
            return
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self.look()


def _stays(machine: PairMachine) -> bool:
    """Whether this node goes on with the group whatever its units: a server that starts only to serve is none
    to displace, and in maintenance nobody takes over."""
    return machine.role is Role.PRIMARY and (machine.settings.cold or machine.paused)


def _part(machine: PairMachine, shed: str) -> Part:
    """What this node has of the group."""
    if machine.role is Role.PRIMARY:
        return Part.UNSERVED if shed else Part.SERVES
    if machine.phase is Phase.FOLLOWING:
        return Part.BACKS
    owner = machine.view.owner()
    said = owner.said if owner is not None else None
    if said is None or not said.healthy:
        return Part.UNSERVED
    return Part.UNBACKED if said.partner in ("", machine.settings.name) else Part.SPARE
