"""Which routes a group's table holds, and through whom clients are reached."""

from collections import UserDict
from ipaddress import ip_address, ip_network
from socket import AF_INET
from typing import Any

from fttcp.datapath.kernel import BACKUP_RTO_MIN_MS, Route, copies, next_hops
from fttcp.datapath.network import Record

SVC, OTHER = 3, 4


class Message(UserDict[str, Any]):
    """What pyroute2 gives: header fields by key, attributes by name."""

    def get_attr(self, name: str) -> Any:
        return dict(self["attrs"]).get(name)


def route(destination: str, prefix: int, interface: int = SVC, kind: int = 1, **attributes: Any) -> Message:
    attrs = {"RTA_DST": destination, "RTA_OIF": interface, **attributes}
    return Message(family=AF_INET, dst_len=prefix, type=kind, flags=0, attrs=list(attrs.items()))


def test_unicast_routes_over_the_interface_are_copied_gateways_last() -> None:
    legs = [
        Message(oif=OTHER, flags=0, attrs=[("RTA_GATEWAY", "10.9.0.1")]),
        Message(oif=SVC, flags=4, attrs=[("RTA_GATEWAY", "10.77.0.3")]),
    ]
    found = copies(
        [
            route("", 0, RTA_GATEWAY="10.77.0.254", RTA_PRIORITY=100),
            route("10.78.0.0", 24, interface=OTHER),
            route("192.0.2.0", 24, kind=7),
            route("10.77.0.0", 24, RTA_METRICS={"attrs": [("RTAX_MTU", 1400)]}),
            Message(
                family=AF_INET,
                dst_len=8,
                type=1,
                flags=0,
                attrs=[("RTA_DST", "11.0.0.0"), ("RTA_MULTIPATH", legs)],
            ),
        ],
        SVC,
    )
    assert found == [
        Route(ip_network("10.77.0.0/24"), None, 0, (("mtu", 1400),)),
        Route(ip_network("0.0.0.0/0"), ip_address("10.77.0.254"), 100),
        Route(ip_network("11.0.0.0/8"), ip_address("10.77.0.3"), 0, on_link=True),
    ]


def test_a_backup_acknowledges_at_once_and_retransmits_early() -> None:
    plain = Route(ip_network("10.77.0.0/24"), None, 0, (("lock", 4), ("mtu", 1400)))
    assert plain.for_role(backup=False) == plain
    assert dict(plain.for_role(backup=True).metrics) == {
        "mtu": 1400,
        "quickack": 1,
        "rto_min": BACKUP_RTO_MIN_MS,
        "lock": 4 | 1 << 13,
    }


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


def test_a_record_keeps_the_first_value_before_ours() -> None:
    first = Record("here", {"a": ("0", "1")}, frozenset({"x"}), frozenset({1}), frozenset({("web", 4)}))
    second = Record("here", {"a": ("1", "2"), "b": ("5", "6")}, frozenset({"y"}))
    both = first.joined(second)
    assert both.sysctls == {"a": ("0", "2"), "b": ("5", "6")}
    assert both.addresses == {"x", "y"}
    assert both.without(second) == Record(
        "here", {}, frozenset({"x"}), frozenset({1}), frozenset({("web", 4)})
    )
