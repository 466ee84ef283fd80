"""What the kernel is told for a group besides firewall rules: sysctls, addresses, neighbours; routes are in
routing.py.

The service addresses sit on `lo`, where the kernel answers no ARP or ND for them, and never chooses
them as a source (IPv4: scope host; IPv6: deprecated).
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6

from fttcp.network import rtnetlink
from fttcp.network.rtnetlink import Netlink, Request, as_number, attribute, attributes, number
from fttcp.network.rules import Address, GroupNet

_CONF4, _CONF6 = Path("/proc/sys/net/ipv4/conf"), Path("/proc/sys/net/ipv6/conf")
_EARLY_DEMUX = "/proc/sys/net/ipv4/ip_early_demux"
LO = 1
_SCOPE_UNIVERSE, _SCOPE_HOST = 0, 254
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_FOREVER = 0xFFFFFFFF
_NUD_INCOMPLETE = 0x01
_NTF_USE = 1
_NUD_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent
FAMILY = {4: AF_INET, 6: AF_INET6}

_IFADDRMSG = struct.Struct("=BBBBI")
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 6, 8, 11
PROTOCOL = 70  # rtnetlink protocol number that marks routes, rules and addresses as ours
_IFINFOMSG = struct.Struct("=BxHiII")
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO = 1, 3, 4, 18
_INFO_KIND, _INFO_SLAVE_KIND = 1, 4
_NDMSG = struct.Struct("=BxxxiHBB")
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8


class KernelError(Exception):
    """The kernel refused a setting; the text says which, and what to do."""


# sysctls


def wanted_sysctls(groups: Iterable[GroupNet], before: Mapping[str, str]) -> dict[str, str]:
    """Path -> value, for interfaces that are there: no ARP for addresses that sit on `lo`, nor ARP in their
    name; a peer link that does not refuse mirrored packets, which come from client addresses (loose, and
    only if strict now; so are several adapters to one network) and tells the other node a new MAC address at
    once (the mirror follows its neighbour table); IPv6 addresses that stay when an interface goes down, as
    those of IPv4 do. No early demux, of both IP versions: it ties a packet to a socket before INPUT,
    which may be another one after the queue. A FIN that waits there behind the last acknowledgement would
    be lost.
    `before`: the values before ours of what we have set already."""
    wanted: dict[str, str] = {}
    for group in groups:
        wanted[_EARLY_DEMUX] = "0"
        for interface in group.interfaces:
            directory = _CONF4 / interface
            if directory.is_dir():
                wanted[str(directory / "arp_ignore")] = "1"
                wanted[str(directory / "arp_announce")] = "2"
        for told in (
            _CONF4 / group.peer_interface / "arp_notify",
            _CONF6 / group.peer_interface / "ndisc_notify",
        ):
            if told.exists():
                wanted[str(told)] = "1"
        by_v6 = group.interfaces if 6 in group.families else ()
        for interface in (*by_v6, *group.links_v6):
            kept = _CONF6 / interface / "keep_addr_on_down"
            if kept.exists():
                wanted[str(kept)] = "1"
        all_interfaces = _CONF4 / "all/rp_filter"
        for interface in group.interfaces if group.standby_interfaces else (group.peer_interface,):
            own = _CONF4 / interface / "rp_filter"
            if own.exists():
                now, of_all = read_sysctl(str(own)), read_sysctl(str(all_interfaces))
                if "1" in (max(before.get(str(own), now), of_all), max(now, of_all)):
                    wanted[str(own)] = "2"
    return wanted


def sysctl_name(path: str) -> str:
    """As `sysctl` calls it."""
    return path.removeprefix("/proc/sys/").replace("/", ".")


def read_sysctl(path: str) -> str:
    """The value of a sysctl, '' when it does not exist (any more)."""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        return ""


def write_sysctl(path: str, value: str) -> None:
    """Sets a sysctl. Raises KernelError."""
    try:
        Path(path).write_text(value)
    except OSError as error:
        raise KernelError(f"cannot set {path} to {value}: {error.strerror}; run as root") from error


# interfaces and addresses


@dataclass(frozen=True)
class Link:
    """An interface. `port_of`: the kind of interface (bridge, bond ...) that takes its packets, or '';
    `kind`: its own (macvlan ...), or ''."""

    index: int
    up: bool
    mtu: int
    port_of: str
    kind: str = ""


@contextmanager
def netlink() -> Iterator[Netlink]:
    """An rtnetlink socket of this network namespace, not in the thread of a loop. Raises KernelError for
    what the kernel refuses."""
    with explained("use rtnetlink"), Netlink() as kernel:
        yield kernel


def index_of(name: str) -> int:
    """The index of an interface, 0 if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def interface_index(name: str) -> int:
    """The index of an interface. Raises KernelError."""
    index = index_of(name)
    if not index:
        raise KernelError(f"interface {name} does not exist: correct the configuration or create it")
    return index


def link(kernel: Netlink, name: str) -> Link | None:
    """An interface; None if it is not there."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
    try:
        answer = kernel.get(rtnetlink.GETLINK, body)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(answer)
    told = attributes(answer, _IFINFOMSG.size)
    info = attributes(told.get(_IFLA_LINKINFO, b""), 0)
    port_of, kind = (_text(info.get(key, b"")) for key in (_INFO_SLAVE_KIND, _INFO_KIND))
    return Link(index, bool(flags & _IFF_UP), as_number(told.get(_IFLA_MTU)), port_of, kind)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def hardware_addresses(kernel: Netlink) -> dict[bytes, str]:
    """MAC address -> an interface of this network namespace that has it."""
    links = kernel.dump(rtnetlink.GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0))
    told = [attributes(link, _IFINFOMSG.size) for link in links]
    return {one[_IFLA_ADDRESS]: _text(one[_IFLA_IFNAME]) for one in told if _IFLA_ADDRESS in one}


def set_up(kernel: Netlink, index: int) -> None:
    """Switches an interface on. Raises KernelError."""
    body = _IFINFOMSG.pack(0, 0, index, _IFF_UP, _IFF_UP)
    do(kernel, "set an interface up", Request(rtnetlink.NEWLINK, 0, body))


def addresses_on(kernel: Netlink, interface: int) -> set[Address]:
    """The addresses that an interface has."""
    return {ip_address(told.get(_IFA_LOCAL) or told[_IFA_ADDRESS]) for told in _addresses(kernel, interface)}


def _addresses(kernel: Netlink, interface: int) -> Iterator[dict[int, bytes]]:
    for family in FAMILY.values():
        for answer in kernel.dump(rtnetlink.GETADDR, _IFADDRMSG.pack(family, 0, 0, 0, interface)):
            if _IFADDRMSG.unpack_from(answer)[4] == interface:
                yield attributes(answer, _IFADDRMSG.size)


def addresses_on_lo(kernel: Netlink) -> set[Address]:
    """The addresses that the loopback interface has."""
    return addresses_on(kernel, LO)


def our_addresses(kernel: Netlink, ours: Collection[Address]) -> set[Address]:
    """Those on the loopback interface that are marked as ours. Before Linux 5.18, which marks its own too,
    nothing is: ``ours`` then tells which are."""
    marks = {
        ip_address(told.get(_IFA_LOCAL) or told[_IFA_ADDRESS]): told.get(_IFA_PROTO)
        for told in _addresses(kernel, LO)
    }
    if not any(marks.values()):
        return {address for address in marks if address in ours}
    return {address for address, mark in marks.items() if mark == bytes([PROTOCOL])}


def add_address(kernel: Netlink, address: Address) -> None:
    """Puts a service address on `lo`, usable at once. Raises KernelError."""
    scope = _SCOPE_HOST if address.version == 4 else _SCOPE_UNIVERSE
    body = _address(address, scope) + attribute(_IFA_PROTO, bytes([PROTOCOL]))
    if address.version == 6:
        body += number(_IFA_FLAGS, _IFA_F_NODAD | _IFA_F_NOPREFIXROUTE)
        body += attribute(_IFA_CACHEINFO, struct.pack("=IIII", 0, _FOREVER, 0, 0))  # preferred for no time
    flags = rtnetlink.CREATE | rtnetlink.EXCLUSIVE
    do(kernel, f"add {address} to lo", Request(rtnetlink.NEWADDR, flags, body), errno.EEXIST)


def remove_address(kernel: Netlink, address: Address) -> None:
    """Takes a service address off `lo`, if it is there. Raises KernelError."""
    request = Request(rtnetlink.DELADDR, 0, _address(address, 0))
    do(kernel, f"remove {address} from lo", request, errno.EADDRNOTAVAIL)


def _address(address: Address, scope: int) -> bytes:
    header = _IFADDRMSG.pack(FAMILY[address.version], address.max_prefixlen, 0, scope, LO)
    return header + attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)


async def end_connections(addresses: Iterable[Address]) -> None:
    """Destroys the TCP connections that the kernel still holds under service addresses, orphans of dead
    servers among them: else they retransmit, or meet a client that uses its port again. Listening sockets
    stay. The kernel sends RSTs, so the firewall rules must stand. Raises KernelError."""
    for address in addresses:
        source = f"[{address}]" if address.version == 6 else str(address)
        with explained(f"end the connections of {address} with ss (apt-get install iproute2)"):
            process = await asyncio.create_subprocess_exec(
                *("ss", "--kill", "--tcp", "--numeric", "src", source),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await process.communicate()
            if process.returncode:
                raise OSError(process.returncode, said.decode(errors="replace").strip())


# neighbours


def resolve(kernel: Netlink, interface: int, neighbours: Iterable[Address]) -> None:
    """Lets the kernel resolve or confirm neighbours, asking with an address of the interface's own."""
    flags = rtnetlink.CREATE | rtnetlink.REPLACE
    requests = [
        (
            f"resolve {neighbour}",
            Request(rtnetlink.NEWNEIGH, flags, _neighbour(neighbour, interface, _NTF_USE)),
        )
        for neighbour in neighbours
    ]
    do_all(kernel, requests)


def drop_unresolved(kernel: Netlink, interface: int) -> None:
    """Deletes neighbours that are being resolved, and with them the packets that wait for it in the kernel.

    These have passed our rules long ago; with a link that comes back they would leave from a node that
    may not own the service any more (arp_queue, net/core/neighbour.c).
    """
    kernel.do_all(  # resolved, or gone, in the meantime: all the better
        Request(rtnetlink.DELNEIGH, 0, _neighbour(address, interface, 0))
        for address, state, _ in _neighbours(kernel, interface)
        if state == _NUD_INCOMPLETE
    )


def known_neighbours(kernel: Netlink, interface: int) -> Mapping[Address, str]:
    """Address -> MAC address of the unicast neighbours that the kernel knows on an interface."""
    return {
        address: mac.hex(":")
        for address, state, mac in _neighbours(kernel, interface)
        if state & _NUD_KNOWN and mac
    }


def _neighbour(address: Address, interface: int, flags: int) -> bytes:
    header = _NDMSG.pack(FAMILY[address.version], interface, 0, flags, 0)
    return header + attribute(_NDA_DST, address.packed)


def _neighbours(kernel: Netlink, interface: int) -> Iterator[tuple[Address, int, bytes]]:
    """Address, state and MAC address of each on an interface."""
    for family in FAMILY.values():
        wanted = _NDMSG.pack(family, 0, 0, 0, 0) + number(_NDA_IFINDEX, interface)
        for answer in kernel.dump(rtnetlink.GETNEIGH, wanted):
            told = attributes(answer, _NDMSG.size)
            _, index, state, _, _ = _NDMSG.unpack_from(answer)
            if index == interface and _NDA_DST in told:
                yield ip_address(told[_NDA_DST]), state, told.get(_NDA_LLADDR, b"")


def do(kernel: Netlink, what: str, request: Request, good: int = 0) -> None:
    """Have one thing done; the error `good` means that it is done already."""
    do_all(kernel, [(what, request)], good)


def do_all(kernel: Netlink, requests: Iterable[tuple[str, Request]], good: int = 0) -> None:
    """Raises KernelError for the first that was refused; the others are tried all the same."""
    wanted = list(requests)
    with explained("use rtnetlink"):
        errors = kernel.do_all(request for _, request in wanted)
    for (what, _), error in zip(wanted, errors, strict=True):
        if error not in (0, good):
            with explained(what):
                raise OSError(error, os.strerror(error))


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns what the kernel says into a sentence."""
    try:
        yield
    except OSError as error:
        said = error.args[-1] if error.args else error
        raise KernelError(f"cannot {what}: {said}; `fttcp doctor` tells what is missing") from error
