"""Hosts are lost one by one to the last, and return: where groups are at each step, beside the slow rule."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fttcp.cluster.changes import with_host
from fttcp.cluster.placement import Group, Host, moved
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import ALL_NODES, CLIENT, WITNESS
from lab.nodeconfig import to_toml
from tests.integration.netns import needs_root
from tests.integration.pair import pair_named
from tests.property.test_placement import slow

pytestmark = needs_root

WITHIN_S = 150.0
TIMING = {"heartbeat_ms": 100, "heartbeat_misses": 10, "startup_wait_ms": 5000}


def addresses(number: int) -> list[str]:
    return [f"10.77.0.{150 + number}", f"fd77::{150 + number}"]


class Hosts:
    """As many groups as hosts, each with a line of its own. The second group is the most important one."""

    def __init__(self, lab: Lab, names: Sequence[str], capacity: int | None) -> None:
        """``capacity``: units of each host; a server takes one."""
        self.lab, self.alive, self.capacity = lab, list(names), capacity
        self.hosts = tuple(Host(name, capacity) for name in names)
        count = len(names)
        self.groups = tuple(
            Group(f"g{i}", (*names[i:], *names[:i]), count - (i - 1) % count, 1, 1) for i in range(count)
        )

    def section(self, group: Group) -> dict[str, Any]:
        number = int(group.name[1:])
        return {
            "name": group.name,
            "addresses": addresses(number),
            "ports": [f"{7 + number}/tcp"],
            "command": f"socat TCP6-LISTEN:{7 + number},ipv6only=0,fork,reuseaddr,nodelay PIPE",
            "queue": 1000 + 32 * number,
            "channel_port": 20000 + 10 * number,
            "limits": {"max_flows": 64},
            "prefer": list(group.prefer),
            "importance": group.importance,
            "timing": TIMING,
        }

    def write(self, node: str) -> None:
        """Give a node's file these groups, and all hosts their units."""
        file = self.lab.home / node / "node.toml"
        config = tomllib.loads(file.read_text())
        config["group"] = [self.section(group) for group in self.groups]
        for host in (config["node"], *config["peer"]):
            if self.capacity is not None:
                host["capacity"] = self.capacity
        file.write_text(to_toml(config) + "\n")

    def seen(self) -> dict[str, tuple[str, str]]:
        """Primary and backup of each group that somebody serves, as its primary tells; '' for none."""
        found: dict[str, tuple[str, str]] = {group.name: ("", "") for group in self.groups}
        for said in self.lab.status()["nodes"]:
            for group in said.get("groups", []):
                if group["role"] == "primary" and group.get("lease_ms_left", 0) > 0:
                    backup = group["peer"] if group["synced"] else ""
                    found[group["name"]] = (str(said["node"]), backup)
        return found

    def ruled(self) -> dict[str, tuple[str, str]]:
        """The same by the slow rule, from where they were before."""
        hosts = self.hosts
        for host in self.hosts:
            hosts = with_host(hosts, host.name, host.name in self.alive)
        self.groups = moved(self.groups, slow(self.groups, hosts))
        return {group.name: (group.primary, group.backup) for group in self.groups}

    def await_rule(self, what: str) -> None:
        """All is where the rule has it; print that. And whoever is served answers, over both versions."""
        wanted = self.ruled()
        await_condition(lambda: self.seen() == wanted, WITHIN_S, f"{what}: {wanted}", interval_s=0.3)
        print(f"{what:16}", *(f"{name}={'/'.join(place)}" for name, place in wanted.items()))
        for name, (primary, _) in wanted.items():
            if primary:
                self.await_answers(int(name[1:]))

    def await_answers(self, number: int) -> None:
        for text in addresses(number):
            place = f"TCP:{f'[{text}]' if ':' in text else text}:{7 + number}"
            done = self.lab.exec(CLIENT, ["sh", "-c", f"echo {number} | socat -t10 - {place}"])
            assert done.stdout == f"{number}\n", (place, done.stderr)


@pytest.fixture(params=[(3, 2), (5, None)], ids=["three-short-of-units", "five"])
def hosts(request: pytest.FixtureRequest) -> Iterator[Hosts]:
    count, capacity = request.param
    names = ALL_NODES[:count]
    for pair in pair_named(f"hosts{count}"):
        settings = [f"timing.{key}={value}" for key, value in TIMING.items()]
        pair.lab.up((), [*settings, "arbiter.lease_ms=3000"], arbiter=WITNESS, nodes=count, wait_s=60)
        made = Hosts(pair.lab, names, capacity)
        for name in names:
            make_fault(pair.lab, "crash-host", name)
            made.write(name)
        for name in names:
            make_fault(pair.lab, "restart-host", name)
        yield made


def test_the_last_host_serves_what_it_has_units_for_and_all_return(hosts: Hosts) -> None:
    """With two units for three groups, one host less leaves two without a backup; the last one serves two."""
    hosts.await_rule("all start")
    names = list(hosts.alive)
    for name in names[:-1]:
        hosts.alive.remove(name)
        make_fault(hosts.lab, "crash-host", name)
        hosts.await_rule(f"{name} is lost")
    served = {group.name for group in hosts.groups if group.primary}
    assert served == ({group.name for group in hosts.groups} if hosts.capacity is None else {"g1", "g2"})
    for name in names[:-1]:
        hosts.alive.append(name)
        make_fault(hosts.lab, "restart-host", name)
        hosts.await_rule(f"{name} returns")
    assert all(group.primary and group.backup for group in hosts.groups)
