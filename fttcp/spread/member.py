"""Service addresses, and whether somebody serves them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any


class SpreadError(Exception):
    """A target does not do as it is told; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """A service address of a group. ``port``: of the service, 0 where none is told; ``by``: the node that
    serves it, '' for none; ``certain``: False while somebody may serve it unheard, or will in a moment.
    ``group`` is '' for an address that no group has any more."""

    group: str
    address: str
    port: int = 0
    by: str = ""
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """What is told of some members, under a name. ``lines`` returns in the target's own words how it is to
    be; ``apply`` makes it so, may wait for seconds, and raises SpreadError. None: it can only be printed.
    ``again_s``: a target that forgets is told again so often."""

    name: str
    members: tuple[Member, ...]
    lines: Callable[[Sequence[Member]], list[str]]
    apply: Callable[[Sequence[Member]], None] | None
    again_s: float = 60.0

    def tell(self, members: Sequence[Member]) -> str | None:
        """Tell the target; return why it failed. A fault of one entry is never one of another."""
        assert self.apply is not None
        try:
            self.apply(members)
        except SpreadError as error:
            return str(error)
        except Exception as error:
            return f"a fault of fttcp: {type(error).__name__}: {error}"
        return None


@dataclass(frozen=True, slots=True)
class View:
    """Who serves, as one node sees it. ``by``: for each group the node that serves it, '' if nobody does,
    None if somebody may whom this node does not hear."""

    node: str
    by: Mapping[str, str | None]

    @property
    def counts(self) -> bool:
        """True if the node serves a group itself. One that does not may be cut off from those that do: what
        it sees tells nobody anything."""
        return self.node in self.by.values()


def view(status: Mapping[str, Any]) -> View:
    """Return what the operation `status` of a node tells."""
    node = str(status["node"])
    return View(node, {str(group["name"]): _server(node, group) for group in status["groups"]})


def _server(own: str, group: Mapping[str, Any]) -> str | None:
    """Return the node that serves a group: a primary whose server is healthy, here with a lease as well.
    Nobody does if this node has the lease and its server is not healthy, or if all nodes are heard."""
    leased = group.get("lease_ms_left", 0) > 0
    primaries = [
        node for node in group["nodes"] if node["role"] == "primary" and (node["name"] != own or leased)
    ]
    for node in primaries:
        if node["healthy"]:
            return str(node["name"])
    owned = any(node["name"] == own for node in primaries)
    return "" if owned or all(node["role"] != "absent" for node in group["nodes"]) else None


def seen(members: Iterable[Member], by: Mapping[str, str | None]) -> tuple[Member, ...]:
    """Return members as a view has them. Of a group that the daemon does not have nothing is certain."""
    known = ((member, by.get(member.group)) for member in members)
    return tuple(replace(member, by=name or "", certain=name is not None) for member, name in known)


def gone(addresses: Iterable[str], members: Iterable[Member]) -> tuple[Member, ...]:
    """Return addresses that nobody serves any more as members. Raises SpreadError for what a group has."""
    had = {ip_address(member.address): member.group for member in members}
    for one in map(ip_address, addresses):
        if one in had:
            raise SpreadError(f"{one} is an address of group {had[one]}: take it out of the file first")
    return tuple(Member("", str(ip_address(one))) for one in addresses)


class Patience:
    """A group that nobody serves, for certain, counts as such after a while: a takeover is over by then."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._since: dict[str, float] = {}

    def judge(self, members: Iterable[Member], now_s: float) -> tuple[tuple[Member, ...], float | None]:
        """Return members, certain or not, and in how many seconds more of them are; None: never."""
        judged, left_s = [], list[float]()
        for member in members:
            if member.by or not member.certain:
                self._since.pop(member.group, None)
                judged.append(member)
                continue
            waits_s = self._since.setdefault(member.group, now_s) + self._wait_s - now_s
            judged.append(replace(member, certain=waits_s <= 0))
            left_s += [waits_s] if waits_s > 0 else []
        return tuple(judged), min(left_s, default=None)
