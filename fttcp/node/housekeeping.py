"""What a node looks after while it runs: firewall, ground, neighbours.

The kernel tells when something has changed; what it does not tell of is seen by a round every few seconds.
Nothing is read in the loop that decides: what there may be much of is asked for in a thread.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fttcp.config import Config
from fttcp.config.placement import shortages_of
from fttcp.group.group import GroupRuntime
from fttcp.group.readiness import Hinders, Reason
from fttcp.group.secrets import Secrets
from fttcp.group.terms import terms
from fttcp.network import ground
from fttcp.network.ground import Ground
from fttcp.network.network import NetworkSetup
from fttcp.network.notices import News
from fttcp.network.owner import Firewall
from fttcp.network.rules import RulesError
from fttcp.node.timekeeping import Timekeeper, leader
from fttcp.planes.clocks import Clocks
from fttcp.report.events import History

ROUND_S = 5.0
_LONGEST_ROUND_S = 30.0
"""Of a round that took long, or had to wait for a reload."""
_SHARE = 40
"""Between two rounds passes at least so many times the duration of one: there may be many groups."""
_NETLINK_NETFILTER, _NFNLGRP_NFTABLES = 12, 1 << 6
_FIREWALL_NEWS = ((_NETLINK_NETFILTER, _NFNLGRP_NFTABLES),)
_GROUND_NEWS = ((socket.NETLINK_ROUTE, ground.NEWS),)
_SHORTEST_S, _LONGEST_S = 0.02, 0.25
"""Between looks: what others change comes in many steps, and some change things all the time."""
_CLIENTS_KEPT_WARM = 4096


class Housekeeper:
    """Of one node."""

    clocks: Clocks | None = None
    """Wall clocks here and at the peers, once the node has heartbeats."""

    def __init__(
        self,
        config: Callable[[], Config],
        secrets: Callable[[], Secrets],
        network: NetworkSetup,
        groups: Mapping[str, GroupRuntime],
        history: History,
        changing: asyncio.Lock,
        stands: Callable[[str], None],
    ) -> None:
        """``changing`` is held while groups come and go; ``stands(group)`` is told when the ground of a group
        begins or ceases to bear a service."""
        self._config, self._secrets, self._network, self._groups = config, secrets, network, groups
        self._history, self._changing, self._stands = history, changing, stands
        self._stopped: dict[str, int] = {}
        """Group -> packets that its guard had stopped when it was last looked at."""
        self._elsewhere: dict[str, int] = {}
        """The same, of packets that came by another interface."""

    def tell_firewall(self) -> None:
        """Say what the rules withstand on this kernel."""
        level, why = self._network.firewall
        told = {"why": why} if why else {}
        self._history.add(
            "firewall", "info" if level is Firewall.KEPT else "warning", rules=level.value, **told
        )

    def tell_capacity(self) -> None:
        """Say what the hosts cannot carry, if there is any."""
        if lacking := shortages_of(self._config()):
            self._history.add("capacity-short", "warning", lacking=lacking)

    async def keep(self) -> None:
        """Go on until this is cancelled."""
        firewall, ground_news = News(*_FIREWALL_NEWS), News(*_GROUND_NEWS)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(firewall, self._look_at_all_rules))
                tasks.create_task(self._follow(ground_news, self.look_at_the_ground))
                tasks.create_task(self._rounds())
                if self.clocks is not None:
                    tasks.create_task(self._keep_time(self.clocks))
        finally:
            firewall.close()
            ground_news.close()

    async def _keep_time(self, clocks: Clocks) -> None:
        def note(kind: str, level: str = "info", /, **fields: Any) -> None:
            self._history.add(kind, level, None, **fields)

        timekeeper = Timekeeper(
            clocks,
            lambda: leader(self._groups, self._config().node.name),
            lambda: self._config().node.follow_clock,
            note,
        )
        while True:
            await self.guard(timekeeper.second())
            await asyncio.sleep(1)

    async def _follow(self, news: News, look: Callable[[], Awaitable[bool]]) -> None:
        """Look at once when there is news; ``look`` says whether all was done. What could not be mended waits
        for the round: somebody may be as stubborn."""
        pause_s = _SHORTEST_S
        while True:
            if await news.wait(pause_s):
                pause_s = min(2 * pause_s, _LONGEST_S)
            else:
                pause_s = _SHORTEST_S
                await news.wait(None)
            done = await look()
            await asyncio.sleep(pause_s if done else ROUND_S)

    async def _rounds(self) -> None:
        took_s = 0.0
        while True:
            await asyncio.sleep(min(max(ROUND_S, _SHARE * took_s), _LONGEST_ROUND_S))
            begun_s = time.monotonic()
            await self.guard(self.look_after_network())
            took_s = time.monotonic() - begun_s
            await self.guard(self._compare_clocks())

    async def _compare_clocks(self) -> None:
        if self.clocks is not None and self.clocks.look():
            for group in self._groups.values():
                group.publish()

    async def guard(self, work: Awaitable[None]) -> bool:
        """Do something beside the loop's main work; a failure is told, the node goes on. Say whether it was
        done."""
        try:
            await work
            return True
        except Exception as error:
            self._history.add("background-failed", "error", why=f"{type(error).__name__}: {error}")
            return False

    async def look_after_network(self) -> None:
        """Keep neighbours known, rules and ground in place."""
        await self._each(
            self._learn, self._look_at_rules, self._look_at_ground, self._keep_warm, self.know_neighbours
        )

    async def _each(self, *looks: Callable[[str], Awaitable[None]]) -> bool:
        """Look at each group so. What fails keeps from no other look, and no other group; say whether all was
        done."""
        async with self._changing:
            names = [section.name for section in self._config().group]
            return all([await self.guard(look(name)) for name in names for look in looks])

    async def _learn(self, name: str) -> None:
        group = self._groups[name]
        group.learn()
        section = next(section for section in self._config().group if section.name == name)
        group.agree_on(await asyncio.to_thread(terms, self._config(), section, self._secrets()))

    async def _keep_warm(self, name: str) -> None:
        await self._network.keep_warm(name, self._groups[name].clients(_CLIENTS_KEPT_WARM))

    # ------------------------------------------------------------------ ground

    async def look_at_the_ground(self) -> bool:
        """Mend what is ours, and tell; say whether all was done."""
        for name, restored in self._network.restored().items():
            self._tell_mended(name, restored)
        return await self._each(self._look_at_ground)

    async def _look_at_ground(self, name: str) -> None:
        found = await self._network.ground(name)
        self._tell_mended(name, found.mended)
        self.take_ground(name, found)

    def _tell_mended(self, name: str, mended: Sequence[str]) -> None:
        if mended and name in self._groups:
            self._history.add("ground-mended", "warning", name, mended=[*mended])
            self._groups[name].mended += len(mended)

    def take_ground(self, name: str, found: Ground) -> None:
        """Tell a group how it stands."""
        group = self._groups[name]
        before, group.ground = group.ground, found
        group.readiness.hold(
            "ground",
            [
                Reason(lack.why, lack.what, lack.todo, Hinders.SERVICE if lack.serving else Hinders.BACKUP)
                for lack in found.missing
            ],
        )
        if before is not None and before.serving is not found.serving:
            self._stands(name)

    # ------------------------------------------------------------------ firewall

    async def _look_at_all_rules(self) -> bool:
        return await self._each(self._look_at_rules)

    async def _look_at_rules(self, name: str) -> None:
        """Put what somebody else has removed back in place, and tell. Raises RulesError when it is not there
        afterwards."""
        group = self._groups[name]
        standing = group.firewall = await self._network.standing(name)
        if standing.missing:
            self._history.add("rules-missing", "error", name, missing=standing.missing)
            await self._network.apply()
            group.firewall = await self._network.standing(name)
            if group.firewall.missing:
                raise RulesError(f"group {name}: {', '.join(group.firewall.missing)}: it cannot be mended")
        if standing.stopped > self._stopped.get(name, 0):
            self._history.add("guard-stopped", "warning", name, packets=standing.stopped)
        self._stopped[name] = standing.stopped
        if standing.elsewhere > self._elsewhere.get(name, 0):
            self._history.add("other-interface", "warning", name, packets=standing.elsewhere)
        self._elsewhere[name] = standing.elsewhere

    # ------------------------------------------------------------------ neighbours

    async def know_neighbours(self, name: str) -> None:
        """Tell the engine whom its announcements are to reach."""
        known = await self._network.known_neighbours(name)
        group = self._groups.get(name)
        if group is not None and not group.finished.is_set():
            group.engine.set_neighbours(known)
