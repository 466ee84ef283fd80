"""Service addresses, and whether somebody serves them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


class SpreadError(Exception):
    """A target does not do as it is told; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """A service address of a group. ``port``: of the service, 0 where none is told; ``by``: the node that
    serves it, '' for none; ``certain``: False while that may change in a moment."""

    group: str
    address: str
    port: int = 0
    by: str = ""
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """What is told of some members, under a name. ``lines`` returns in the target's own words how it is to
    be; ``apply`` makes it so, may wait for seconds, and raises SpreadError. None: it can only be printed."""

    name: str
    members: tuple[Member, ...]
    lines: Callable[[Sequence[Member]], list[str]]
    apply: Callable[[Sequence[Member]], None] | None


@dataclass(frozen=True, slots=True)
class View:
    """Who serves, as one node sees it. ``by``: for each group the node that serves it, '' for none."""

    node: str
    by: Mapping[str, str]

    @property
    def counts(self) -> bool:
        """True if the node serves a group itself. One that does not may be cut off from those that do: what
        it sees tells nobody anything."""
        return self.node in self.by.values()


def view(status: Mapping[str, Any]) -> View:
    """Return what the operation `status` of a node tells."""
    node = str(status["node"])
    return View(node, {str(group["name"]): _server(node, group) for group in status["groups"]})


def _server(own: str, group: Mapping[str, Any]) -> str:
    """Return the node that serves a group: a primary whose server is healthy, here with a lease as well."""
    for node in group["nodes"]:
        here = node["name"] == own
        if node["role"] == "primary" and node["healthy"] and (not here or group.get("lease_ms_left", 0) > 0):
            return str(node["name"])
    return ""


def seen(members: Iterable[Member], by: Mapping[str, str]) -> tuple[Member, ...]:
    """Return members as a view has them."""
    return tuple(replace(member, by=by.get(member.group, "")) for member in members)


class Patience:
    """A group that nobody serves counts as such after a while, when a takeover is over, and until a target
    has been told so. It is told once: a node that is cut off from one that serves may be wrong, and the other
    one tells again and again that it does."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def judge(self, members: Iterable[Member], now_s: float) -> tuple[tuple[Member, ...], float | None]:
        """Return members, certain or not, and in how many seconds more of them are; None: never."""
        judged, left_s = [], list[float]()
        for member in members:
            if member.by:
                self._since.pop(member.group, None)
                self._told.discard(member.group)
                judged.append(member)
                continue
            waits_s = self._since.setdefault(member.group, now_s) + self._wait_s - now_s
            judged.append(replace(member, certain=waits_s <= 0 and member.group not in self._told))
            left_s += [waits_s] if waits_s > 0 else []
        return tuple(judged), min(left_s, default=None)

    def told(self, members: Iterable[Member]) -> None:
        """A target does as these members say."""
        self._told |= {member.group for member in members if member.certain and not member.by}
