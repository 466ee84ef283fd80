"""What an assignment changes, and why: for people."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass, replace
from enum import StrEnum

from fttcp.cluster.placement import Assignment, Group, Host, Place, assign, moved


class Role(StrEnum):
    """What a host is for a group."""

    PRIMARY = "primary"
    BACKUP = "backup"


class Why(StrEnum):
    """Why a role goes from one host to another, begins, or ends."""

    TAKEN_OVER = "its backup takes over, and connections go on"
    STARTED_ANEW = "no backup could take over: connections end"
    TURNED_OUT = "more important groups need the units"
    NO_HOST = "no other host is there"
    NO_ROOM = "no host has the units left"
    ROOM = "there are units for it"
    NEEDED = "the one before is lost, or is primary now"
    UNSERVED = "the group has no primary"


@dataclass(frozen=True, slots=True)
class Change:
    """A role of a group that goes from host ``before`` to host ``after``; '' for none."""

    group: str
    role: Role
    before: str
    after: str
    why: Why


def settle(
    groups: Collection[Group], hosts: Collection[Host]
) -> tuple[tuple[Group, ...], tuple[Change, ...]]:
    """Return the groups as they are to be with these hosts, and what changes for that."""
    found = assign(groups, hosts)
    return moved(groups, found), tuple(changes(groups, hosts, found))


def changes(groups: Collection[Group], hosts: Collection[Host], found: Assignment) -> Iterator[Change]:
    """Yield what an assignment changes: of each group the primary before the backup."""
    alive = {host.name for host in hosts if host.alive}
    for group in groups:
        place = found[group.name]
        if place.primary != group.primary:
            why = _why_primary(group, place.primary, alive)
            yield Change(group.name, Role.PRIMARY, group.primary, place.primary, why)
        if place.backup != group.backup:
            yield Change(
                group.name, Role.BACKUP, group.backup, place.backup, _why_backup(group, place, alive)
            )


def _why_primary(group: Group, after: str, alive: Set[str]) -> Why:
    if not after:
        return Why.NO_ROOM if alive & set(group.prefer) else Why.NO_HOST
    if not group.primary:
        return Why.ROOM
    if after == group.backup:
        return Why.TAKEN_OVER if group.primary not in alive else Why.TURNED_OUT
    return Why.STARTED_ANEW if group.primary not in alive else Why.TURNED_OUT


def _why_backup(group: Group, place: Place, alive: Set[str]) -> Why:
    if not place.primary:
        return Why.UNSERVED
    if not place.backup:
        return Why.NO_ROOM if alive & set(group.prefer) - {place.primary} else Why.NO_HOST
    if not group.backup:
        return Why.ROOM
    return Why.NEEDED if group.backup == place.primary or group.backup not in alive else Why.TURNED_OUT


def with_host(hosts: Collection[Host], name: str, alive: bool) -> tuple[Host, ...]:
    """Return the hosts once this one is there, or is lost."""
    return tuple(replace(host, alive=alive) if host.name == name else host for host in hosts)


@dataclass(frozen=True, slots=True)
class Shortage:
    """What finds no room once host ``without`` is lost ('': none is): groups that are ``shed``, and groups
    that are served ``unprotected``."""

    without: str
    shed: tuple[str, ...]
    unprotected: tuple[str, ...]

    def __str__(self) -> str:
        when = f"without {self.without}" if self.without else "with all hosts"
        parts = [f"no primary for {', '.join(self.shed)}"] if self.shed else []
        parts += [f"no backup for {', '.join(self.unprotected)}"] if self.unprotected else []
        return f"{when}: {'; '.join(parts)}"


def shortages(groups: Collection[Group], hosts: Collection[Host]) -> Iterator[Shortage]:
    """Yield what the units do not suffice for: with all hosts, and without each one of them. That a last
    host leaves nobody to be the backup is no want of units."""
    settled, _ = settle(groups, hosts)
    yield from _shortage("", settled, len(hosts) > 1)
    for host in hosts:
        left = with_host(hosts, host.name, False)
        yield from _shortage(host.name, settle(settled, left)[0], len(hosts) > 2)


def _shortage(without: str, settled: Collection[Group], others: bool) -> Iterator[Shortage]:
    shed = tuple(group.name for group in settled if not group.primary)
    unprotected = tuple(group.name for group in settled if others and group.primary and not group.backup)
    if shed or unprotected:
        yield Shortage(without, shed, unprotected)
