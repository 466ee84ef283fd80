"""Which host serves each group, and which one is its backup.

The rules, in the order in which they are applied:

1. Groups come in the order of their *rank*: the most important first, then by name.
2. First each group, by rank, gets a primary. One that sits on a living host stays there, if it fits beside
   the primaries of higher rank. Else the group goes to its backup, since connections go on there, if it
   fits beside those. Else it goes to the first host of its preference on which it fits and nobody has to
   leave; else to the first that only backups have to leave; else to the first on which it fits beside the
   primaries of higher rank.
3. A group for which no host has room is *shed*: nobody serves it, until a later assignment has room.
4. Then each group with a primary, by rank, keeps its backup, if it fits in what primaries leave; then those
   without one, by rank, get the first host of their preference with room. So any primary is worth more than
   any backup, and no backup leaves for another one. Each could serve, see ``could_serve``.

Nothing else moves: a host that returns is given what is shed and what lacks a backup, and no primary. No
better packing is looked for, since a move costs connections. The result hangs on the view alone, so hosts
that agree on the view agree on it.

A backup of a hot group takes as many units as the primary: it runs the same server, with the same input. One
of a cold or warm group runs none, and takes ``Group.backup_units`` = 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain


@dataclass(frozen=True, slots=True)
class Host:
    """A host as all hosts see it. ``capacity``: units it can carry, None for no bound."""

    name: str
    capacity: int | None = None
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """A service address, or several that move together, as all hosts see it.

    ``importance``: the higher, the later it is shed. ``prefer``: the hosts that may have it, the best first,
    none twice. ``primary``, ``backup``: the hosts that are this now, '' for none; ``backup`` is in step, so
    connections go on there. A host that is lost, or not in ``prefer``, counts as none.
    """

    name: str
    prefer: tuple[str, ...]
    importance: int = 0
    units: int = 1
    backup_units: int = 1
    primary: str = ""
    backup: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group is. '': nowhere; a group without primary is shed, and has no backup."""

    primary: str = ""
    backup: str = ""


Assignment = Mapping[str, Place]
"""A place for each group, by its name."""


def ranked(groups: Iterable[Group]) -> list[Group]:
    """Return groups by rank: the last is shed first."""
    return sorted(groups, key=lambda group: (-group.importance, group.name))


def assign(groups: Collection[Group], hosts: Collection[Host]) -> Assignment:
    """Return where each group is to be. Names of groups differ, and those of hosts."""
    room = {host.name: host.capacity for host in hosts if host.alive}
    order = ranked(groups)
    sitting = _sitting_backups(groups, room)
    primaries = _seat([_primary_seat(group, room) for group in order], room, sitting)
    served = [group for group in order if primaries[group.name]]
    able = _able(served, primaries, [host for host in hosts if host.alive])
    sit = [_Seat(one.name, one.backup_units, (one.backup,)) for one in served if one.backup in able[one.name]]
    stay = {name: host for name, host in _seat(sit, room, {}).items() if host}
    lack = [_backup_seat(group, able[group.name]) for group in served if group.name not in stay]
    backups = stay | _seat(lack, room, {})
    return {group.name: Place(primaries[group.name], backups.get(group.name, "")) for group in groups}


def could_serve(group: Group, capacity: int | None, beside: int) -> bool:
    """Return whether a host may be the backup of a group, whatever it takes as that: the group fits there
    beside the primaries of higher rank, which take ``beside`` units. For it the others would leave."""
    return capacity is None or beside + group.units <= capacity


def used(groups: Iterable[Group]) -> dict[str, int]:
    """Return the units that each host carries, of those that have a role."""
    total: dict[str, int] = {}
    for group in groups:
        for host, units in ((group.primary, group.units), (group.backup, group.backup_units)):
            if host:
                total[host] = total.get(host, 0) + units
    return total


def moved(groups: Iterable[Group], assignment: Assignment) -> tuple[Group, ...]:
    """Return the groups as they are once the assignment is carried out."""
    return tuple(
        replace(group, primary=assignment[group.name].primary, backup=assignment[group.name].backup)
        for group in groups
    )


Units = dict[str, int]
"""By host."""


@dataclass(frozen=True, slots=True)
class _Seat:
    """One role of a group that looks for a host. ``first``: those that come before all others if they have
    room, where it sits now or has its heir; ``others``: all, the best first."""

    group: str
    units: int
    first: tuple[str, ...]
    others: tuple[str, ...] = ()


def _primary_seat(group: Group, room: Mapping[str, int | None]) -> _Seat:
    hosts = tuple(name for name in group.prefer if name in room)
    first = tuple(name for name in (group.primary, group.backup) if name in hosts)
    return _Seat(group.name, group.units, first, hosts)


def _able(
    served: Iterable[Group], primaries: Mapping[str, str], hosts: Iterable[Host]
) -> dict[str, frozenset[str]]:
    """Return for each group, given by rank, the hosts that may be its backup."""
    beside, able = dict.fromkeys(hosts, 0), dict[str, frozenset[str]]()
    for group in served:
        primary = primaries[group.name]
        able[group.name] = frozenset(
            host.name
            for host, units in beside.items()
            if host.name != primary and host.name in group.prefer and could_serve(group, host.capacity, units)
        )
        for host in beside:
            beside[host] += group.units * (host.name == primary)
    return able


def _backup_seat(group: Group, able: Collection[str]) -> _Seat:
    hosts = tuple(name for name in group.prefer if name in able)
    return _Seat(group.name, group.backup_units, (), hosts)


def _sitting_backups(groups: Iterable[Group], room: Mapping[str, int | None]) -> Units:
    """Return the units of backups that stay backups: those of a primary that lives."""
    total = dict.fromkeys(room, 0)
    for group in groups:
        if {group.primary, group.backup} <= room.keys() & set(group.prefer):
            total[group.backup] += group.backup_units
    return total


def _seat(seats: list[_Seat], room: dict[str, int | None], backups: Units) -> dict[str, str]:
    """Give each seat a host, or '', in this order; what they take is taken from ``room``. ``backups``: what
    need not leave for these if another host has room."""
    later = dict.fromkeys(room, 0)
    for seat in seats:
        for host in seat.first[:1]:
            later[host] += seat.units
    found: dict[str, str] = {}
    for seat in seats:
        for host in seat.first[:1]:
            later[host] -= seat.units
        host = found[seat.group] = _host_for(seat, room, later, backups)
        left = room.get(host)
        if left is not None:
            room[host] = left - seat.units
    return found


def _host_for(seat: _Seat, room: Mapping[str, int | None], later: Units, backups: Units) -> str:
    """Return a host with room beside what has been seated, or ''. ``later``: units of those to come, where
    they sit or have their heirs."""
    all_stay = ((host, seat.units + later[host] + backups.get(host, 0)) for host in seat.others)
    primaries_stay = ((host, seat.units + later[host]) for host in seat.others)
    any_may_leave = ((host, seat.units) for host in seat.others)
    first = ((host, seat.units) for host in seat.first)
    for host, units in chain(first, all_stay, primaries_stay, any_may_leave):
        left = room[host]
        if left is None or units <= left:
            return host
    return ""
