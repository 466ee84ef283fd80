"""Which routes a group's table holds, and through whom clients are reached."""

import struct
from ipaddress import ip_address, ip_network
from socket import AF_INET

from fttcp.network.record import Record
from fttcp.network.routing import BACKUP_RTO_MIN_MS, Route, copies, next_hops
from fttcp.network.rtnetlink import attribute, number

SVC, OTHER = 3, 4
LOCK, MTU, RTO_MIN, QUICKACK = 1, 2, 13, 15
DST, OIF, GATEWAY, PRIORITY, METRICS, MULTIPATH = 1, 4, 5, 6, 8, 9


def word(value: int) -> bytes:
    return struct.pack("=I", value)


def packed(text: str) -> bytes:
    return ip_address(text).packed


def route(destination: str, prefix: int, *attributes: bytes, interface: int = SVC, kind: int = 1) -> bytes:
    """What the kernel tells of a route."""
    header = struct.pack("=BBBBBBBBI", AF_INET, prefix, 0, 0, 254, 0, 0, kind, 0)
    over = number(OIF, interface) if interface else b""
    return (
        header + (attribute(DST, packed(destination)) if destination else b"") + over + b"".join(attributes)
    )


def leg(interface: int, flags: int, gateway: str) -> bytes:
    """One way of a route that has several."""
    told = attribute(GATEWAY, packed(gateway))
    return struct.pack("=HBBi", 8 + len(told), flags, 0, interface) + told


def test_unicast_routes_over_the_interface_are_copied_gateways_last() -> None:
    legs = leg(OTHER, 0, "10.9.0.1") + leg(SVC, 4, "10.77.0.3")
    found = copies(
        [
            route("", 0, attribute(GATEWAY, packed("10.77.0.254")), number(PRIORITY, 100)),
            route("10.78.0.0", 24, interface=OTHER),
            route("192.0.2.0", 24, kind=7),
            route("10.77.0.0", 24, attribute(METRICS, number(MTU, 1400))),
            route("11.0.0.0", 8, attribute(MULTIPATH, legs), interface=0),
        ],
        SVC,
    )
    assert found == [
        Route(ip_network("10.77.0.0/24"), None, 0, ((MTU, word(1400)),)),
        Route(ip_network("0.0.0.0/0"), ip_address("10.77.0.254"), 100),
        Route(ip_network("11.0.0.0/8"), ip_address("10.77.0.3"), 0, on_link=True),
    ]


def test_a_backup_acknowledges_at_once_and_retransmits_early() -> None:
    plain = Route(ip_network("10.77.0.0/24"), None, 0, ((LOCK, word(4)), (MTU, word(1400))))
    assert plain.for_role(backup=False) == plain
    shaped = plain.for_role(backup=True)
    assert dict(shaped.metrics) == {
        MTU: word(1400),
        QUICKACK: word(1),
        RTO_MIN: word(BACKUP_RTO_MIN_MS),
        LOCK: word(4 | 1 << 13),
    }
    assert shaped.without_role() == plain == plain.without_role()


def test_clients_are_reached_by_themselves_or_through_a_gateway() -> None:
    near, far, v6 = (ip_address(text) for text in ("10.77.0.10", "192.0.2.9", "2001:db8::1"))
    gateway = ip_address("10.77.0.254")
    routes = [
        Route(ip_network("0.0.0.0/0"), gateway, 0),
        Route(ip_network("10.77.0.0/24"), None, 0),
    ]
    assert next_hops(routes, [near]) == {near}
    assert next_hops(routes, [near, far, ip_address("192.0.2.10")]) == {near, gateway}
    assert next_hops(routes, [v6]) == set()
    better = Route(ip_network("0.0.0.0/0"), near, 10)
    assert next_hops([Route(ip_network("0.0.0.0/0"), gateway, 20), better], [far]) == {near}


def test_a_record_keeps_the_first_value_before_ours() -> None:
    first = Record("here", {"a": ("0", "1")}, frozenset({"x"}), frozenset({1}), frozenset({("web", 4)}))
    second = Record("here", {"a": ("1", "2"), "b": ("5", "6")}, frozenset({"y"}))
    both = first.joined(second)
    assert both.sysctls == {"a": ("0", "2"), "b": ("5", "6")}
    assert both.addresses == {"x", "y"}
    assert both.without(second) == Record(
        "here", {}, frozenset({"x"}), frozenset({1}), frozenset({("web", 4)})
    )
