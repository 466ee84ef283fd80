"""What can be asked of a running node, over its control socket: questions, and orders for its groups."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Protocol

import msgspec

from fttcp.face.control import Reply, Request, RequestError, number
from fttcp.group import lockstep
from fttcp.group.group import GroupRuntime
from fttcp.ownership.model import Refusal
from fttcp.report.reporting import Reporting
from fttcp.sync.news import news
from fttcp.sync.record import Report
from fttcp.wire.body import AdapterWord

_MAX_FLOWS = 100_000
_DEFAULT_FLOWS = 10_000


class Adapters(Protocol):
    """Those of a node to the service network."""

    @property
    def used(self) -> str:
        """The one that the service addresses are at."""

    def order(self, name: str) -> str:
        """Move the service addresses to this one; return why not, '' if it is done."""

    def words(self) -> tuple[AdapterWord, ...]:
        """How each stands; nothing if there is one only."""


class Daemon(Protocol):
    """What the operations need of the node that they belong to."""

    @property
    def groups(self) -> Mapping[str, GroupRuntime]:
        """The groups that this node knows now."""

    @property
    def reporting(self) -> Reporting:
        """The history and its outlets."""

    @property
    def reload(self) -> Callable[[], Awaitable[dict[str, Any]]]:
        """Reads the configuration again. Raises RequestError if it is refused."""

    def about(self) -> dict[str, Any]:
        """Name, version, pid and the like."""

    @property
    def adapters(self) -> Adapters:
        """Those of this node."""

    def adapters_shown(self) -> dict[str, list[dict[str, Any]]]:
        """By names of nodes how their adapters stand."""

    def clocks_shown(self) -> dict[str, Any]:
        """By names of peers what their wall clocks differ by."""

    @property
    def copies(self) -> MutableMapping[tuple[str, str], Report]:
        """By directory and peer, how the copies go."""

    def copies_shown(self) -> list[dict[str, Any]]:
        """The same, for people and programs."""

    def topology(self) -> dict[str, Any]:
        """Who is there, and how they are connected."""


class Operations:
    """Answers requests; each operation is a method of the same name."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._operations: dict[str, Callable[[Request], Awaitable[Reply]]] = {
            "status": self._status,
            "topology": self._topology,
            "connections": self._connections,
            "counters": self._counters,
            "events": self._events,
            "switchover": self._switchover,
            "failover": self._failover,
            "pause": self._pause,
            "resume": self._resume,
            "reload": self._reload,
            "adapter": self._adapter,
            "stop": self._stop,
            "synced": self._synced,
            "spread": self._spread,
        }

    async def serve(self, request: Request) -> Reply:
        """Return the reply to a request. Raises RequestError."""
        name = request.get("op")
        operation = self._operations.get(name) if isinstance(name, str) else None
        if operation is None:
            raise RequestError(f"op {name!r:.80} is none of {', '.join(self._operations)}")
        return {"node": self._daemon.about()["node"]} | await operation(request)

    def _chosen(self, request: Request) -> list[GroupRuntime]:
        name, groups = request.get("group"), self._daemon.groups
        if name is None:
            return list(groups.values())
        if not isinstance(name, str) or name not in groups:
            raise RequestError(
                f"group {name!r:.80} is not on this node (groups: {', '.join(groups)})",
                "unknown-group",
                group=name,
                groups=list(groups),
            )
        return [groups[name]]

    def _one(self, request: Request) -> GroupRuntime:
        if "group" not in request:
            raise RequestError(f"{request['op']} needs a group")
        (group,) = self._chosen(request)
        return group

    async def _status(self, request: Request) -> Reply:
        about = self._daemon.about()
        outlets = self._daemon.reporting.outlets()
        groups = [group.status() | await _lockstep(group) for group in self._chosen(request)]
        clocks = self._daemon.clocks_shown()
        adapters = self._daemon.adapters_shown()
        node = {
            "clocks": clocks,
            "adapters": adapters,
            "outlets": outlets,
            "sync": self._daemon.copies_shown(),
        }
        return {**about, "alive": True, **node, "groups": groups}

    async def _topology(self, request: Request) -> Reply:
        return self._daemon.topology()

    async def _connections(self, request: Request) -> Reply:
        limit = number(request, "limit", _DEFAULT_FLOWS, _MAX_FLOWS)
        with_closed = request.get("all", False)
        flows: list[dict[str, Any]] = []
        for group in self._chosen(request):  # one more than wanted tells whether there are more
            listed = group.connections(limit + 1 - len(flows), bool(with_closed))
            flows += await asyncio.to_thread(_of_group, group.name, listed)
        return {"connections": flows[:limit], "more": len(flows) > limit}

    async def _counters(self, request: Request) -> Reply:
        return {"counters": {group.name: group.counters() for group in self._chosen(request)}}

    async def _events(self, request: Request) -> Reply:
        """``group``: it must be one of this node's, or have been one since the daemon started."""
        history = self._daemon.reporting.history
        if not any(event.get("group") == request.get("group") for event in history.since(0)):
            self._chosen(request)
        events = history.since(number(request, "since", 0, 2**63))
        return {"events": events} | ({"follow": True} if request.get("follow") else {})

    async def _switchover(self, request: Request) -> Reply:
        """``force``, if not false: whatever it ends; ``now``: it waits for no renewal."""
        group = self._one(request)
        was = group.machine.role
        force, now = bool(request.get("force", True)), bool(request.get("now", False))
        _require(group, group.request_switchover(force, now))
        return {"group": group.name, "started": True, "role": was.value}

    async def _failover(self, request: Request) -> Reply:
        group = self._one(request)
        was = group.machine.role
        _require(group, group.request_failover())
        return {"group": group.name, "started": True, "role": was.value}

    async def _pause(self, request: Request) -> Reply:
        return self._maintain(request, True)

    async def _resume(self, request: Request) -> Reply:
        return self._maintain(request, False)

    def _maintain(self, request: Request, paused: bool) -> Reply:
        group = self._one(request)
        group.set_paused(paused)
        _require(group, None)
        state = group.status()
        shown = ("paused", "maintenance", "peer_alive", "peer_maintenance")
        return {"group": group.name, **{key: state[key] for key in shown}}

    async def _stop(self, request: Request) -> Reply:
        signal.raise_signal(signal.SIGTERM)
        return {"stopping": True}

    async def _synced(self, request: Request) -> Reply:
        """A copy of `[[sync]]` has ended: its `report`, and that of the one `before`, or null."""
        try:
            report = msgspec.convert(request.get("report"), Report)
            before = msgspec.convert(request.get("before"), Report | None)
        except msgspec.ValidationError as error:
            raise RequestError(f"report or before: {error}") from error
        self._daemon.copies[report.entry, report.peer] = report
        for kind, level, fields in news(report, before):
            self._daemon.reporting.history.add(kind, level, **fields)
        return {}

    async def _spread(self, request: Request) -> Reply:
        """A target of `[[spread]]`, its `entry`, begins to fail, and `why`; null: it does no more."""
        entry, why = request.get("entry"), request.get("why")
        if not isinstance(entry, str) or not isinstance(why, str | None):
            raise RequestError("spread needs an entry and why, text or null")
        if why is None:
            self._daemon.reporting.history.add("spread-good", entry=entry)
        else:
            self._daemon.reporting.history.add("spread-failed", "warning", entry=entry, why=why)
        return {}

    async def _adapter(self, request: Request) -> Reply:
        """``name``: move the service addresses to this adapter."""
        name, adapters = request.get("name"), self._daemon.adapters
        before = adapters.used
        if refusal := adapters.order(name) if isinstance(name, str) else "adapter needs a name":
            raise RequestError(refusal, "no-adapter", used=before)
        return {"adapter": adapters.used, "before": before}

    async def _reload(self, request: Request) -> Reply:
        return await self._daemon.reload()


def _of_group(name: str, flows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"group": name} | flow for flow in flows]


async def _lockstep(group: GroupRuntime) -> Reply:
    """What is drawn in step. All processes of the server are looked at: not in the loop."""
    if group.lockstep is None or group.server is None:
        return {}
    shown = await asyncio.to_thread(lockstep.shown, group.lockstep, group.server.pids)
    return {"lockstep": shown | {"identities": group.counters().get("identities", 0)}}


def _require(group: GroupRuntime, refusal: Refusal | None) -> None:
    """Tell why an order is refused, if it is. Raises RequestError."""
    if group.fenced:
        why = f"group {group.name}: it is fenced and takes no orders any more: restart the daemon"
        raise RequestError(why, "fenced", group=group.name)
    if not group.started:
        why = f"group {group.name}: it has not started yet and takes no orders: `fttcp status` tells why"
        raise RequestError(why, "not-started", group=group.name)
    if refusal is not None:
        word = refusal.name.lower().replace("_", "-")
        why = f"group {group.name}: {group.why_not(refusal)}"
        raise RequestError(why, word, group=group.name)
