"""Hosts that decide each for itself for what they have room: together they come to rest where the assignment
of all of them finds nothing to change, whatever is lost and returns."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fttcp.cluster.placement import Group, Host, assign, ranked, used
from fttcp.cluster.room import Claim, Part, fits

HOSTS = ("alpha", "beta", "gamma")


class Cluster:
    """Hosts that carry out what ``fits`` says, turn by turn; roles move as those of nodes do."""

    def __init__(self, groups: list[Group], hosts: list[Host]) -> None:
        self.groups = {group.name: group for group in groups}
        self.hosts = hosts
        self.unserved = dict.fromkeys(self.groups, 0)

    def alive(self) -> list[Host]:
        return [host for host in self.hosts if host.alive]

    def part(self, group: Group, host: str) -> Part:
        if group.primary == host:
            return Part.SERVES
        if group.backup == host:
            return Part.BACKS
        if not group.primary:
            return Part.UNSERVED
        return Part.SPARE if group.backup else Part.UNBACKED

    def room(self, host: Host) -> frozenset[str]:
        """What this host decides, from what it knows."""
        claims = []
        for group in self.groups.values():
            if host.name in group.prefer:
                part = self.part(group, host.name)
                waits = 2 + group.prefer.index(host.name)
                claims.append(Claim(group, part, self.unserved[group.name] / waits))
        return fits(claims, host.capacity)

    def turn(self) -> bool:
        """True if something changed."""
        before = dict(self.groups)
        room = {host.name: self.room(host) for host in self.alive()}
        for name, group in self.groups.items():
            here = [host for host in group.prefer if name in room.get(host, ())]
            primary, backup = group.primary, group.backup
            if backup and backup not in here:
                backup = ""
            if primary and primary not in here:
                primary, backup = backup, ""
            elif not primary and here:
                primary = here[0]
            elif primary and not backup:
                backup = next((host for host in here if host != primary), "")
            self.groups[name] = replace(group, primary=primary, backup=backup)
            self.unserved[name] = 0 if primary else self.unserved[name] + 1
        return self.groups != before

    def settle(self) -> None:
        """Until nothing has changed for longer than anybody waits."""
        still = 0
        for _ in range(200):
            still = 0 if self.turn() else still + 1
            if still > 2 + len(self.hosts):
                return
        raise AssertionError("it does not come to rest")

    def switch(self, name: str, alive: bool) -> None:
        """A host is lost, with its roles, or returns without any."""
        self.hosts = [replace(host, alive=alive) if host.name == name else host for host in self.hosts]
        for group in self.groups.values():
            primary, backup = (group.primary, group.backup)
            if primary == name:
                primary, backup = backup, ""
            self.groups[group.name] = replace(group, primary=primary, backup="" if backup == name else backup)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    hosts = [Host(name, draw(st.one_of(st.none(), st.integers(0, 5)))) for name in HOSTS]
    groups = []
    for number in range(draw(st.integers(1, 6))):
        units = draw(st.integers(0, 3))
        prefer = draw(st.permutations(HOSTS))[: draw(st.integers(1, 3))]
        cold = draw(st.booleans())
        groups.append(
            Group(f"g{number}", tuple(prefer), draw(st.integers(0, 2)), units, 0 if cold else units)
        )
    return Cluster(groups, hosts)


def check(cluster: Cluster) -> None:
    groups = list(cluster.groups.values())
    load = used(groups)
    for host in cluster.alive():
        assert host.capacity is None or load.get(host.name, 0) <= host.capacity, (host, groups)
    found = assign(groups, cluster.hosts)
    assert {name: place.primary for name, place in found.items()} == {
        group.name: group.primary for group in groups
    }
    assert {name: place.backup for name, place in found.items()} == {
        group.name: group.backup for group in groups
    }


@settings(max_examples=400, deadline=None)
@given(cluster=clusters(), acts=st.lists(st.tuples(st.sampled_from(HOSTS), st.booleans()), max_size=6))
def test_hosts_find_what_the_assignment_has(cluster: Cluster, acts: list[tuple[str, bool]]) -> None:
    cluster.settle()
    check(cluster)
    for name, alive in acts:
        before = dict(cluster.groups)
        if next(host.alive for host in cluster.hosts if host.name == name) is alive:
            continue
        cluster.switch(name, alive)
        cluster.settle()
        check(cluster)
        if alive:
            moved = [g for g in before.values() if g.primary and cluster.groups[g.name].primary != g.primary]
            assert not moved, "a host that returns takes nothing away"


@settings(max_examples=300, deadline=None)
@given(cluster=clusters(), name=st.sampled_from(HOSTS))
def test_what_is_left_out_has_no_room_beside_what_comes_first(cluster: Cluster, name: str) -> None:
    cluster.settle()
    cluster.switch(name, False)
    cluster.settle()
    order = ranked(cluster.groups.values())
    for at, group in enumerate(order):
        for host in cluster.alive():
            if not group.primary and host.name in group.prefer:
                beside = sum(g.units for g in order[:at] if g.primary == host.name)
                assert host.capacity is not None and beside + group.units > host.capacity


def test_without_a_bound_there_is_room_for_all() -> None:
    group = Group("web", HOSTS)
    assert fits([Claim(group, Part.SPARE)], None) == {"web"}
    assert fits([Claim(group, Part.SPARE)], 0) == frozenset()


def test_others_leave_for_it_step_by_step() -> None:
    """Only what is free at first; then the place of a backup, then that of what counts less."""
    first, low = Group("first", HOSTS, 2), Group("low", HOSTS, 1)
    backs, serves = Claim(low, Part.BACKS), Claim(low, Part.SERVES)
    assert fits([Claim(first, Part.UNSERVED, 0.4), backs], 1) == {"low"}
    assert fits([Claim(first, Part.UNSERVED, 0.5), backs], 1) == {"first"}
    assert fits([Claim(first, Part.UNSERVED, 0.9), serves], 1) == {"low"}
    assert fits([Claim(first, Part.UNSERVED, 1.0), serves], 1) == {"first"}
    assert fits([Claim(first, Part.UNSERVED, 1.0), Claim(low, Part.SERVES)], 2) == {"first", "low"}
