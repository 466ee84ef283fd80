"""The service interface is made of others: a macvlan, whose parent is a NIC on the same network, with
addresses of its own; a bridge, which takes the MAC address of the NIC that is its port (as a bond does).

Under downloads and connections that are typed on, over IPv4 and IPv6.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import network
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, PROXY, SERVICE_LINK, SWITCH
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import SERVICES, await_mac, events, known_mac, mac_of, only_svc0_answers
from tests.integration.traffic import traffic

pytestmark = needs_root

SPARE_MAC = "02:79:0a:4d:99:%02x"
MACVLAN = "link nic0 address 02:80:0a:4d:00:{number:02x} type macvlan mode bridge"
BRIDGE = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"


def ip(lab: Lab, host: str, *commands: str) -> None:
    lab.host(host).run(["ip", "-batch", "-"], text_input="\n".join(commands) + "\n")


def in_step(pair: Pair, kind: str, *after: str) -> Lab:
    """A pair whose cables are in nic0, with service interfaces of this kind made anew on it."""
    lab = pair.ready().lab
    for number, node in enumerate(lab.nodes(), 1):
        (cable,) = network.cables(node, SERVICE_LINK)
        ip(lab, node, "link set svc0 down", "link set svc0 name nic0", "link set nic0 up")
        gone = f"{node} to tell that its interface is gone"
        await_condition(lambda node=node: "service-interface" in pair.reasons(node), 30, gone)  # type: ignore[misc]
        ip(
            lab,
            node,
            "address flush dev nic0",
            f"link add svc0 {kind.format(number=number)}",
            *after,
            "link set svc0 up",
            f"address add {cable.address4} dev svc0",
            f"address add {cable.address6} dev svc0 nodad",
        )
        await_condition(lambda node=node: not pair.reasons(node), 30.0, f"{node} to be ready")  # type: ignore[misc]
        lab.wait("synced")
    return lab


@pytest.fixture
def macvlans() -> Iterator[Lab]:
    for pair in pair_named("macvlan", workloads=("bulk-down",)):
        lab = in_step(pair, MACVLAN)
        for node, (own4, own6) in parents(lab).items():
            ip(
                lab,
                node,
                f"address add {own4}/24 dev nic0 noprefixroute",
                f"address add {own6}/64 dev nic0 nodad noprefixroute",
            )
            for interface in ("all", "svc0", "nic0"):
                for name in ("arp_ignore", "arp_announce"):
                    lab.host(node).run(["sysctl", "-qw", f"net.ipv4.conf.{interface}.{name}=0"])
        yield lab


def parents(lab: Lab) -> dict[str, tuple[str, str]]:
    """The own addresses of the nodes' NICs."""
    return {node: (f"10.77.0.{n}", f"fd77::{n}") for n, node in enumerate(lab.nodes(), 21)}


@pytest.mark.parametrize("target", ["backup", "primary"])
def test_the_parent_of_a_macvlan_answers_for_nothing(macvlans: Lab, target: str) -> None:
    """With a daemon, and with a dead one; and it is taken for no other owner."""
    others = [address for both in parents(macvlans).values() for address in both]
    only_svc0_answers(macvlans, others, target)


@pytest.mark.parametrize("where", ["backup", "primary"])
def test_a_neighbour_on_the_same_parent_is_told_of_a_takeover(macvlans: Lab, where: str) -> None:
    """A container beside the service, by a macvlan of its own: its frames meet no switch."""
    lab = macvlans
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    container = lab.add_host(PROXY)
    beside = f"link nic0 netns {container.init.pid} type macvlan mode bridge"
    ip(lab, lab.node_in_role(where), f"link add mv0 {beside}")
    ip(
        lab,
        PROXY,
        *("link set eth0 down", "link set mv0 up"),
        "address add 10.77.0.25/24 dev mv0",
        "address add fd77::25/64 dev mv0 nodad",
    )
    with traffic(lab) as connections:
        for service in SERVICES:
            container.run(["ping", "-q", "-c", "1", "-w", "5", service])
            assert known_mac(lab, PROXY, service, "mv0") == mac_of(lab, old, "svc0")
        connections.goes_on("the start")
        make_fault(lab, "kill-node", old)
        await_mac(lab, PROXY, mac_of(lab, new, "svc0"), "mv0")
        for service in SERVICES:
            container.run(["ping", "-q", "-c", "1", "-w", "5", service])
        connections.goes_on("the takeover", silent=True)


@pytest.fixture
def bridges() -> Iterator[Lab]:
    for pair in pair_named("ofnics", workloads=("bulk-down",)):
        lab = in_step(pair, BRIDGE, "link set nic0 master svc0")
        for number, node in enumerate(lab.nodes(), 1):
            far = f"peer name nic1 address {SPARE_MAC % number} netns {lab.host(node).init.pid}"
            ip(lab, SWITCH, f"link add {node}-spare type veth {far}")
            ip(lab, SWITCH, f"link set {node}-spare master br-svc")
            ip(lab, node, "link set nic1 up")
        yield lab


def to_the_spare(lab: Lab, node: str) -> None:
    """The service interface uses the other NIC, and has its MAC address from now on."""
    ip(lab, SWITCH, f"link set {node}-spare up")
    ip(lab, node, "link set nic1 master svc0", "link set nic0 nomaster")
    number = lab.nodes().index(node) + 1
    await_condition(lambda: mac_of(lab, node, "svc0") == SPARE_MAC % number, 30, "the other address")


def test_the_mac_address_of_another_nic_is_announced(bridges: Lab) -> None:
    """Of the primary; then of the backup, before it takes over. No broadcast reaches the client."""
    lab = bridges
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    with traffic(lab) as connections:
        connections.goes_on("the start")
        ip(lab, SWITCH, f"link set {CLIENT} type bridge_slave neigh_suppress on")
        for node in (old, new):
            to_the_spare(lab, node)
            await_condition(
                lambda node=node: bool(events(lab, node, "mac-changed")),  # type: ignore[misc]
                30,
                "the change to be told",
            )
            await_mac(lab, CLIENT, mac_of(lab, old, "svc0"))
            connections.goes_on(f"the other NIC of {node}", silent=True)
        make_fault(lab, "crash-host", old)
        await_mac(lab, CLIENT, mac_of(lab, new, "svc0"))
        connections.goes_on("the takeover", silent=True)
