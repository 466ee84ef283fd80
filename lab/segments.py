"""More than one segment on the service side: switches behind a trunk, and networks behind a router.

The lab's own switch, ``br-svc``, is the first segment. A segment ``by = "trunk"`` is one more switch of the
same network; nodes and clients may be there. One ``by = "router"`` is a network of its own, which a host of
the lab,
``router-NAME``, connects with the first: clients are there, and reach the service by their router. Its number
n, from 1, is in its addresses: 10.(80 + n).0.0/24, fd(80 + n)::/64. On either way to the first segment may
stand a wire of lab.wire, which is late, lossy, or slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, Literal

from lab import network
from lab.errors import LabError
from lab.hosts import Host
from lab.network import ALL_NODES, CLIENT, SERVICE_LINK, SWITCH, Cable
from lab.state import LabState
from lab.wire import PLAIN, Hosts, Terms, begin, tell

MOST = 8
_FIRST = "br-svc"
_FIRST_CLIENT, _ROUTER = 40, 200
"""Host numbers on a segment of the first network: of clients there, and of routers."""


@dataclass(frozen=True)
class Segment:
    """One of them. ``hosts``: nodes that are there and not at the first one; all other names are clients,
    which are made. ``terms``: of the way to the first segment, both ways."""

    name: str
    by: Literal["trunk", "router"] = "trunk"
    hosts: Sequence[str] = ()
    terms: Terms = field(default_factory=Terms)

    @property
    def bridge(self) -> str:
        """Its switch."""
        return f"br-{self.name}"

    @property
    def router(self) -> str:
        """The host that routes to it."""
        return f"router-{self.name}"

    def clients(self) -> list[str]:
        """Hosts that are made for it."""
        return [name for name in self.hosts if name not in ALL_NODES]

    def as_state(self) -> dict[str, Any]:
        """As LabState keeps it."""
        return asdict(self)

    @classmethod
    def of_state(cls, kept: Mapping[str, Any]) -> Segment:
        """Read what `as_state` gave."""
        return cls(**{**kept, "terms": Terms(**kept["terms"])})


def trouble(segments: Sequence[Segment], nodes: Sequence[str]) -> str:
    """What is wrong with them; nothing: ""."""
    if len(segments) > MOST:
        return f"{len(segments)} segments: at most {MOST} are possible"
    names, seen = [segment.name for segment in segments], set[str]()
    for segment in segments:
        if not (segment.name.isascii() and segment.name.isalnum() and len(segment.name) <= 7):
            return f"segment {segment.name!r}: wanted is a name of 1 to 7 letters and digits"
        if names.count(segment.name) > 1:
            return f"segment {segment.name}: there are two of this name"
        if segment.name in ("svc", "peer", "arb"):
            return f"segment {segment.name}: the lab itself has a switch of this name"
        if wrong := segment.terms.trouble():
            return f"segment {segment.name}: {wrong}"
        for host in segment.hosts:
            if host in seen:
                return f"segment {segment.name}: {host} is at two places"
            if host in (CLIENT, SWITCH, *network.ARBITERS, network.PROXY) or host.startswith("router-"):
                return f"segment {segment.name}: {host} has its place in the lab"
            if host in ALL_NODES and (host not in nodes or segment.by == "router"):
                return f"segment {segment.name}: {host} is no node of this lab, or would be behind a router"
            seen.add(host)
    return ""


def of_lab(state: LabState) -> list[Segment]:
    """The segments of a lab."""
    return [Segment.of_state(kept) for kept in state.segments]


def cables(state: LabState) -> dict[str, Cable]:
    """The cables of the clients on segments, by their names."""
    found = {}
    for number, segment in enumerate(of_lab(state), 1):
        for at, name in enumerate(segment.clients()):
            found[name] = _cable_of(segment, number, at)
    return found


def _cable_of(segment: Segment, number: int, at: int) -> Cable:
    routed = segment.by == "router"
    place = _FIRST_CLIENT + at + (0 if routed else 10 * number)
    return Cable(
        segment.clients()[at], SERVICE_LINK, "eth0", f"c-{segment.name}-{at}", segment.bridge,
        IPv4Interface(f"{_net4(number) if routed else '10.77.0'}.{place}/24"),
        IPv6Interface(f"{_net6(number) if routed else 'fd77'}::{place}/64"),
    )  # fmt: skip


def build(lab: Hosts, switch: Host, state: LabState) -> None:
    """Make the switches, and the trunks to them."""
    for segment in of_lab(state):
        network.ip(
            switch,
            [
                f"link add {segment.bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                f"link set {segment.bridge} up",
            ],
        )
        if segment.by == "trunk":
            _way(lab, switch, segment, f"t-{segment.name}", _FIRST, segment.bridge)


def hosts(state: LabState) -> list[str]:
    """Hosts that segments need beside those of the lab: routers first."""
    found = of_lab(state)
    routers = [segment.router for segment in found if segment.by == "router"]
    return routers + [name for segment in found for name in segment.clients()]


def place(lab: Hosts, switch: Host, host: Host, state: LabState) -> None:
    """Plug a host in where it belongs, as far as segments say so, and tell nodes the way to networks behind
    routers. To be called when its own cables are in."""
    for number, segment in enumerate(of_lab(state), 1):
        if host.name in segment.hosts and host.name in state.nodes:
            (cable,) = network.cables(host.name, SERVICE_LINK)
            network.ip(switch, [f"link set {cable.port} master {segment.bridge}"])
        elif host.name in segment.hosts:
            _plug_client(switch, host, segment, number)
        elif host.name == segment.router:
            _plug_router(lab, switch, host, segment, number)
        if segment.by == "router" and (host.name in state.nodes or host.name == CLIENT):
            network.ip(
                host,
                [
                    f"route add {_net4(number)}.0/24 via 10.77.0.{_ROUTER + number}",
                    f"route add {_net6(number)}::/64 via fd77::{_ROUTER + number}",
                ],
            )


def _net4(number: int) -> str:
    return f"10.{80 + number}.0"


def _net6(number: int) -> str:
    return f"fd{80 + number}"


def _plug_client(switch: Host, host: Host, segment: Segment, number: int) -> None:
    cable = _cable_of(segment, number, segment.clients().index(host.name))
    own = [str(cable.address4), str(cable.address6)]
    _cable(switch, host, cable.port, cable.interface, cable.bridge, own)
    if segment.by == "router":
        network.ip(
            host, [f"route add default via {_net4(number)}.1", f"route add default via {_net6(number)}::1"]
        )


def _plug_router(lab: Hosts, switch: Host, host: Host, segment: Segment, number: int) -> None:
    out = [f"10.77.0.{_ROUTER + number}/24", f"fd77::{_ROUTER + number}/64"]
    port = f"r-{segment.name}"
    bridge = _FIRST
    if segment.terms != PLAIN:  # a switch of its own, and the wire between it and the first one
        bridge = f"brw-{segment.name}"
        network.ip(switch, [f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"])
        network.ip(switch, [f"link set {bridge} up"])
        _way(lab, switch, segment, f"t-{segment.name}", _FIRST, bridge)
    _cable(switch, host, port, "eth0", bridge, out)
    inside = [f"{_net4(number)}.1/24", f"{_net6(number)}::1/64"]
    _cable(switch, host, f"q-{segment.name}", "eth1", segment.bridge, inside)
    network.sysctl(host, {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})


def _cable(
    switch: Host, host: Host, port: str, interface: str, bridge: str, addresses: Sequence[str]
) -> None:
    network.ip(
        switch,
        [
            f"link add {port} type veth peer name {interface} netns {host.init.pid}",
            f"link set {port} master {bridge} up",
        ],
    )
    plain = [address for address in addresses if ":" not in address]
    network.ip(
        host,
        [
            "link set lo up",
            f"link set {interface} up",
            *(f"address add {address} dev {interface}" for address in plain),
            *(f"address add {address} dev {interface} nodad" for address in addresses if ":" in address),
        ],
    )


def _way(lab: Hosts, switch: Host, segment: Segment, name: str, one: str, other: str) -> None:
    """Connect two switches, by a wire if it is not plain."""
    ends = [f"{name}-{letter}" for letter in "abcd"]
    if segment.terms == PLAIN:
        network.ip(switch, [f"link add {ends[0]} type veth peer name {ends[1]}"])
        network.ip(switch, [f"link set {ends[0]} master {one} up", f"link set {ends[1]} master {other} up"])
        return
    for first, second in ((ends[0], ends[1]), (ends[2], ends[3])):
        network.ip(switch, [f"link add {first} type veth peer name {second}"])
    network.ip(
        switch,
        [
            f"link set {ends[0]} master {one} up", f"link set {ends[1]} up",
            f"link set {ends[2]} up", f"link set {ends[3]} master {other} up",
        ],
    )  # fmt: skip
    for end in ends:  # as on a wire, it is single frames that are lost or late
        switch.run(["ethtool", "-K", end, "tso", "off", "gso", "off"])
    control = lab.home / SWITCH / f"{name}.sock"
    begin(lab, switch, control, (ends[1], ends[2]), f"segment {segment.name}")
    told = tell(control, f"set {segment.terms.words(1)} {segment.terms.words(2)}")
    if "error" in told:
        raise LabError(f"segment {segment.name}: {told['error']}")
