"""Sheds groups of a node for which it has no units, and takes them up again: see ``fttcp.cluster.room``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fttcp.cluster.placement import Group
from fttcp.cluster.room import Claim, Part, fits
from fttcp.config import Config
from fttcp.config.placement import groups_of
from fttcp.group.group import GroupRuntime
from fttcp.ownership.model import Phase, Role
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
        """Groups for which others left in vain: not again before somebody serves them."""
        self._timer: asyncio.TimerHandle | None = None

    def news(self) -> None:
        """Something has changed in a group: look soon."""
        if self._config().node.capacity is not None:
            self._look_in(_NEWS_S)

    def forget(self) -> None:
        """Another configuration: what was in vain may not be now."""
        self._vain.clear()
        self.look()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Tell each group whether there are units for it."""
        config = self._config()
        by_name = {group.name: group for group in groups_of(config)}
        now_s = asyncio.get_running_loop().time()
        claims = [
            self._claim(by_name[name], runtime, now_s)
            for name, runtime in self._groups.items()
            if name in by_name and not runtime.fenced
        ]
        capacity = config.node.capacity
        room = fits(claims, capacity)
        for claim in claims:
            name = claim.group.name
            why = "" if name in room else f"no units: {config.node.name} has {capacity}, others come first"
            self._note_admitted(claim, name in room, now_s)
            self._groups[name].serving.have_units(why)
        if capacity is not None:
            self._look_at_the_next(claims, now_s)

    # ------------------------------------------------------------------ what it knows of a group

    def _claim(self, group: Group, runtime: GroupRuntime, now_s: float) -> Claim:
        name, machine = group.name, runtime.machine
        part = _part(machine, runtime.serving.shed)
        if part is not Part.UNSERVED or machine.paused:
            self._unserved_s.pop(name, None)
            self._admitted_s.pop(name, None)
            if part is not Part.UNSERVED:
                self._vain.discard(name)
            return Claim(group, part)
        since_s = self._unserved_s.setdefault(name, now_s)
        waited = 0.0 if name in self._vain else (now_s - since_s) / _wait_s(machine)
        return Claim(group, part, waited)

    def _note_admitted(self, claim: Claim, admitted: bool, now_s: float) -> None:
        """It has waited until others left; if nobody serves it all the same, they did in vain."""
        name = claim.group.name
        if not admitted or claim.part is not Part.UNSERVED or claim.waited < 0.5:
            return
        since_s = self._admitted_s.setdefault(name, now_s)
        section = next(section for section in self._config().group if section.name == name)
        if now_s - since_s > section.restart.start_within_s + _wait_s(self._groups[name].machine):
            self._vain.add(name)

    # ------------------------------------------------------------------ when

    def _look_at_the_next(self, claims: list[Claim], now_s: float) -> None:
        """Look again when a wait is over, or the server of one that leaves is to end."""
        times = [self._groups[claim.group.name].serving.leaves_by_s for claim in claims]
        for claim in claims:
            name = claim.group.name
            if claim.part is Part.UNSERVED and name not in self._vain:
                begun_s, wait_s = self._unserved_s.get(name, now_s), _wait_s(self._groups[name].machine)
                times += [begun_s + wait_s / 2, begun_s + wait_s]
        for name, since_s in self._admitted_s.items():
            section = next(section for section in self._config().group if section.name == name)
            times.append(since_s + section.restart.start_within_s + _wait_s(self._groups[name].machine))
        later = [at_s for at_s in times if at_s > now_s]
        if later:
            self._look_in(min(later) - now_s + 0.001)

    def _look_in(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() <= loop.time() + delay_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self.look()


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


def _wait_s(machine: PairMachine) -> float:
    """How long nobody serves a group before others leave for it here: the longer the more nodes are first."""
    settings = machine.settings
    mine = (-settings.priority, settings.name)
    heard = [(-peer.said.priority, peer.name) for peer in machine.view.peers if peer.said is not None]
    return (2 + sum(one < mine for one in heard)) * settings.startup_wait_ns / 1e9
