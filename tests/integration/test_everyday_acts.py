"""What managers of networks, scripts and people do to a host's addresses, routes, sysctls and interfaces.

Downloads, connections that are typed on and silent ones go on meanwhile, over IPv4 and IPv6, and outlive the
primary's crash afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import network
from lab.experiment import SYNC_S, keep_logs
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import PEER_LINK, SERVICE4, SERVICE6, SERVICE_LINK, SWITCH
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import events
from tests.integration.traffic import traffic

pytestmark = needs_root

PATIENT = (
    *("timing.heartbeat_ms=50", "timing.heartbeat_misses=30"),
    "timing.detach_after_ms=4000",
)
"""An interface that goes down takes longer to come back than the default D bears. A node whose carrier is
back may take over after 2 D; nothing is given up until then."""
TOLD_S = 10.0
TABLE = "47700"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("acts", PATIENT, ("bulk-down",))


class Mended(NamedTuple):
    """Something that fttcp puts back."""

    act: str
    what: str
    """A part of what is told."""


MENDED = {
    "IPv4 address taken off": Mended(f"ip addr del {SERVICE4}/32 dev lo", f"{SERVICE4} on lo"),
    "IPv6 address taken off": Mended(f"ip addr del {SERVICE6}/128 dev lo", f"{SERVICE6} on lo"),
    "loopback down and up": Mended("ip link set lo down; ip link set lo up", f"{SERVICE6} on lo"),
    "rp_filter of the interface": Mended("sysctl -qw net.ipv4.conf.peer0.rp_filter=1", "peer0.rp_filter = 2"),
    "IPv4 routes of the service flushed": Mended(f"ip route flush table {TABLE}", f"in table {TABLE}"),
    "IPv6 routes of the service flushed": Mended(f"ip -6 route flush table {TABLE}", f"in table {TABLE}"),
    "rules of the service removed": Mended(f"ip rule del from {SERVICE4}", f"from {SERVICE4}"),
}
UNNOTICED = {
    "main's routes flushed": "ip route show | sed 's/^/route add /' >/run/routes; ip route flush table main;"
    " sleep 0.3; ip -batch /run/routes",
    "offloads changed": "ethtool -K svc0 gro off tso off; ethtool -K svc0 gro on tso on",
    "labels flushed": "ip addrlabel flush",
    "peer interface down and up": "ip link set peer0 down; ip link set peer0 up",
    "a route more": "ip route add 192.0.2.0/24 via 10.77.0.10; ip route del 192.0.2.0/24",
}


class Told(NamedTuple):
    """Something that is the host's to put back."""

    act: str
    undo: str
    reason: str
    serving: bool


TOLD = {
    "MTU of the peer interface": Told(
        "ip link set peer0 mtu 1400", "ip link set peer0 mtu 1500", "mtu", True
    ),
    "IPv6 address of the peer interface": Told(
        "ip addr show dev peer0 | sed -n 's/.*inet6 \\(fd[^ ]*\\).*/\\1/p' >/run/peer6;"
        " ip addr del $(cat /run/peer6) dev peer0",
        "ip addr add $(cat /run/peer6) dev peer0 nodad",
        "way-to-the-peer",
        True,
    ),
    "IPv6 switched off on lo": Told(
        "sysctl -qw net.ipv6.conf.lo.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.lo.disable_ipv6=0",
        "service-address",
        False,
    ),
    "service interface down": Told(
        "ip link set svc0 down", "ip link set svc0 up", "service-interface", False
    ),
    "IPv4 addresses of the service interface": Told(
        "ip -4 addr show dev svc0 | sed -n 's/.*inet \\([^ ]*\\).*/\\1/p' >/run/service4;"
        " ip -4 addr flush dev svc0",
        "ip addr add $(cat /run/service4) dev svc0",
        "routes",
        False,
    ),
    "IPv4 addresses of the peer interface": Told(
        "ip -4 addr show dev peer0 | sed -n 's/.*inet \\([^ ]*\\).*/\\1/p' >/run/peer4;"
        " ip -4 addr flush dev peer0",
        "ip addr add $(cat /run/peer4) dev peer0",
        "way-to-the-peer",
        True,
    ),
    "service interface made a bridge's port": Told(
        "ip link add br9 type bridge; ip link set br9 up; ip link set svc0 master br9",
        "ip link set svc0 nomaster; ip link del br9",
        "service-interface",
        False,
    ),
    "service interface renamed": Told(
        "ip link set svc0 down; ip link set svc0 name other; ip link set other up",
        "ip link set other down; ip link set other name svc0; ip link set svc0 up;"
        " ip -6 addr replace fd77::%d/64 dev svc0 nodad",
        "service-interface",
        False,
    ),
}


def do(lab: Lab, node: str, act: str) -> None:
    lab.host(node).run(["sh", "-ec", act])


def mended(lab: Lab, node: str) -> str:
    """All that the node says it has mended."""
    return json.dumps(events(lab, node, "ground-mended"))


@pytest.mark.parametrize("target", ["backup", "primary"])
def test_what_is_ours_comes_back_and_connections_outlive_it_and_the_crash(
    pair: Pair, target: str, tmp_path: Path
) -> None:
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    node = old if target == "primary" else new
    with traffic(lab) as connections:
        try:
            connections.goes_on("the start")
            for name, (act, what) in MENDED.items():
                before = mended(lab, node).count(what)
                do(lab, node, act)
                await_condition(
                    lambda what=what, before=before: mended(lab, node).count(what) > before, TOLD_S, name
                )
                connections.goes_on(name)
            for name, act in UNNOTICED.items():
                do(lab, node, act)
                connections.goes_on(name)
            lab.wait("synced", SYNC_S)
            assert lab.node_in_role("primary") == old
            assert not pair.reasons(node)
            make_fault(lab, "crash-host", old)
            connections.goes_on("the crash", silent=True)
        finally:
            keep_logs(lab, tmp_path)


@pytest.mark.parametrize("act", TOLD)
@pytest.mark.parametrize("target", ["backup", "primary"])
def test_what_is_the_hosts_is_told_and_over_when_it_is_back(
    pair: Pair, target: str, act: str, tmp_path: Path
) -> None:
    """Where a node cannot serve, the other one does."""
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    node = old if target == "primary" else new
    told = TOLD[act]
    undo = told.undo.replace("%d", str(network.ALL_NODES.index(node) + 1))
    with ExitStack() as after, ExitStack() as back, traffic(lab) as connections:
        after.callback(keep_logs, lab, tmp_path)
        connections.goes_on("the start")
        back.callback(do, lab, node, undo)
        do(lab, node, told.act)
        await_condition(lambda: told.reason in pair.reasons(node), TOLD_S, act)
        if target == "primary" and not told.serving:
            lab.wait(f"primary={new}", SYNC_S)
        connections.goes_on(act)
        back.close()
        await_condition(lambda: told.reason not in pair.reasons(node), TOLD_S, f"end of {act}")
        lab.wait("synced", SYNC_S)
        connections.goes_on("its end")


@pytest.mark.parametrize("link", [SERVICE_LINK, PEER_LINK])
@pytest.mark.parametrize("target", ["backup", "primary"])
def test_an_interface_made_anew_serves_as_the_old_one(
    pair: Pair, target: str, link: str, tmp_path: Path
) -> None:
    """Its index is another one: for routes, and for each socket that was bound to it."""
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    node = old if target == "primary" else new
    reason = "service-interface" if link == SERVICE_LINK else "peer-interface"
    (cable,) = network.cables(node, link)
    with traffic(lab) as connections:
        try:
            connections.goes_on("the start")
            lab.host(SWITCH).run(["ip", "link", "delete", cable.port])
            await_condition(lambda: reason in pair.reasons(node), TOLD_S, "its end is told")
            if target == "primary" and link == SERVICE_LINK:
                lab.wait(f"primary={new}", SYNC_S)
            network.plug(lab.host(SWITCH), lab.host(node), [cable])
            await_condition(lambda: not pair.reasons(node), SYNC_S, "ready again")
            lab.wait("synced", SYNC_S)
            connections.goes_on("the new interface")
            if target == "backup":
                make_fault(lab, "crash-host", old)
                connections.goes_on("the crash", silent=True)
        finally:
            keep_logs(lab, tmp_path)
