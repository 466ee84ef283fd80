"""Everything through which people and programs look at a running node, and tell it what to do:
the control socket, HTTP for load balancers and Prometheus, and systemd."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from msgspec import to_builtins

from fttcp import __version__
from fttcp.config import Config
from fttcp.face.control import ControlServer
from fttcp.face.http import HttpServer
from fttcp.face.monitoring import Pages
from fttcp.face.operations import Adapters, Operations
from fttcp.face.systemd import Notifier
from fttcp.group.group import GroupRuntime
from fttcp.group.shown import as_what
from fttcp.planes.clocks import Clocks
from fttcp.report.events import Event
from fttcp.report.reporting import Reporting
from fttcp.sync.record import Report

_SHOWN_BY_SYSTEMD = ("role", "fenced", "paused", "resumed", "reloaded")
_TOLD_WITHIN_S = 0.1
"""All groups may change at once, while the loop has better to do: systemd is told once."""


class Frontend:
    """One node's face; it changes nothing of the node but through ``groups`` and ``reload``."""

    def __init__(
        self,
        config: Config,
        groups: Mapping[str, GroupRuntime],
        reporting: Reporting,
        reload: Callable[[], Awaitable[dict[str, Any]]],
        adapters: Adapters,
    ) -> None:
        """``reload`` reads the configuration again, or raises RequestError."""
        self.config, self.groups, self.reporting, self.reload = config, groups, reporting, reload
        self.adapters = adapters
        self.clocks: Clocks | None = None
        """What the peers' differ by, once the node has heartbeats."""
        self.copies: dict[tuple[str, str], Report] = {}
        """Of `[[sync]]`, by directory and peer, as its service has told."""
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._control = ControlServer(Operations(self).serve, reporting.history)
        self._http = HttpServer(Pages(self._monitored).page)
        self._systemd = Notifier(os.environ)
        self._watchdog: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to answer. Raises OSError."""
        await self._control.start(self.config.socket_path)
        await self.change(self.config)
        self.reporting.history.listen(self._heard)

    async def restore_socket(self) -> bool:
        """See ControlServer.restore()."""
        return await self._control.restore()

    async def change(self, config: Config) -> None:
        """Take a new configuration over. Raises NotifyError, OSError; then give the old one again."""
        for outlet in self.reporting.change(config.node):
            await asyncio.to_thread(outlet.close)
        http = config.node.http
        try:
            await self._http.change(None if http.port is None else (http.address, http.port))
        except OSError as error:
            raise OSError(f"node.http: cannot listen on {http.address} port {http.port}: {error}") from error
        self.config = config

    def ready(self) -> None:
        """The start, or a reload, is complete."""
        self._systemd.ready(self._summary())
        if self._watchdog is None:
            self._feed_watchdog()

    def reloading(self) -> None:
        """A reload has begun; ``ready`` ends it."""
        self._systemd.reloading()

    def stopping(self) -> None:
        """The end has begun."""
        self._systemd.stopping()

    async def close(self) -> None:
        """Answer no more."""
        for timer in (self._watchdog, self._telling):
            if timer is not None:
                timer.cancel()
        await self._control.close()
        await self._http.close()

    # ------------------------------------------------------------------ what is told

    def about(self) -> dict[str, Any]:
        """Return who this is."""
        node = self.config.node
        return {
            "node": node.name,
            "cluster": node.cluster,
            "version": __version__,
            "pid": os.getpid(),
            "since": self._since,
        }

    def clocks_shown(self) -> dict[str, Any]:
        """Return by names of peers what their wall clocks differ by."""
        return {} if self.clocks is None else self.clocks.shown()

    def adapters_shown(self) -> dict[str, list[dict[str, Any]]]:
        """Return by names of nodes how their adapters stand; nothing of a node that has one only."""
        told = {self.config.node.name: self.adapters.words()}
        for group in self.groups.values():
            heard = {peer.name for peer in self.config.peer if group.links_up(peer.name)}
            told |= {name: words for name, words in group.peer_adapters().items() if name in heard}
        return {name: [asdict(word) for word in words] for name, words in told.items() if words}

    def copies_shown(self) -> list[dict[str, Any]]:
        """Return how the copies of directories go that the configuration has."""
        names = {section.name for section in self.config.sync}
        return [to_builtins(report) for report in self.copies.values() if report.entry in names]

    def topology(self) -> dict[str, Any]:
        """Return who is there, and how they are connected."""
        config = self.config
        states = {name: group.status() for name, group in self.groups.items()}
        return {
            **self.about(),
            "service_interface": self.adapters.used,
            "adapters": self.adapters_shown(),
            "peer_interface": config.node.peer_interface,
            "peers": self._peers(),
            "groups": [
                {
                    "name": section.name,
                    "addresses": section.addresses,
                    "ports": section.ports,
                    **{key: states[section.name][key] for key in ("role", "mode", "epoch", "synced")},
                    "owner": self.groups[section.name].owner(),
                    "nodes": states[section.name]["nodes"],
                    "ownership": states[section.name].get("ownership"),
                }
                for section in config.group
                if section.name in states
            ],
        }

    def _peers(self) -> list[dict[str, Any]]:
        """Return the other nodes, and on which links each group hears them."""
        return [
            {
                "name": peer.name,
                "links": [
                    {
                        "transport": link.transport,
                        "interface": link.interface or link.device,
                        "local": link.local,
                        "remote": link.remote,
                        "heard": {
                            name: i in group.links_up(peer.name) for name, group in self.groups.items()
                        },
                    }
                    for i, link in enumerate(peer.link)
                ],
            }
            for peer in self.config.peer
        ]

    def _monitored(self) -> dict[str, Any]:
        groups = [group.status() for group in self.groups.values()]
        return {
            **self.about(),
            "groups": groups,
            "peers": self._peers(),
            "clocks": self.clocks_shown(),
            "adapters": self.adapters_shown(),
            "sync": self.copies_shown(),
            "outlets": self.reporting.outlets(),
            "event_counts": dict(self.reporting.history.counts),
        }

    # ------------------------------------------------------------------ systemd

    def _heard(self, event: Event) -> None:
        if event["event"] in _SHOWN_BY_SYSTEMD and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_TOLD_WITHIN_S, self._tell_systemd)

    def _tell_systemd(self) -> None:
        self._telling = None
        self._systemd.status(self._summary())

    def _summary(self) -> str:
        """Return all groups' roles in one line."""
        groups = self.groups.items()
        return "; ".join(f"{name}: {as_what(group.machine, group.fenced)}" for name, group in groups)

    def _feed_watchdog(self) -> None:
        """Tell systemd that the loop turns, three times as often as it wants to hear so."""
        if self._systemd.watchdog_s is not None:
            self._systemd.alive()
            loop = asyncio.get_running_loop()
            self._watchdog = loop.call_later(self._systemd.watchdog_s / 3, self._feed_watchdog)
