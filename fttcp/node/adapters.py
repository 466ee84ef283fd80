"""The adapters of a node at work: what is seen over each, and the move of the service addresses.

A move is inside this host, and no change of role: the engines tell neighbours at once, routes follow in a
thread. Only what no adapter can mend reaches the role machines.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from fttcp.config import Config
from fttcp.group.group import GroupRuntime
from fttcp.network import kernel
from fttcp.network.carrier import CarrierMonitor
from fttcp.network.interface import obstacle
from fttcp.network.network import NetworkSetup
from fttcp.ownership import events as ev
from fttcp.ownership.adapters import Adapters, Sight
from fttcp.report.events import History
from fttcp.server.reference import Address, ReferenceMonitor, own_address
from fttcp.wire.body import AdapterWord

Spawn = Callable[[Coroutine[Any, Any, None]], None]


def _obstacle(name: str) -> str:
    """Why this interface cannot be a standby adapter; '' if it can."""
    try:
        return obstacle(name)
    except OSError as error:
        return f"{name} cannot be looked at: {error.strerror}"


def _source(name: str, address: Address) -> Address | None:
    """The address of this adapter from which another one is asked; None if it has none. Raises OSError."""
    try:
        with kernel.netlink() as socket:
            return own_address(kernel.addresses_on(socket, kernel.index_of(name)), address)
    except kernel.KernelError as error:
        raise OSError(str(error)) from error


class AdapterKeeper:
    """Of one node."""

    def __init__(
        self,
        config: Config,
        network: NetworkSetup,
        groups: Mapping[str, GroupRuntime],
        history: History,
        spawn: Spawn,
        look_after_network: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """``spawn`` runs something beside the loop's main work."""
        self._choice = Adapters(config.node.adapters)
        self._network, self._groups, self._history = network, groups, history
        self._spawn, self._look_after_network = spawn, look_after_network
        names = self._choice.names
        self._carriers = {
            name: CarrierMonitor(
                name, partial(self._carrier_changed, name), *([] if name == names[0] else [_obstacle])
            )
            for name in names
        }
        self._references = {
            name: ReferenceMonitor(
                config.reference,
                name,
                partial(self._reference_changed, name),
                history.add,
                partial(_source, name) if len(names) > 1 else None,
            )
            for name in names
            if config.reference is not None
        }
        self._fed = Sight()
        """What the groups were told of the adapter that is used."""

    @property
    def used(self) -> str:
        """The adapter that the service addresses are at."""
        return self._choice.used

    @property
    def carrier(self) -> bool:
        """True if it has one."""
        return self._fed.carrier

    def start(self) -> None:
        """Begin to watch, in the running loop, and choose an adapter. Raises OSError."""
        for name, monitor in self._carriers.items():
            self._choice.sights[name].carrier = monitor.start()
            if monitor.why:
                self._history.add("adapter", "warning", adapter=name, up=False, why=monitor.why)
        self._choice.begin()
        self._fed = Sight(self._choice.sight.carrier)
        self._network.use_adapter(self.used)

    def ask_references(self) -> None:
        """Begin to ask reference addresses over each adapter, if there are any to ask."""
        for monitor in self._references.values():
            monitor.start()

    async def close(self) -> None:
        """End what was begun."""
        try:
            for monitor in self._references.values():
                await monitor.close()
        finally:
            for carrier in self._carriers.values():
                carrier.close()

    def greet(self, group: GroupRuntime) -> None:
        """Tell a group that starts how things stand."""
        group.use_adapter(self.used)
        self._tell_peers(group)
        group.feed(ev.CarrierChanged(self._fed.carrier))
        if self._references:
            group.feed(ev.ReferenceChanged(self._fed.reference))

    def order(self, name: str) -> str:
        """Move the service addresses to this adapter; return why not, '' if it is done."""
        before, refusal = self.used, self._choice.order(name)
        if not refusal and name != before:
            self._move(before, "by order")
        self._tell_groups()
        return refusal

    def words(self) -> tuple[AdapterWord, ...]:
        """What peers are told: nothing if there is one adapter."""
        names = self._choice.names
        if len(names) == 1:
            return ()
        sights = self._choice.sights
        return tuple(
            AdapterWord(name, name == self.used, sights[name].carrier, sights[name].reference)
            for name in names
        )

    # ------------------------------------------------------------------ what is seen

    def _carrier_changed(self, name: str, up: bool) -> None:
        self._choice.sights[name].carrier = up
        self._seen()
        if len(self._choice.names) > 1:
            why = {"why": self._carriers[name].why} if self._carriers[name].why else {}
            self._history.add("adapter", "info" if up else "warning", adapter=name, up=up, **why)

    def _reference_changed(self, name: str, monitor: ReferenceMonitor) -> None:
        sight = self._choice.sights[name]
        sight.reference, sight.answered = monitor.reachable, monitor.answered
        self._seen()

    def _seen(self) -> None:
        before, why = self.used, self._choice.choose()
        if why:
            self._move(before, why)
        self._tell_groups()

    # ------------------------------------------------------------------ what follows

    def _move(self, before: str, why: str) -> None:
        """What clients wait for comes first."""
        self._network.use_adapter(self.used)
        self._spawn(self._network.follow_adapter(before))
        for group in self._groups.values():
            group.use_adapter(self.used)
        self._history.add("adapter-moved", "warning", adapter=self.used, before=before, why=why)

    def _tell_groups(self) -> None:
        now, fed = self._choice.sight, self._fed
        self._fed = Sight(now.carrier, now.reference)
        for group in self._groups.values():
            if now.carrier != fed.carrier:
                group.feed(ev.CarrierChanged(now.carrier))
            if now.reference != fed.reference:
                group.feed(ev.ReferenceChanged(now.reference))
            self._tell_peers(group)
        if now.carrier != fed.carrier:
            self._history.add("carrier", "info" if now.carrier else "warning", up=now.carrier)
            if now.carrier:
                self._spawn(self._look_after_network())
            else:
                for name in self._groups:
                    self._spawn(self._network.drop_unresolved(name))

    def _tell_peers(self, group: GroupRuntime) -> None:
        group.say_adapters(self.words())
