"""A service with a MAC address of its own, and what the client and the switch make of it, on real kernels."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import network
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4, SERVICE6, SERVICE_LINK, SWITCH
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import SERVICES, events, known_mac, mac_of
from tests.integration.traffic import traffic

pytestmark = needs_root

TOLD_S, SYNC_S = 30.0, 90.0
FROM_OTHERS = f"""
table netdev watch {{
    counter others {{ }}
    chain in {{
        type filter hook ingress device eth0 priority 0;
        ip saddr {SERVICE4} ether saddr != MAC counter name others
        ip6 saddr {SERVICE6} ether saddr != MAC counter name others
        arp saddr ip {SERVICE4} ether saddr != MAC counter name others
    }}
}}
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("own-mac", ("mac=virtual",), ("bulk-down",))


def from_others(lab: Lab) -> int:
    """How many frames the client had from the service that another MAC address has sent."""
    shown = json.loads(lab.host(CLIENT).run(["nft", "-j", "list", "counter", "netdev", "watch", "others"]))
    return next(int(entry["counter"]["packets"]) for entry in shown["nftables"] if "counter" in entry)


def port_of(lab: Lab, mac: str) -> str:
    """Behind which of its ports the switch has it."""
    entries = json.loads(lab.host(SWITCH).run(["bridge", "-j", "fdb", "show", "br", "br-svc"]))
    return next((str(entry["ifname"]) for entry in entries if entry["mac"] == mac), "")


@contextmanager
def neighbours_watched(lab: Lab) -> Iterator[list[str]]:
    """Which MAC addresses the client's neighbour tables had for the service meanwhile: filled at the end."""
    seen: list[str] = []
    watch = lab.popen(CLIENT, ["ip", "monitor", "neigh"], stdout=subprocess.PIPE, text=True)
    with watch:
        try:
            yield seen
        finally:
            watch.terminate()
        assert watch.stdout is not None
        words = [line.split() for line in watch.stdout]
        seen += [line[line.index("lladdr") + 1] for line in words if line[0] in SERVICES and "lladdr" in line]


def test_clients_know_one_station_whoever_serves(pair: Pair) -> None:
    """Their entries never change, and nobody else's frames bear the service's address. The switch learns."""
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    with traffic(lab) as connections:
        connections.goes_on("the start")
        mac = known_mac(lab, CLIENT, SERVICE4)
        assert mac == known_mac(lab, CLIENT, SERVICE6) and int(mac[:2], 16) & 3 == 2
        assert mac not in {mac_of(lab, node, "svc0") for node in lab.nodes()}
        assert port_of(lab, mac) == old
        lab.host(CLIENT).run(["nft", "-f", "-"], text_input=FROM_OTHERS.replace("MAC", mac))
        with neighbours_watched(lab) as seen:
            make_fault(lab, "crash-host", old)
            connections.goes_on("the takeover", silent=True)
            await_condition(lambda: port_of(lab, mac) == new, 10.0, "the switch to learn where it is")
            lab.host(CLIENT).run(["ip", "neigh", "flush", "all"])
            connections.goes_on("all neighbours are asked for anew", silent=True)
        assert set(seen) == {mac} and from_others(lab) == 0
    assert not events(lab, new, "address-claimed")


def test_an_interface_made_anew_has_it_again(pair: Pair) -> None:
    """The kernel has removed what was hooked to the old one."""
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    (cable,) = network.cables(new, SERVICE_LINK)
    with traffic(lab) as connections:
        connections.goes_on("the start")
        mac = known_mac(lab, CLIENT, SERVICE4)
        lab.host(SWITCH).run(["ip", "link", "delete", cable.port])
        await_condition(lambda: "service-interface" in pair.reasons(new), TOLD_S, "its end is told")
        network.plug(lab.host(SWITCH), lab.host(new), [cable])
        await_condition(lambda: not pair.reasons(new), SYNC_S, "ready again")
        lab.wait("synced", SYNC_S)
        make_fault(lab, "crash-host", old)
        connections.goes_on("the crash", silent=True)
        assert known_mac(lab, CLIENT, SERVICE4) == mac and port_of(lab, mac) == new
