"""What the kernel is told for a group besides firewall rules: sysctls, addresses, routes, neighbours.

The service addresses sit on `lo`, where the kernel answers no ARP or ND for them, and never chooses
them as a source (IPv4: scope host; IPv6: deprecated). Packets from them are routed by a table of the
group's own: the main table's routes over the service interface, with metrics that suit the role.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import AsyncIPRoute, NetlinkError

from fttcp.datapath.rules import Address, GroupNet

PROTOCOL = 70  # rtnetlink protocol number that marks routes and rules as ours
RULE_PRIORITY = 7000  # of `from SERVICE lookup TABLE`, before main's 32766
MAIN_PRIORITY = 32766  # of `to PEER lookup main`: where main's own rule stands
TABLE_BASE = 40000  # the group's table is this + queue_in, which no other group of the node has
BACKUP_RTO_MIN_MS = 5  # its retransmissions are suppressed: it must retransmit soon when it takes over

_CONF = Path("/proc/sys/net/ipv4/conf")
_LO = 1
_MAIN = 254
_UNICAST = 1
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST, _SCOPE_ANY = 0, 253, 254, 255
_LOCK_RTO_MIN = 1 << 13  # RTAX_LOCK bit of RTAX_RTO_MIN: without it the kernel ignores the value
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_FOREVER = 0xFFFFFFFF
_NUD_INCOMPLETE = 0x01
_NTF_USE = 1
_NUD_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent
_FAMILY = {4: AF_INET, 6: AF_INET6}

Message = Any  # a pyroute2 message: a mapping with get_attr()


class KernelError(Exception):
    """The kernel refused a setting; the text says which, and what to do."""


@dataclass(frozen=True)
class Route:
    """A unicast route over the service interface. `metrics` are RTAX_ names in lower case and values."""

    destination: IPv4Network | IPv6Network
    gateway: Address | None
    priority: int
    metrics: tuple[tuple[str, int], ...] = ()
    on_link: bool = False

    def for_role(self, backup: bool) -> "Route":
        """The route in a role: a backup acknowledges at once (commit is what its kernel acknowledges) and
        retransmits early."""
        if not backup:
            return self
        metrics = dict(self.metrics)
        metrics |= {
            "quickack": 1,
            "rto_min": BACKUP_RTO_MIN_MS,
            "lock": metrics.get("lock", 0) | _LOCK_RTO_MIN,
        }
        return replace(self, metrics=tuple(sorted(metrics.items())))


def table_of(group: GroupNet) -> int:
    """The number of the group's routing table."""
    return TABLE_BASE + group.queue_in


# sysctls


def wanted_sysctls(groups: Iterable[GroupNet], before: Mapping[str, str]) -> dict[str, str]:
    """Path -> value: no ARP for addresses that sit on `lo`, nor ARP in their name; and a peer link that
    does not refuse mirrored packets, which come from client addresses (loose, and only if strict now).
    `before`: the values before ours of what we have set already. Raises KernelError for an interface
    that does not exist."""
    wanted: dict[str, str] = {}
    for group in groups:
        for interface in (group.service_interface, group.peer_interface):
            directory = _CONF / interface
            if not directory.is_dir():
                raise KernelError(
                    f"interface {interface} does not exist: correct the configuration or create it"
                )
            wanted[str(directory / "arp_ignore")] = "1"
            wanted[str(directory / "arp_announce")] = "2"
        own, all_interfaces = str(_CONF / group.peer_interface / "rp_filter"), str(_CONF / "all/rp_filter")
        if max(before.get(own, read_sysctl(own)), read_sysctl(all_interfaces)) == "1":
            wanted[own] = "2"
    return wanted


def read_sysctl(path: str) -> str:
    """The value of a sysctl, '' when it does not exist (any more)."""
    file = Path(path)
    return file.read_text().strip() if file.exists() else ""


def write_sysctl(path: str, value: str) -> None:
    """Sets a sysctl. Raises KernelError."""
    try:
        Path(path).write_text(value)
    except OSError as error:
        raise KernelError(f"cannot set {path} to {value}: {error.strerror}; run as root") from error


# addresses


@asynccontextmanager
async def netlink() -> AsyncIterator[AsyncIPRoute]:
    """An rtnetlink socket of this network namespace. Raises KernelError for what the kernel refuses."""
    with _explained("use rtnetlink"):
        async with AsyncIPRoute() as ipr:
            yield ipr


async def addresses_on_lo(ipr: AsyncIPRoute) -> set[Address]:
    """The addresses that the loopback interface has."""
    return {
        ip_address(message.get_attr("IFA_ADDRESS"))
        async for message in await ipr.addr("dump", index=_LO)
        if message["index"] == _LO
    }


async def add_address(ipr: AsyncIPRoute, address: Address) -> None:
    """Puts a service address on `lo`, usable at once. Raises KernelError."""
    how = (
        {"prefixlen": 32, "scope": _SCOPE_HOST}
        if address.version == 4
        else {
            "prefixlen": 128,
            "flags": _IFA_F_NODAD | _IFA_F_NOPREFIXROUTE,
            "preferred_lft": 0,
            "valid_lft": _FOREVER,
        }
    )
    with _explained(f"add {address} to lo"):
        await ipr.addr("add", index=_LO, address=str(address), **how)


async def remove_address(ipr: AsyncIPRoute, address: Address) -> None:
    """Takes a service address off `lo`, if it is there. Raises KernelError."""
    if address in await addresses_on_lo(ipr):
        with _explained(f"remove {address} from lo"):
            await ipr.addr("del", index=_LO, address=str(address), prefixlen=address.max_prefixlen)


async def end_connections(addresses: Iterable[Address]) -> None:
    """Destroys the TCP connections that the kernel still holds under service addresses, orphans of dead
    servers among them: else they retransmit, or meet a client that uses its port again. Listening sockets
    stay. The kernel sends RSTs, so the firewall rules must stand. Raises KernelError."""
    for address in addresses:
        source = f"[{address}]" if address.version == 6 else str(address)
        with _explained(f"end the connections of {address} with ss (apt-get install iproute2)"):
            process = await asyncio.create_subprocess_exec(
                *("ss", "--kill", "--tcp", "--numeric", "src", source),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await process.communicate()
            if process.returncode:
                raise OSError(process.returncode, said.decode(errors="replace").strip())


# routes


async def interface_index(ipr: AsyncIPRoute, name: str) -> int:
    """The index of an interface. Raises KernelError."""
    found = await ipr.link_lookup(ifname=name)
    if not found:
        raise KernelError(f"interface {name} does not exist: correct the configuration or create it")
    return int(found[0])


async def routes_over(ipr: AsyncIPRoute, version: int, interface: int) -> list[Route]:
    """The main table's routes over an interface, those without gateway first."""
    return copies(
        [message async for message in await ipr.route("dump", family=_FAMILY[version], table=_MAIN)],
        interface,
    )


def copies(messages: Iterable[Message], interface: int) -> list[Route]:
    """The unicast routes among rtnetlink messages that lead over the interface of that index, those
    without gateway first (a gateway must be reachable when its route is made)."""
    routes = []
    for message in messages:
        legs = message.get_attr("RTA_MULTIPATH") or [message]
        for leg in legs:
            index = leg["oif"] if leg is not message else message.get_attr("RTA_OIF")
            if message["type"] == _UNICAST and index == interface and leg.get_attr("RTA_VIA") is None:
                routes.append(_route(message, leg))
                break
    return sorted(routes, key=lambda route: route.gateway is not None)


def _route(message: Message, leg: Message) -> Route:
    any_address = "0.0.0.0" if message["family"] == AF_INET else "::"
    gateway = leg.get_attr("RTA_GATEWAY")
    metrics = message.get_attr("RTA_METRICS")
    return Route(
        destination=ip_network(f"{message.get_attr('RTA_DST') or any_address}/{message['dst_len']}"),
        gateway=ip_address(gateway) if gateway else None,
        priority=message.get_attr("RTA_PRIORITY") or 0,
        metrics=tuple(
            sorted((name.removeprefix("RTAX_").lower(), value) for name, value in metrics["attrs"])
            if metrics
            else ()
        ),
        on_link=bool(leg["flags"] & 4),
    )


async def sync_routes(ipr: AsyncIPRoute, group: GroupNet, backup: bool) -> list[Route]:
    """Makes the group's table what the main table and the role ask for, and leads the service addresses
    to it; returns the routes. Routes change in place: no packet is without one. Raises KernelError."""
    interface, table = await interface_index(ipr, group.service_interface), table_of(group)
    synced: list[Route] = []
    for version in _FAMILY:
        over = await routes_over(ipr, version, interface) if version in group.families else []
        routes = [route.for_role(backup) for route in over]
        existing = await _table_routes(ipr, version, table)
        for route in routes:
            if route not in existing:
                with _explained(f"route {route.destination} over {group.service_interface} in table {table}"):
                    await ipr.route("replace", **_request(route, table, interface))
        kept = {(route.destination, route.priority) for route in routes}
        for old in existing:
            if (old.destination, old.priority) not in kept:
                await _delete_route(ipr, old, table)
        synced += routes
    wanted = rules_of(group)
    present = await _rules(ipr, table)
    await add_rules(ipr, wanted - present)
    await remove_rules(ipr, present - wanted)
    return synced


async def remove_routes(ipr: AsyncIPRoute, table: int) -> None:
    """Removes a group's table and the rules that lead to it, if any. Raises KernelError."""
    await remove_rules(ipr, await _rules(ipr, table))
    for version in _FAMILY:
        for route in reversed(await _table_routes(ipr, version, table)):
            await _delete_route(ipr, route, table)


def _request(route: Route, table: int, interface: int) -> dict[str, Any]:
    request: dict[str, Any] = {
        "family": _FAMILY[route.destination.version],
        "dst": str(route.destination),
        "oif": interface,
        "table": table,
        "proto": PROTOCOL,
        "scope": _SCOPE_LINK if route.gateway is None and route.destination.version == 4 else _SCOPE_UNIVERSE,
    }
    if route.gateway is not None:
        request["gateway"] = str(route.gateway)
    if route.priority:
        request["priority"] = route.priority
    if route.on_link:
        request["flags"] = 4
    if route.metrics:
        request["metrics"] = dict(route.metrics)
    return request


@dataclass(frozen=True, order=True)
class Rule:
    """A rule of policy routing: packets `from` or `to` an address look up a table."""

    side: str
    address: str
    table: int

    def __str__(self) -> str:
        return f"ip rule {self.side} {self.address} lookup {'main' if self.table == _MAIN else self.table}"

    def request(self) -> dict[str, Any]:
        """What rtnetlink is told."""
        address = ip_address(self.address)
        key = "src" if self.side == "from" else "dst"
        return {
            "family": _FAMILY[address.version],
            key: self.address,
            f"{key}_len": address.max_prefixlen,
            "table": self.table,
            "priority": MAIN_PRIORITY if self.table == _MAIN else RULE_PRIORITY,
            "protocol": PROTOCOL,
        }


def rules_of(group: GroupNet) -> set[Rule]:
    """What leads packets from the service addresses to the group's table."""
    return {Rule("from", str(address), table_of(group)) for address in group.addresses}


def rules_to(peers: Iterable[Address]) -> set[Rule]:
    """What keeps the other nodes within reach when somebody flushes the rules, main's among them. They say
    the same as main's, at the same place."""
    return {Rule("to", str(address), _MAIN) for address in peers}


async def our_rules(ipr: AsyncIPRoute) -> set[Rule]:
    """The rules that are marked as ours, of both kinds."""
    found = set()
    for family in _FAMILY.values():
        async for rule in await ipr.rule("dump", family=family):
            source, destination = rule.get_attr("FRA_SRC"), rule.get_attr("FRA_DST")
            if rule.get_attr("FRA_PROTOCOL") == PROTOCOL and (source or destination):
                side = "from" if source else "to"
                found.add(Rule(side, source or destination, rule.get_attr("FRA_TABLE")))
    return found


async def add_rules(ipr: AsyncIPRoute, rules: Iterable[Rule]) -> None:
    """Adds rules, which must not be there. Raises KernelError."""
    for rule in sorted(rules):
        with _explained(f"add {rule}"):
            await ipr.rule("add", **rule.request())


async def remove_rules(ipr: AsyncIPRoute, rules: Iterable[Rule]) -> None:
    """Removes rules, which must be there. Raises KernelError."""
    for rule in sorted(rules):
        with _explained(f"remove {rule}"):
            await ipr.rule("del", **rule.request())


async def _rules(ipr: AsyncIPRoute, table: int) -> set[Rule]:
    return {rule for rule in await our_rules(ipr) if rule.table == table}


async def _table_routes(ipr: AsyncIPRoute, version: int, table: int) -> list[Route]:
    return [
        _route(message, message)
        async for message in await ipr.route("dump", family=_FAMILY[version], table=table)
        if message.get_attr("RTA_TABLE") == table and message["proto"] == PROTOCOL
    ]


async def _delete_route(ipr: AsyncIPRoute, route: Route, table: int) -> None:
    family = _FAMILY[route.destination.version]
    request: dict[str, Any] = {"family": family, "dst": str(route.destination), "scope": _SCOPE_ANY}
    if route.priority:
        request["priority"] = route.priority
    with _explained(f"remove {route.destination} from table {table}"):
        await ipr.route("del", table=table, **request)


# neighbours


def next_hops(routes: Iterable[Route], addresses: Iterable[Address]) -> set[Address]:
    """Which neighbours packets to `addresses` go to: themselves when on the link, else the gateway."""
    ordered = sorted(routes, key=lambda route: (-route.destination.prefixlen, route.priority))
    hops = set()
    for address in addresses:
        route = next((route for route in ordered if address in route.destination), None)
        if route is not None:
            hops.add(route.gateway or address)
    return hops


async def resolve(ipr: AsyncIPRoute, interface: int, neighbours: Iterable[Address]) -> None:
    """Lets the kernel resolve or confirm neighbours, asking with an address of the interface's own."""
    for neighbour in neighbours:
        with _explained(f"resolve {neighbour}"):
            await ipr.neigh("replace", dst=str(neighbour), ifindex=interface, flags=_NTF_USE, state=0)


async def drop_unresolved(ipr: AsyncIPRoute, interface: int) -> None:
    """Deletes neighbours that are being resolved, and with them the packets that wait for it in the kernel.

    These have passed our rules long ago; with a link that comes back they would leave from a node that
    may not own the service any more (arp_queue, net/core/neighbour.c).
    """
    waiting = [
        message.get_attr("NDA_DST")
        async for message in await ipr.neigh("dump", ifindex=interface)
        if message["ifindex"] == interface and message["state"] == _NUD_INCOMPLETE
    ]
    for neighbour in waiting:
        with suppress(NetlinkError):  # resolved, or gone, in the meantime
            await ipr.neigh("del", dst=neighbour, ifindex=interface)


async def known_neighbours(ipr: AsyncIPRoute, interface: int) -> Mapping[Address, str]:
    """Address -> MAC address of the unicast neighbours that the kernel knows on an interface."""
    return {
        ip_address(message.get_attr("NDA_DST")): message.get_attr("NDA_LLADDR")
        async for message in await ipr.neigh("dump", ifindex=interface)
        if message["ifindex"] == interface
        and message["state"] & _NUD_KNOWN
        and message.get_attr("NDA_LLADDR")
    }


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns what the kernel says into a sentence."""
    try:
        yield
    except (NetlinkError, OSError) as error:
        said = error.args[-1] if error.args else error
        raise KernelError(f"cannot {what}: {said}; `fttcp doctor` tells what is missing") from error
