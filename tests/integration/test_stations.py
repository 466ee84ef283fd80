"""The service network: stations that no broadcast reaches, that claim the address; other MAC addresses.

Under downloads and connections that are typed on, over IPv4 and IPv6.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, PROXY, SERVICE4, SWITCH
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import (
    SERVICES,
    await_mac,
    claim,
    events,
    known_mac,
    mac_of,
    only_svc0_answers,
)
from tests.integration.traffic import traffic

pytestmark = needs_root

FOREIGN = "02:66:66:66:66:66"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("stations", ("timing.announce_refresh_s=60",), ("bulk-down",))


@pytest.fixture
def lab(pair: Pair) -> Iterator[Lab]:
    lab = pair.ready().lab
    yield lab
    for node in lab.nodes():
        lab.exec(SWITCH, ["ip", "link", "del", f"{node}-mgmt"])
    for port in (CLIENT, PROXY):
        lab.exec(SWITCH, ["bridge", "link", "set", "dev", port, "neigh_suppress", "off"])


def out_of_reach(lab: Lab, host: str) -> None:
    """From now on announcements to all do not reach a host, and what it knows of neighbours does not age."""
    lab.host(SWITCH).run(["bridge", "link", "set", "dev", host, "neigh_suppress", "on"])
    for version in ("ipv4", "ipv6"):
        lab.host(host).run(["sysctl", "-qw", f"net.{version}.neigh.eth0.base_reachable_time_ms=3600000"])


def test_one_that_came_a_moment_ago_is_told_by_itself(lab: Lab) -> None:
    """It has asked for the service, and says nothing more: it must know before it speaks."""
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    lab.add_host(PROXY)
    for service in SERVICES:
        lab.exec(PROXY, ["ping", "-q", "-c", "1", "-w", "5", service])
        assert known_mac(lab, PROXY, service) == mac_of(lab, old, "svc0")
    out_of_reach(lab, PROXY)
    make_fault(lab, "crash-host", old)
    await_mac(lab, PROXY, mac_of(lab, new, "svc0"))


def test_another_mac_address_is_announced_at_once(lab: Lab) -> None:
    """Of the primary; then of the backup, before it takes over."""
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    with traffic(lab) as connections:
        connections.goes_on("the start")
        out_of_reach(lab, CLIENT)
        for number, node in enumerate((old, new)):
            mac = f"02:77:0a:4d:99:{number:02x}"
            lab.host(node).run(["ip", "link", "set", "svc0", "address", mac])
            told = "the change to be told"
            await_condition(lambda node=node: bool(events(lab, node, "mac-changed")), 30, told)  # type: ignore[misc]
            await_mac(lab, CLIENT, "02:77:0a:4d:99:00")
            connections.goes_on(f"another MAC address of {node}", silent=True)
        make_fault(lab, "crash-host", old)
        await_mac(lab, CLIENT, "02:77:0a:4d:99:01")
        connections.goes_on("the takeover", silent=True)
    assert not events(lab, new, "address-claimed"), "a peer is no foreign station"


@pytest.mark.parametrize("target", ["backup", "primary"])
def test_the_mirror_follows_another_mac_address_of_the_peer_link(lab: Lab, target: str) -> None:
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    with traffic(lab) as connections:
        connections.goes_on("the start")
        node = new if target == "backup" else old
        lab.host(node).run(["ip", "link", "set", "peer0", "address", "02:78:0a:4e:99:01"])
        for _ in range(5):
            connections.goes_on("another MAC address on the peer link", silent=True)
        assert not events(lab, old, "flow-detached")
        lab.wait("synced")
        make_fault(lab, "crash-host", old)
        connections.goes_on("the takeover", silent=True)


def set_refresh(pair: Pair, node: str, seconds: int, before: int) -> None:
    """How often the node announces itself, without a restart."""
    file = pair.lab.home / node / "node.toml"
    line = "announce_refresh_s = {}\n"
    file.write_text(file.read_text().replace(line.format(before), line.format(seconds)))
    told = pair.order(node, "reload")["changed"]
    assert told == [f"group.lab.timing.announce_refresh_s: {before} -> {seconds}"]


def test_a_client_that_missed_all_announcements_is_put_right(pair: Pair, lab: Lab) -> None:
    """It takes the service to be at a station that is none, and its kernel sees no reason to ask."""
    node = lab.node_in_role("primary")
    right = mac_of(lab, node, "svc0")
    refreshes = lambda: int(pair.group(node)["counters"]["announce_refreshes"])  # noqa: E731
    with traffic(lab) as connections:
        connections.goes_on("the start")
        before = refreshes()
        for service in SERVICES:
            entry = [service, "lladdr", FOREIGN, "dev", "eth0", "nud", "reachable"]
            lab.host(CLIENT).run(["ip", "neigh", "replace", *entry])
            assert known_mac(lab, CLIENT, service) == FOREIGN
        set_refresh(pair, node, 1, 60)
        try:
            await_mac(lab, CLIENT, right)
            connections.goes_on("the refresh", silent=True)
        finally:
            set_refresh(pair, node, 60, 1)
        assert refreshes() > before


def is_told(lab: Lab, node: str, service: str) -> bool:
    wanted = (service, FOREIGN, "svc0")
    told = events(lab, node, "address-claimed")
    return wanted in [(event["address"], event["mac"], event["interface"]) for event in told]


@pytest.mark.parametrize("service", SERVICES)
def test_a_claim_is_told_and_answered(lab: Lab, service: str) -> None:
    """By a station that nobody knows: the client believes it for a moment only."""
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    with traffic(lab) as connections:
        connections.goes_on("the start")
        foreign = lab.add_host(PROXY)
        foreign.run(["ping", "-q", "-c", "1", "-w", "5", service])  # it is connected
        claim(foreign, service, FOREIGN)
        for node in (old, new):
            await_condition(lambda node=node: is_told(lab, node, service), 30, "the claim to be told")  # type: ignore[misc]
        right = mac_of(lab, old, "svc0")
        await_condition(lambda: known_mac(lab, CLIENT, service) == right, 30, "the right MAC address")
        connections.goes_on("the claim", silent=True)


def second_interface(lab: Lab, node: str) -> list[str]:
    """Another interface of a node on the service network, and nothing that silences it: its addresses."""
    number = lab.nodes().index(node) + 21
    addresses = [f"10.77.0.{number}", f"fd77::{number}"]
    switch, host = lab.host(SWITCH), lab.host(node)
    far = ["type", "veth", "peer", "name", "mgmt0", "netns", str(host.init.pid)]
    switch.run(["ip", "link", "add", f"{node}-mgmt", *far])
    switch.run(["ip", "link", "set", f"{node}-mgmt", "master", "br-svc", "up"])
    host.run(["ip", "link", "set", "mgmt0", "up"])
    for address, length in zip(addresses, (24, 64), strict=True):
        host.run(["ip", "addr", "add", f"{address}/{length}", "dev", "mgmt0", "noprefixroute"])
    for interface in ("all", "svc0", "mgmt0"):
        host.run(["sysctl", "-qw", f"net.ipv4.conf.{interface}.arp_ignore=0"])
        host.run(["sysctl", "-qw", f"net.ipv4.conf.{interface}.arp_announce=0"])
    return addresses


@pytest.mark.parametrize("target", ["backup", "primary"])
def test_a_second_interface_answers_for_nothing(lab: Lab, target: str) -> None:
    """Whatever sysctls say, with a daemon and with a dead one; and it is taken for no other owner."""
    others = [address for node in lab.nodes() for address in second_interface(lab, node)]
    only_svc0_answers(lab, others, target)


def test_clients_that_come_by_another_interface_are_told(lab: Lab) -> None:
    old = lab.node_in_role("primary")
    by4, _ = second_interface(lab, old)
    with traffic(lab) as connections:
        connections.goes_on("the start")
        host = lab.add_host(PROXY)
        host.run(["ip", "route", "add", f"{SERVICE4}/32", "via", by4])
        lab.exec(PROXY, ["ping", "-q", "-c", "1", "-w", "5", SERVICE4])
        await_condition(lambda: bool(events(lab, old, "other-interface")), 15.0, "it to be told")
        connections.goes_on("the other interface", silent=True)


def test_a_refusal_says_who_has_the_address(pair: Pair, lab: Lab) -> None:
    """And the node takes over when that one is gone."""
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    foreign = lab.add_host(PROXY)
    with traffic(lab) as connections:
        connections.goes_on("the start")
        foreign.run(["ip", "addr", "add", f"{SERVICE4}/32", "dev", "eth0"])
        mac = mac_of(lab, PROXY, "eth0")
        await_condition(lambda: bool(events(lab, old, "address-claimed")), 15.0, "the quiet one to be found")
        make_fault(lab, "crash-host", old)
        await_condition(lambda: bool(events(lab, new, "takeover-refused")), 30, "the refusal to be told")
        why = str(events(lab, new, "takeover-refused")[-1]["why"])
        assert f"{SERVICE4} is at {mac} on svc0" in why
        reasons = pair.group(new)["not_ready"]
        assert isinstance(reasons, list) and any(mac in reason["what"] for reason in reasons)
        foreign.run(["ip", "addr", "del", f"{SERVICE4}/32", "dev", "eth0"])
        await_condition(lambda: pair.group(new)["role"] == "primary", 30, "the takeover")
