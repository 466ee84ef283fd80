"""Routes and rules of routing of a group.

Packets from the service addresses are routed by a table of the group's own: the main table's routes over the
service interface, with metrics that suit the role.
"""

import errno
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from socket import AF_INET
from typing import NamedTuple

from fttcp.network import rtnetlink
from fttcp.network.kernel import FAMILY, PROTOCOL, do, do_all, index_of
from fttcp.network.nft import parsed
from fttcp.network.rtnetlink import Netlink, Request, as_number, attribute, attributes, number
from fttcp.network.rules import Address, GroupNet

RULE_PRIORITY = 7000  # of `from SERVICE lookup TABLE`, before main's 32766
MAIN_PRIORITY = 32766  # of `to PEER lookup main`: where main's own rule stands
TABLE_BASE = 40000  # the group's table is this + queue_in, which no other group of the node has
BACKUP_RTO_MIN_MS = 5  # its retransmissions are suppressed: it must retransmit soon when it takes over


_MAIN = 254
_UNICAST = 1
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_ANY = 0, 253, 255
_LOCK, _RTO_MIN, _QUICKACK = 1, 13, 15  # RTAX_ numbers
_LOCK_RTO_MIN = 1 << _RTO_MIN  # without it the kernel ignores the value
_ON_LINK = 4

_RTMSG = struct.Struct("=BBBBBBBBI")
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_METRICS, _RTA_MULTIPATH = 1, 4, 5, 6, 8, 9
_RTA_TABLE, _RTA_VIA = 15, 18
_RTNEXTHOP = struct.Struct("=HBBi")
_RULE = struct.Struct("=BBBBBBBBI")
_FRA_DST, _FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 1, 2, 6, 15, 21
_TO_TABLE = 1
_TABLE_BESIDE = 252
"""RT_TABLE_COMPAT: the table's number stands in an attribute."""


@dataclass(frozen=True)
class Route:
    """A unicast route over the service interface. `metrics` are numbers (RTAX_) and their values."""

    destination: IPv4Network | IPv6Network
    gateway: Address | None
    priority: int
    metrics: tuple[tuple[int, bytes], ...] = ()
    on_link: bool = False

    def for_role(self, backup: bool) -> "Route":
        """The route in a role: a backup acknowledges at once (commit is what its kernel acknowledges) and
        retransmits early."""
        if not backup:
            return self
        metrics = dict(self.metrics)
        metrics |= {
            _QUICKACK: _word(1),
            _RTO_MIN: _word(BACKUP_RTO_MIN_MS),
            _LOCK: _word(as_number(metrics.get(_LOCK)) | _LOCK_RTO_MIN),
        }
        return replace(self, metrics=tuple(sorted(metrics.items())))

    def without_role(self) -> "Route":
        """The route as it was before it had the metrics of a backup."""
        metrics = dict(self.metrics)
        if metrics.get(_RTO_MIN) != _word(BACKUP_RTO_MIN_MS) or metrics.pop(_QUICKACK, b"") != _word(1):
            return self
        del metrics[_RTO_MIN]
        lock = as_number(metrics.pop(_LOCK, None)) & ~_LOCK_RTO_MIN
        return replace(
            self, metrics=tuple(sorted((metrics | ({_LOCK: _word(lock)} if lock else {})).items()))
        )


def _word(value: int) -> bytes:
    return struct.pack("=I", value)


def table_of(group: GroupNet) -> int:
    """The number of the group's routing table."""
    return TABLE_BASE + group.queue_in


def routes_over(kernel: Netlink, version: int, interface: int) -> list[Route]:
    """The main table's routes over an interface, those without gateway first."""
    return copies(_dumped(kernel, version, _MAIN, number(_RTA_OIF, interface)), interface)


def _dumped(kernel: Netlink, version: int, table: int, also: bytes = b"") -> list[bytes]:
    header = _RTMSG.pack(FAMILY[version], 0, 0, 0, 0, 0, 0, 0, 0)
    return [
        answer
        for answer in kernel.dump(rtnetlink.GETROUTE, header + number(_RTA_TABLE, table) + also)
        if as_number(attributes(answer, _RTMSG.size).get(_RTA_TABLE)) == table
    ]


def copies(messages: Iterable[bytes], interface: int) -> list[Route]:
    """The unicast routes among rtnetlink messages that lead over the interface of that index, those
    without gateway first (a gateway must be reachable when its route is made)."""
    routes = []
    for message in messages:
        if _RTMSG.unpack_from(message)[7] == _UNICAST:
            legs = (leg for leg in _legs(attributes(message, _RTMSG.size)) if leg[0] == interface)
            leg = next(legs, None)
            if leg is not None:
                routes.append(_route(message, leg[1], leg[2]))
    return sorted(routes, key=lambda route: route.gateway is not None)


def _legs(told: dict[int, bytes]) -> Iterator[tuple[int, bytes | None, int]]:
    """Interface, gateway and flags of each way that a route has, but those by another family's gateway."""
    several = told.get(_RTA_MULTIPATH)
    if several is None:
        if _RTA_VIA not in told:
            yield as_number(told.get(_RTA_OIF)), told.get(_RTA_GATEWAY), 0
        return
    at = 0
    while len(several) - at >= _RTNEXTHOP.size:
        length, flags, _, index = _RTNEXTHOP.unpack_from(several, at)
        leg = attributes(several[at : at + length], _RTNEXTHOP.size)
        if _RTA_VIA not in leg:
            yield index, leg.get(_RTA_GATEWAY), flags
        at += max(_RTNEXTHOP.size, (length + 3) & ~3)


def _route(message: bytes, gateway: bytes | None, flags: int) -> Route:
    header, told = _RTMSG.unpack_from(message), attributes(message, _RTMSG.size)
    destination = ip_address(told.get(_RTA_DST) or bytes(4 if header[0] == AF_INET else 16))
    return Route(
        destination=ip_network(f"{destination}/{header[1]}"),
        gateway=ip_address(gateway) if gateway else None,
        priority=as_number(told.get(_RTA_PRIORITY)),
        metrics=tuple(sorted(parsed(told.get(_RTA_METRICS, b"")))),
        on_link=bool((header[8] | flags) & _ON_LINK),
    )


def leads_over(kernel: Netlink, address: Address) -> int:
    """The index of the interface over which this host reaches an address, 0 if it does not."""
    body = _RTMSG.pack(FAMILY[address.version], address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        answer = kernel.get(rtnetlink.GETROUTE, body + attribute(_RTA_DST, address.packed))
    except OSError as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
            return 0
        raise
    if _RTMSG.unpack_from(answer)[7] != _UNICAST:
        return 0
    return as_number(attributes(answer, _RTMSG.size).get(_RTA_OIF))


def wanted_routes(kernel: Netlink, group: GroupNet, adapter: str, backup: bool) -> list[Route]:
    """What the group's table is to hold, over the adapter that is used: what the main table says of the
    service interface. Where that says nothing any more (somebody has emptied it), what the table holds: the
    kernel takes away by itself what leads nowhere. With another adapter in use both count, and what the main
    table says of that one: it leads to the same network, and the first may be gone with its routes. What the
    table holds counts until the first one has a gateway again, and never beside another route to the same
    destination."""
    wanted: list[Route] = []
    present = {name: index for name in group.adapters if (index := index_of(name))}
    for version in group.families if adapter in present else ():
        routes: dict[tuple[IPv4Network | IPv6Network, int], Route] = {}
        first = present.get(group.service_interface)
        told = routes_over(kernel, version, first) if first else []
        other = routes_over(kernel, version, present[adapter]) if present[adapter] != first else []
        for route in (*told, *other):
            routes.setdefault((route.destination, route.priority), route)
        complete = any(route.gateway is not None for route in told)
        if not routes or (present[adapter] != first and not complete):
            named = {destination for destination, _ in routes}
            for held in _table_routes(kernel, version, table_of(group)):
                if held.interface in present.values() and held.route.destination not in named:
                    route = held.route.without_role()
                    routes.setdefault((route.destination, route.priority), route)
        wanted += sorted(routes.values(), key=lambda route: route.gateway is not None)
    return [route.for_role(backup) for route in wanted]


class Held(NamedTuple):
    """A route that the group's table holds; it may be left from when the service interface was another."""

    route: Route
    interface: int


class Synced(NamedTuple):
    """What a group's table holds, and what of that somebody had removed."""

    routes: list[Route]
    removed: list[Route]

    @property
    def versions(self) -> set[int]:
        """The IP versions by which others than neighbours' link-local addresses can be reached."""
        return {one.destination.version for one in self.routes if not one.destination.is_link_local}


def lead_over(kernel: Netlink, group: GroupNet, adapter: str, routes: Iterable[Route]) -> None:
    """Has routes of the group's table, which were read before, lead over another adapter: in place, so that
    no packet is without one. Raises KernelError for the first that cannot; the others do."""
    table, interface = table_of(group), index_of(adapter)
    ordered = sorted(routes, key=lambda route: route.gateway is not None)
    do_all(
        kernel,
        [(f"route {one.destination} over {adapter}", _request(one, table, interface)) for one in ordered],
    )


def sync_routes(
    kernel: Netlink, group: GroupNet, adapter: str, backup: bool, before: Collection[Route] = frozenset()
) -> Synced:
    """Makes the group's table what the main table and the role ask for. Routes change in place: no packet is
    without one. `before`: what it held when it was left. Raises KernelError."""
    table, interface = table_of(group), index_of(adapter)
    wanted = wanted_routes(kernel, group, adapter, backup)
    existing = [one for version in FAMILY for one in _table_routes(kernel, version, table)]
    known, old = {one.route for one in existing if one.interface == interface}, set(before)
    lacking = [route for route in wanted if route not in known]
    do_all(
        kernel,
        [
            (
                f"route {one.destination} over {adapter} in table {table}",
                _request(one, table, interface),
            )
            for one in lacking
        ],
    )
    kept = {(route.destination, route.priority, interface) for route in wanted}
    stale = [
        one for one in existing if (one.route.destination, one.route.priority, one.interface) not in kept
    ]
    _delete_routes(kernel, stale, table)
    return Synced(wanted, [route for route in lacking if route in old])


def sync_rules(group: GroupNet, kernel: Netlink) -> None:
    """Leads the service addresses to the group's table, and no others. Raises KernelError."""
    present, wanted = our_rules(kernel), rules(group)
    add_rules(kernel, wanted - present)
    remove_rules(kernel, {rule for rule in present if rule.table == table_of(group)} - wanted)


def remove_routes(kernel: Netlink, table: int) -> None:
    """Removes a group's table and the rules that lead to it, if any. Raises KernelError."""
    remove_rules(kernel, _rules(kernel, table))
    for version in FAMILY:
        _delete_routes(kernel, _table_routes(kernel, version, table)[::-1], table)


def _request(route: Route, table: int, interface: int) -> Request:
    on_the_link = route.gateway is None and route.destination.version == 4
    header = _RTMSG.pack(
        FAMILY[route.destination.version],
        route.destination.prefixlen,
        0,
        0,
        _TABLE_BESIDE,
        PROTOCOL,
        _SCOPE_LINK if on_the_link else _SCOPE_UNIVERSE,
        _UNICAST,
        _ON_LINK if route.on_link else 0,
    )
    body = header + number(_RTA_TABLE, table) + number(_RTA_OIF, interface)
    body += attribute(_RTA_DST, route.destination.network_address.packed)
    if route.gateway is not None:
        body += attribute(_RTA_GATEWAY, route.gateway.packed)
    if route.priority:
        body += number(_RTA_PRIORITY, route.priority)
    if route.metrics:
        body += attribute(_RTA_METRICS, b"".join(attribute(*metric) for metric in route.metrics))
    return Request(rtnetlink.NEWROUTE, rtnetlink.CREATE | rtnetlink.REPLACE, body)


@dataclass(frozen=True, order=True)
class Rule:
    """A rule of policy routing: packets `from` or `to` an address look up a table."""

    side: str
    address: str
    table: int

    def __str__(self) -> str:
        return f"ip rule {self.side} {self.address} lookup {'main' if self.table == _MAIN else self.table}"

    def body(self) -> bytes:
        """What rtnetlink is told."""
        address = ip_address(self.address)
        lengths = (0, address.max_prefixlen) if self.side == "from" else (address.max_prefixlen, 0)
        header = _RULE.pack(FAMILY[address.version], *lengths, 0, _TABLE_BESIDE, 0, 0, _TO_TABLE, 0)
        return (
            header
            + attribute(_FRA_SRC if self.side == "from" else _FRA_DST, address.packed)
            + number(_FRA_TABLE, self.table)
            + number(_FRA_PRIORITY, MAIN_PRIORITY if self.table == _MAIN else RULE_PRIORITY)
            + attribute(_FRA_PROTOCOL, bytes([PROTOCOL]))
        )


def rule_in(body: bytes) -> Rule | None:
    """The rule that rtnetlink tells of, if it is marked as ours."""
    told = attributes(body, _RULE.size)
    if told.get(_FRA_PROTOCOL) != bytes([PROTOCOL]) or _FRA_TABLE not in told:
        return None
    side = "from" if _FRA_SRC in told else "to"
    address = told.get(_FRA_SRC) or told.get(_FRA_DST)
    return Rule(side, str(ip_address(address)), as_number(told[_FRA_TABLE])) if address else None


def rules_of(group: GroupNet) -> set[Rule]:
    """What leads packets from the service addresses to the group's table."""
    return {Rule("from", str(address), table_of(group)) for address in group.addresses}


def rules_to(peers: Iterable[Address]) -> set[Rule]:
    """What keeps the other nodes within reach when somebody flushes the rules, main's among them. They say
    the same as main's, at the same place."""
    return {Rule("to", str(address), _MAIN) for address in peers}


def rules(group: GroupNet) -> set[Rule]:
    """All that a group needs."""
    return rules_of(group) | rules_to(group.peers)


def our_rules(kernel: Netlink) -> set[Rule]:
    """The rules that are marked as ours, of both kinds."""
    told = (
        rule_in(answer)
        for family in FAMILY.values()
        for answer in kernel.dump(rtnetlink.GETRULE, _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    )
    return {rule for rule in told if rule is not None}


def add_rules(kernel: Netlink, wanted: Iterable[Rule]) -> None:
    """Adds rules, unless they are there. Raises KernelError."""
    for rule in sorted(wanted):
        flags = rtnetlink.CREATE | rtnetlink.EXCLUSIVE
        do(kernel, f"add {rule}", Request(rtnetlink.NEWRULE, flags, rule.body()), errno.EEXIST)


def remove_rules(kernel: Netlink, unwanted: Iterable[Rule]) -> None:
    """Removes rules, if they are there. Raises KernelError."""
    for rule in sorted(unwanted):
        do(kernel, f"remove {rule}", Request(rtnetlink.DELRULE, 0, rule.body()), errno.ENOENT)


def our_tables(kernel: Netlink) -> set[int]:
    """The tables that have routes which are marked as ours."""
    return {
        as_number(attributes(answer, _RTMSG.size)[_RTA_TABLE])
        for family in FAMILY.values()
        for answer in kernel.dump(rtnetlink.GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
        if _RTMSG.unpack_from(answer)[5] == PROTOCOL
    }


def _rules(kernel: Netlink, table: int) -> set[Rule]:
    return {rule for rule in our_rules(kernel) if rule.table == table}


def _table_routes(kernel: Netlink, version: int, table: int) -> list[Held]:
    """What a group's table holds."""
    found = []
    for answer in _dumped(kernel, version, table):
        if _RTMSG.unpack_from(answer)[5] == PROTOCOL:
            told = attributes(answer, _RTMSG.size)
            found.append(Held(_route(answer, told.get(_RTA_GATEWAY), 0), as_number(told.get(_RTA_OIF))))
    return found


def _delete_routes(kernel: Netlink, held: Iterable[Held], table: int) -> None:
    """What has gone meanwhile, or was replaced, is not missed."""
    requests = []
    for route, interface in held:
        family, length = FAMILY[route.destination.version], route.destination.prefixlen
        body = _RTMSG.pack(family, length, 0, 0, _TABLE_BESIDE, 0, _SCOPE_ANY, 0, 0)
        body += number(_RTA_TABLE, table) + attribute(_RTA_DST, route.destination.network_address.packed)
        body += number(_RTA_OIF, interface)
        if route.priority:
            body += number(_RTA_PRIORITY, route.priority)
        what = f"remove {route.destination} from table {table}"
        requests.append((what, Request(rtnetlink.DELROUTE, 0, body)))
    do_all(kernel, requests, errno.ESRCH)


def next_hops(routes: Iterable[Route], addresses: Iterable[Address]) -> set[Address]:
    """Which neighbours packets to `addresses` go to: themselves when on the link, else the gateway."""
    best: dict[IPv4Network | IPv6Network, Route] = {}
    for route in sorted(routes, key=lambda route: -route.priority):
        best[route.destination] = route
    lengths = sorted({(net.version, net.prefixlen) for net in best}, reverse=True)
    hops = set()
    for address in addresses:
        nets = (
            ip_network((address, length), False) for version, length in lengths if version == address.version
        )
        found = next((best[net] for net in nets if net in best), None)
        if found is not None:
            hops.add(found.gateway or address)
    return hops
