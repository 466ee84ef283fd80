"""The lab's network: who is connected to what, addresses, and what can be done to a link.

The switch host has three bridges: ``br-svc`` (client and nodes), ``br-peer`` (the nodes' own link) and
``br-arb`` (the nodes and the host of the witness, if the lab has one).
Every cable is a veth pair with its far end as a bridge port in the switch, so every link fault is made there,
out of the hosts' reach: a port that is down takes the carrier from the host, and frames are lost on the
bridge, in both directions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from lab.errors import LabError
from lab.hosts import Host, await_condition

SWITCH = "switch"
CLIENT = "client"
NODES = ("alpha", "beta")
"""The nodes of a pair, the lab's usual size."""
ALL_NODES = (*NODES, "gamma", "delta", "epsilon")
"""The names of up to five nodes; number i has the addresses .i + 1."""
WITNESS = "witness"
ETCD = "etcd"
ARBITERS = (WITNESS, ETCD)
"""Hosts of an arbiter; a lab has one at most."""
PROXY = "proxy"

SERVICE4 = "10.77.0.100"
SERVICE6 = "fd77::100"
SERVICE_LINK = "client"
PEER_LINK = "peer"
ARBITER_LINK = "arbiter"
STANDBY_LINK = "standby"
"""A second cable of a node to the clients' network, if its configuration names `STANDBY_INTERFACE`."""
LINKS = (SERVICE_LINK, PEER_LINK, ARBITER_LINK, STANDBY_LINK)
STANDBY_INTERFACE = "svc1"
_BRIDGES = {
    SERVICE_LINK: (77, "br-svc"),
    PEER_LINK: (78, "br-peer"),
    ARBITER_LINK: (79, "br-arb"),
    STANDBY_LINK: (77, "br-svc"),
}


@dataclass(frozen=True)
class Cable:
    """One cable of a host to the switch: interface in the host, port and bridge in the switch, addresses."""

    host: str
    link: str
    interface: str
    port: str
    bridge: str
    address4: IPv4Interface
    address6: IPv6Interface

    @property
    def wire_end(self) -> str:
        """In the switch, where a wire of lab.wire is put in: its end on the bridge's side."""
        return f"{self.port}-w"

    @property
    def wire_port(self) -> str:
        """The bridge's port in place of `port` while a wire is in."""
        return f"{self.port}-b"

    @property
    def mac(self) -> str:
        """The interface's own MAC address, the same after every restart of the host."""
        return "02:" + ":".join(f"{byte:02x}" for byte in (0x77, *self.address4.ip.packed))


def _cable(host: str, link: str, interface: str, number: int) -> Cable:
    network, bridge = _BRIDGES[link]
    port = host if link == SERVICE_LINK else f"{host}-{link}"
    return Cable(
        host,
        link,
        interface,
        port,
        bridge,
        IPv4Interface(f"10.{network}.0.{number}/24"),
        IPv6Interface(f"fd{network}::{number}/64"),
    )


CABLES = (
    _cable(CLIENT, SERVICE_LINK, "eth0", 10),
    *(
        _cable(node, link, interface, number)
        for number, node in enumerate(ALL_NODES, 1)
        for link, interface in ((SERVICE_LINK, "svc0"), (PEER_LINK, "peer0"), (ARBITER_LINK, "arb0"))
    ),
    *(_cable(node, STANDBY_LINK, STANDBY_INTERFACE, 10 + n) for n, node in enumerate(ALL_NODES, 1)),
    _cable(WITNESS, ARBITER_LINK, "eth0", 30),
    _cable(ETCD, ARBITER_LINK, "eth0", 31),
    _cable(PROXY, SERVICE_LINK, "eth0", 20),
)


def cables(host: str | None = None, link: str = "all") -> list[Cable]:
    """The cables of `host` (None: of all hosts) on `link`: one of LINKS ("client": service side), or "all"
    that every lab has."""
    chosen = [one for one in LINKS if one != STANDBY_LINK] if link == "all" else [link]
    return [cable for cable in CABLES if host in (None, cable.host) and cable.link in chosen]


def plugged(switch: Host, host: str, link: str = "all") -> list[Cable]:
    """Those of a host that are in; "all": a second one to the clients' network, too."""
    chosen = [*cables(host), *cables(host, STANDBY_LINK)] if link == "all" else cables(host, link)
    there = ports(switch)
    return [cable for cable in chosen if cable.port in there]


def build_switch(switch: Host) -> None:
    """Make the bridges; frames on them pass no firewall hooks of IP, and the switch itself never speaks."""
    sysctl(switch, {"net.ipv6.conf.all.disable_ipv6": 1, "net.ipv6.conf.default.disable_ipv6": 1})
    if switch.path("/proc/sys/net/bridge").exists():
        sysctl(
            switch,
            {f"net.bridge.bridge-nf-call-{kind}": 0 for kind in ("iptables", "ip6tables", "arptables")},
        )
    commands = ["link set lo up"]
    for bridge in sorted({cable.bridge for cable in CABLES}):
        commands.append(f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
        commands.append(f"link set {bridge} up")
    ip(switch, commands)


def connect(switch: Host, host: Host, standby: bool = False) -> None:
    """Plug the cables of `host` in, ``standby``: that of its second adapter, too, and give it its addresses;
    older cables are removed first."""
    unplug(switch, host.name)
    sysctl(
        host,
        {
            "net.ipv4.tcp_congestion_control": _congestion_control(host),
            "net.ipv6.conf.all.disable_ipv6": 0,
            "net.ipv6.conf.default.accept_dad": 0,
            "net.ipv6.conf.default.accept_ra": 0,
        },
    )
    plug(switch, host, [*cables(host.name), *(cables(host.name, STANDBY_LINK) if standby else ())])


def plug(switch: Host, host: Host, own: Iterable[Cable]) -> None:
    """Plug cables of `host` in that are not, and give their interfaces addresses; returns when they have a
    carrier."""
    at_switch, at_host = [], ["link set lo up"]
    for cable in own:
        at_switch += [
            f"link add {cable.port} type veth peer name {cable.interface} "
            f"address {cable.mac} netns {host.init.pid}",
            f"link set {cable.port} master {cable.bridge} up",
        ]
        at_host += [
            f"link set {cable.interface} up",
            f"address add {cable.address4} dev {cable.interface}",
            f"address add {cable.address6} dev {cable.interface} nodad",
        ]
    ip(switch, at_switch)
    ip(host, at_host)
    await_condition(
        lambda: all(has_carrier(host, cable) for cable in own), 5, f"host {host.name}: carrier on its links"
    )


def unplug(switch: Host, host: str) -> None:
    """Remove the cables of `host`, with both ends, as far as they exist: they go with a host as well."""
    own = [*cables(host), *cables(host, STANDBY_LINK)]
    for port in [port for cable in own for port in (cable.port, cable.wire_end, cable.wire_port)]:
        if port in ports(switch):
            try:
                switch.run(["ip", "link", "delete", port])
            except LabError:
                if port in ports(switch):
                    raise


def ports(switch: Host) -> set[str]:
    """The interfaces of the switch: its bridges, and the ports with a cable in them."""
    return {link["ifname"] for link in json.loads(switch.run(["ip", "-j", "link"]))}


def has_carrier(host: Host, cable: Cable) -> bool:
    """Whether `host` sees a carrier on its end of `cable`."""
    return host.path(f"/sys/class/net/{cable.interface}/carrier").read_text().strip() == "1"


def set_links(switch: Host, chosen: Iterable[Cable], up: bool) -> None:
    """Set the switch's ends of the `chosen` cables up or down, one directly after the other."""
    ip(switch, [f"link set {cable.port} {'up' if up else 'down'}" for cable in chosen])


def isolate(switch: Host, chosen: Iterable[Cable], on: bool) -> None:
    """Let nothing pass between the `chosen` cables; all others still reach them (bridge(8), `isolated`).
    Raises LabError when bridges differ within a link, for then it does pass."""
    bridges = {link["ifname"]: link.get("master") for link in json.loads(switch.run(["ip", "-j", "link"]))}
    ends = {cable: cable.wire_port if cable.wire_port in bridges else cable.port for cable in chosen}
    for link in {cable.link for cable in ends}:
        if on and len({bridges[end] for cable, end in ends.items() if cable.link == link}) > 1:
            raise LabError(f"the nodes are at different switches on their {link!r} link: cut that")
    for end in ends.values():
        switch.run(["bridge", "link", "set", "dev", end, "isolated", "on" if on else "off"])


def set_loss(switch: Host, hosts: Iterable[Host], link: str, percent: float) -> None:
    """Lose `percent` of the frames of the client's cable ("client") or between the nodes ("peer").

    Both directions, each for itself; 0 takes the loss away. Segmentation offload is off at the ends of the
    link, so that what is lost is single packets, as on a wire.
    """
    if not 0 <= percent <= 100:
        raise LabError(f"loss {percent}: not a percentage; allowed are 0 to 100")
    table = f"loss_{link}"
    chosen = cables(CLIENT) if link == SERVICE_LINK else cables(link=PEER_LINK)
    ports = [port for cable in chosen for port in (cable.port, cable.wire_port)]
    directions = ("iifname", "oifname") if link == SERVICE_LINK else ("iifname",)
    rules = [f"add table bridge {table}", f"delete table bridge {table}"]
    if percent > 0:
        rules.append(f"add table bridge {table}")
        rules.append(f"add chain bridge {table} lose {{ type filter hook forward priority 0; }}")
        chance = f"numgen random mod 1000000 < {round(percent * 10_000)}" if percent < 100 else ""
        rules += [
            f"add rule bridge {table} lose {direction} {port} {chance} counter drop"
            for direction in directions
            for port in ports
        ]
    if percent > 0:
        _set_offload(hosts, link, on=False)
    switch.run(["nft", "-f", "-"], text_input="\n".join(rules) + "\n")
    settle_offload(switch, hosts, link)


def set_rate(switch: Host, client: Host, mbit: float | None) -> None:
    """Shape the client's cable to `mbit` Mbit/s in each direction; None takes the limit away."""
    if mbit is not None and not 0.1 <= mbit <= 10_000:
        raise LabError(f"rate {mbit}: not usable; allowed are 0.1 to 10000 Mbit/s")
    (cable,) = cables(CLIENT)
    for host, device in ((switch, cable.port), (client, cable.interface)):
        shaped = "qdisc tbf" in host.run(["tc", "qdisc", "show", "dev", device, "root"])
        if mbit is not None:
            burst = max(32_768, int(mbit * 1e6 / 8 * 0.002))
            arguments = ["rate", f"{int(mbit * 1e6)}bit", "burst", str(burst), "latency", "50ms"]
            host.run(["tc", "qdisc", "replace", "dev", device, "root", "tbf", *arguments])
        elif shaped:
            host.run(["tc", "qdisc", "delete", "dev", device, "root"])


def sysctl(host: Host, values: dict[str, str | int]) -> None:
    """Set kernel parameters of the network namespace of `host` only."""
    host.run(["sysctl", "-q", "-w", *(f"{key}={value}" for key, value in values.items())])


def _congestion_control(host: Host) -> str:
    """The usual "cubic", or "reno" where the machine does not allow cubic outside its own network."""
    allowed = host.run(["sysctl", "-n", "net.ipv4.tcp_allowed_congestion_control"]).split()
    return "cubic" if "cubic" in allowed else "reno"


def settle_offload(switch: Host, hosts: Iterable[Host], link: str) -> None:
    """Segmentation offload is on, unless frames of the link are lost or late one by one."""
    lossy = f"loss_{link}" in switch.run(["nft", "list", "tables", "bridge"]).split()
    wired = not ports(switch).isdisjoint(cable.wire_port for cable in cables(link=link))
    _set_offload(hosts, link, on=not lossy and not wired)


def _set_offload(hosts: Iterable[Host], link: str, on: bool) -> None:
    for host in hosts:
        for cable in cables(host.name, link):
            set_offload(host, cable.interface, on)


def set_offload(host: Host, interface: str, on: bool) -> None:
    """Switch segmentation offload of an interface on or off."""
    word = "on" if on else "off"
    host.run(["ethtool", "-K", interface, "tso", word, "gso", word])


def ip(host: Host, commands: list[str]) -> None:
    """Run commands of `ip` in one go."""
    if commands:
        host.run(["ip", "-batch", "-"], text_input="\n".join(commands) + "\n")
