"""Placement beside its rules as they are written, tried on every assignment that there is; and what holds of
any, as hosts are lost one by one to the last, and return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fttcp.cluster.placement import Assignment, Group, Host, Place, assign, moved, used

HOSTS = ("alpha", "beta", "gamma", "delta", "epsilon")


@st.composite
def clusters(draw: st.DrawFn, hosts: int, groups: int) -> tuple[list[Group], list[Host]]:
    """A view as it may be: roles on hosts that live, are lost, or that nobody prefers."""
    names = HOSTS[: draw(st.integers(1, hosts))]
    capacities = st.one_of(st.integers(0, 8), st.none())
    view = [Host(name, draw(capacities), draw(st.sampled_from((True, True, False)))) for name in names]
    made = []
    for number in range(draw(st.integers(0, groups))):
        prefer = draw(st.lists(st.sampled_from(names), max_size=len(names), unique=True))
        roles = draw(st.permutations((*names, "", "", "elsewhere")))
        primary, backup = roles[:2]
        units = draw(st.integers(0, 4))
        made.append(
            Group(
                f"g{number}",
                tuple(prefer),
                draw(st.integers(0, 2)),
                units,
                draw(st.sampled_from((0, units))),
                primary,
                backup if primary else "",
            )
        )
    return draw(st.permutations(made)), view


# ---------------------------------------------------------------------- the slow rule


def slow(groups: Sequence[Group], hosts: Sequence[Host]) -> Assignment:
    """Look at every way to place all primaries, and take the one that is best for the first group; of those
    the one that is best for the second; and so on. Then the same with backups."""
    line = sorted(groups, key=lambda group: group.name)
    line.sort(key=lambda group: group.importance, reverse=True)
    names = [group.name for group in line]
    alive = [host.name for host in hosts if host.alive]
    choices: list[list[str | None]] = [
        [*(name for name in alive if name in group.prefer), None] for group in line
    ]
    primaries = best(choices, line, hosts, True, {})
    bounds = {host.name: host.capacity for host in hosts}

    def could(way: str | None, number: int) -> bool:
        """True if the host could serve the group with all that count more."""
        bound = None if way is None else bounds[way]
        more = [one.units for one, where in zip(line[:number], primaries, strict=False) if where == way]
        return bound is None or sum(more, line[number].units) <= bound

    beside = [
        [way for way in ways if where and way != where and could(way, number)] + [None] * (not where)
        for number, (ways, where) in enumerate(zip(choices, primaries, strict=True))
    ]
    backups = best(beside, line, hosts, False, dict(zip(names, primaries, strict=True)))
    both = zip(primaries, backups, strict=True)
    return {name: Place(one or "", other or "") for name, (one, other) in zip(names, both, strict=True)}


def seats(group: Group, alive: set[str], primary: bool) -> list[str]:
    """Where a group is now, and would be next, of hosts that it may have."""
    told = [group.primary, group.backup] if primary else [group.backup]
    return [name for name in told if name in alive and name in group.prefer]


def best(
    choices: list[list[str | None]],
    line: list[Group],
    hosts: Sequence[Host],
    primary: bool,
    taken: dict[str, str | None],
) -> tuple[str | None, ...]:
    capacity = {host.name: host.capacity for host in hosts}
    alive = {host.name for host in hosts if host.alive}

    def load(host: str, picked: Sequence[str | None]) -> int:
        """Units on a host with these seats of the first groups, and all primaries if backups are seated."""
        return sum(
            group.units for group in line if taken.get(group.name) == host
        ) + sum(
            group.units if primary else group.backup_units
            for group, where in zip(line, picked, strict=False)
            if where == host
        )  # fmt: skip

    def sitting(host: str, number: int, backups: bool) -> int:
        """Units on a host of whom this one would turn out."""
        total = 0
        for i, other in enumerate(line):
            sits = seats(other, alive, primary)[:1] == [host] != [taken.get(other.name)]
            if i > number and other in served and sits:
                total += other.units if primary else other.backup_units
            both = {other.primary, other.backup} <= alive & set(other.prefer)
            if backups and both and other.backup == host:
                total += other.backup_units
        return total

    def cost(picked: tuple[str | None, ...], number: int) -> int:
        """How far down the rules a group has come; the sum of all of them orders whole assignments."""
        group, where = line[number], picked[number]
        if where is None:
            return 999
        stays = seats(group, alive, primary)
        if where in stays:
            return stays.index(where)
        bound = capacity[where]
        here = load(where, picked[: number + 1])
        place = group.prefer.index(where)
        if not primary:
            return 100 + place
        for level, backups in ((100, True), (200, False)):
            if bound is None or here + sitting(where, number, backups) <= bound:
                return level + place
        return 300 + place

    def fits(picked: tuple[str | None, ...]) -> bool:
        return all(
            bound is None or not any(where == name for where in picked) or load(name, picked) <= bound
            for name, bound in capacity.items()
        )

    served = [group for group in line if primary or taken.get(group.name)]
    able = [picked for picked in product(*choices) if fits(picked)]

    def stay(picked: tuple[str | None, ...]) -> list[bool]:
        """Backups that sit come before those that look for a host."""
        if primary:
            return []
        return [where not in seats(one, alive, False) for one, where in zip(line, picked, strict=True)]

    return min(able, key=lambda picked: (stay(picked), [cost(picked, i) for i in range(len(line))]))


@settings(max_examples=3000)
@given(clusters(3, 3))
def test_it_is_what_the_rules_say(cluster: tuple[list[Group], list[Host]]) -> None:
    groups, hosts = cluster
    assert assign(groups, hosts) == slow(groups, hosts)


@settings(max_examples=300)
@given(clusters(3, 4))
def test_it_is_what_the_rules_say_of_four(cluster: tuple[list[Group], list[Host]]) -> None:
    groups, hosts = cluster
    assert assign(groups, hosts) == slow(groups, hosts)


# ---------------------------------------------------------------------- what holds of any


def check(groups: Sequence[Group], hosts: Sequence[Host], found: Assignment) -> None:
    capacity = {host.name: host.capacity for host in hosts if host.alive}
    for name, units in used(moved(groups, found)).items():
        bound = capacity[name]  # only hosts that live are given anything
        assert bound is None or units <= bound
    for group in groups:
        place = found[group.name]
        assert {place.primary, place.backup} - {""} <= set(group.prefer)
        assert place.backup != place.primary or not place.primary
        above = [one for one in groups if (-one.importance, one.name) < (-group.importance, group.name)]

        def room(host: str, group: Group = group, above: list[Group] = above) -> bool:
            """True if a group fits beside the primaries of higher rank."""
            bound = capacity.get(host, -1)
            beside = sum(one.units for one in above if found[one.name].primary == host)
            return bound is None or beside + group.units <= bound

        hosts_of = [host for host in group.prefer if host in capacity]
        if not place.primary:  # the least important are shed: more important ones are in the way everywhere
            assert not any(map(room, hosts_of))
        if group.primary in hosts_of and place.primary != group.primary:
            assert not room(group.primary), "moved without need"
        elif group.backup in hosts_of and group.primary not in hosts_of and place.primary != group.backup:
            assert not room(group.backup), "its connections are given up without need"


@settings(max_examples=400)
@given(clusters(5, 12), st.randoms(use_true_random=False))
def test_any_assignment_keeps_capacity_rank_and_seats(
    cluster: tuple[list[Group], list[Host]], chance: Random
) -> None:
    groups, hosts = cluster
    found = assign(groups, hosts)
    check(groups, hosts, found)
    chance.shuffle(groups)
    chance.shuffle(hosts)
    assert assign(groups, hosts) == found, "the order in which a view is told counts"
    settled = assign(moved(groups, found), hosts)
    assert all(settled[name].primary == place.primary for name, place in found.items() if place.primary)


def steps(hosts: Sequence[Host], order: Sequence[int]) -> Iterator[list[Host]]:
    """All hosts; one fewer each time, to none; and back."""
    state = [replace(host, alive=True) for host in hosts]
    yield list(state)
    for alive in (False, True):
        for number in order:
            state[number] = replace(state[number], alive=alive)
            yield list(state)


@settings(max_examples=500)
@given(clusters(5, 8), st.data())
def test_hosts_are_lost_one_by_one_and_return(
    cluster: tuple[list[Group], list[Host]], data: st.DataObject
) -> None:
    groups: Sequence[Group] = [replace(group, primary="", backup="") for group in cluster[0]]
    order = data.draw(st.permutations(range(len(cluster[1]))))
    for hosts in steps(cluster[1], order):
        found = assign(groups, hosts)
        check(groups, hosts, found)
        if len(hosts) <= 3 and len(groups) <= 4:
            assert found == slow(groups, hosts)
        groups = moved(groups, found)
