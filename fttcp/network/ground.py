"""The ground that a group stands on: what a node relies on of the host, besides the firewall.

Anybody may change it at any time: managers of networks, scripts, people. Each want says what it lacks, asked
of the kernel each time, and how that is mended if it is ours to mend. What brings a look is the
kernel's word (`NEWS`); what the kernel is silent about is seen by the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from fttcp.network import kernel, routing
from fttcp.network.kernel import KernelError
from fttcp.network.routing import Synced
from fttcp.network.rtnetlink import Netlink
from fttcp.network.rules import GroupNet

_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE = 1, 5, 7, 8, 9, 11
_IPV6_IFINFO, _IPV6_RULE, _IPV4_NETCONF, _IPV6_NETCONF = 12, 19, 24, 25
NEWS = sum(
    1 << number - 1
    for number in (
        *(_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE),
        *(_IPV6_IFINFO, _IPV6_RULE, _IPV4_NETCONF, _IPV6_NETCONF),
    )
)
"""Groups of rtnetlink. NETCONF tells of rp_filter; of other sysctls nothing tells, but who sets some with
`sysctl --system` sets that as well."""
_SHOWN = 4
"""Routes that are named; there may be very many."""


class Lack(NamedTuple):
    """What is missing of one kind."""

    why: str
    """A word for programs, which never changes."""
    what: str
    todo: str
    serving: bool
    """Whether a node cannot serve without; else clients lose their protection."""


class Ground(NamedTuple):
    """How a group stood when it was looked at."""

    mended: Sequence[str]
    """What somebody had changed, and what is as it should be again."""
    missing: Sequence[Lack]
    """What is not ours to mend, or could not be mended."""
    failed: bool
    """True if something was ours to mend, and could not be."""

    @property
    def serving(self) -> bool:
        """True if this node can serve as it is."""
        return not any(lack.serving for lack in self.missing)


class Found(NamedTuple):
    """What a look at one want found."""

    mended: Sequence[str]
    missing: Sequence[str]
    failed: bool = False


@dataclass(frozen=True)
class Want:
    """One kind of thing that a group relies on. `look` mends what is ours to mend."""

    why: str
    """As in `Lack`."""
    look: Callable[[Netlink], Found]
    todo: str
    serving: bool = True


def look(socket: Netlink, wants: Iterable[Want]) -> Ground:
    """Look at everything, and mend what is ours. A want comes after those that it relies on."""
    mended: list[str] = []
    missing: list[Lack] = []
    failed = False
    for want in wants:
        found = want.look(socket)
        failed = failed or found.failed
        mended += found.mended
        if found.missing:
            missing.append(Lack(want.why, "; ".join(found.missing), want.todo, want.serving))
    return Ground(mended, missing, failed)


def wants(
    net: GroupNet,
    adapter: str,
    sysctls: Mapping[str, str],
    routes: Callable[[Netlink], tuple[Synced, set[int]]],
) -> list[Want]:
    """What a group relies on. `adapter`: the one that its addresses are at; `sysctls`: path -> the value that
    it must have; `routes`: makes the group's table as it should be, and tells of which IP versions it has
    ever had routes."""
    service, peer = (partial(_interface, net, name) for name in (adapter, net.peer_interface))
    addresses = _mended(partial(_addresses, net), partial(_add_addresses, net))
    set_right = _mended(partial(_sysctls, sysctls), partial(_set_sysctls, sysctls))
    rules = _mended(partial(_rules, net), partial(routing.sync_rules, net))
    again = "find out who changes the host: fttcp puts it back each time the kernel tells of a change"
    return [
        Want("loopback", _mended(_loopback, lambda socket: kernel.set_up(socket, kernel.LO)), again),
        Want("service-interface", _told(service), "bring it back, under this name"),
        Want("peer-interface", _told(peer), "bring it back, under this name", serving=False),
        Want("service-address", addresses, again),
        Want("sysctls", set_right, again, serving=False),
        Want("rules-of-routing", rules, again),
        Want("routes", partial(_routes, net, adapter, routes), "give the interface its addresses and routes"),
        Want("way-to-the-peer", _told(partial(_way_to_the_peer, net)), "give it back", serving=False),
        Want("mtu", _told(partial(_room, net, adapter)), "make it as large, on both nodes", serving=False),
    ]


Lacking = Callable[[Netlink], Iterable[str]]


def _told(lacking: Lacking) -> Callable[[Netlink], Found]:
    """Of what is not ours to mend."""
    return lambda socket: Found([], [*lacking(socket)])


def _mended(lacking: Lacking, mend: Callable[[Netlink], None]) -> Callable[[Netlink], Found]:
    def look(socket: Netlink) -> Found:
        lacked, why = [*lacking(socket)], ""
        if not lacked:
            return Found([], [])
        try:
            mend(socket)
        except KernelError as error:
            why = f" ({error})"
        left = [*lacking(socket)]
        return Found([what for what in lacked if what not in left], [what + why for what in left], bool(left))

    return look


def _loopback(socket: Netlink) -> Iterator[str]:
    found = kernel.link(socket, "lo")
    if found is not None and not found.up:
        yield "lo is down"


def _interface(net: GroupNet, name: str, socket: Netlink) -> Iterator[str]:
    found = kernel.link(socket, name)
    if found is None:
        yield f"there is no interface {name}"
    elif not found.up:
        yield f"{name} is down"
    elif found.port_of in ("bridge", "bond", "team", "openvswitch"):
        yield f"{name} is a port of a {found.port_of}, which takes its packets: configure that one instead"
    elif 6 in net.families and kernel.read_sysctl(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6") == "1":
        yield f"IPv6 is switched off on {name} (disable_ipv6)"


def _addresses(net: GroupNet, socket: Netlink) -> Iterator[str]:
    for one in sorted(set(net.addresses) - kernel.addresses_on_lo(socket), key=str):
        yield f"{one} on lo"


def _add_addresses(net: GroupNet, socket: Netlink) -> None:
    for one in sorted(set(net.addresses) - kernel.addresses_on_lo(socket), key=str):
        kernel.add_address(socket, one)


def _wrong_sysctls(wanted: Mapping[str, str]) -> dict[str, str]:
    """Path -> value; an interface that is gone has none."""
    now = {path: kernel.read_sysctl(path) for path in wanted}
    return {path: value for path, value in now.items() if value not in ("", wanted[path])}


def _sysctls(wanted: Mapping[str, str], _: Netlink) -> Iterator[str]:
    for path, value in _wrong_sysctls(wanted).items():
        yield f"{kernel.sysctl_name(path)} = {wanted[path]} (it is {value})"


def _set_sysctls(wanted: Mapping[str, str], _: Netlink) -> None:
    for path in _wrong_sysctls(wanted):
        kernel.write_sysctl(path, wanted[path])


def _rules(net: GroupNet, socket: Netlink) -> list[str]:
    return [str(rule) for rule in sorted(routing.rules(net) - routing.our_rules(socket))]


def _routes(
    net: GroupNet, adapter: str, mend: Callable[[Netlink], tuple[Synced, set[int]]], socket: Netlink
) -> Found:
    """The kernel takes all routes over an interface with its last address of IPv4, in each table. Who never
    had one is not told."""
    try:
        synced, had = mend(socket)
    except KernelError as error:
        return Found([], [f"routes over {adapter} ({error})"], True)
    told = [f"{one.destination} in table {routing.table_of(net)}" for one in synced.removed]
    more = [f"{len(told) - _SHOWN} more routes"] if len(told) > _SHOWN else []
    missing = [
        f"no IPv{version} route over {adapter} any more: no client can be reached"
        for version in sorted((had - synced.versions) & set(net.families))
    ]
    return Found([*told[:_SHOWN], *more], missing)


def _way_to_the_peer(net: GroupNet, socket: Netlink) -> Iterator[str]:
    """Where the mirror goes. An interface that loses its address of an IP version loses this way."""
    interface = kernel.index_of(net.peer_interface)
    for version in net.families if net.ports_of("tcp") and interface else ():
        gateway = net.gateway(version)
        if gateway is not None and routing.leads_over(socket, gateway) != interface:
            yield f"no way to {gateway} over {net.peer_interface}: that has lost its IPv{version} address"


def _room(net: GroupNet, adapter: str, socket: Netlink) -> Iterator[str]:
    peer, service = (kernel.link(socket, name) for name in (net.peer_interface, adapter))
    if peer is not None and service is not None and peer.mtu < service.mtu:
        yield (
            f"MTU of {net.peer_interface} is {peer.mtu}, less than that of {adapter}, "
            f"{service.mtu}: long packets cannot be mirrored"
        )
