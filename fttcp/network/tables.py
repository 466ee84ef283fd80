"""The rules of a group as tables of nf_tables that nobody else can flush.

Two tables for each IP version. `fttcp-rules-GROUP` leads packets to the engine: what is mirrored, what is
queued. `fttcp-guard-GROUP` stands behind everything else and lets out of the host only what has been through
it. Neither relies on the other: without the first nothing bears the token, without the second the queue
decides alone. Tables of a living owner (owner.py) cannot be changed by others. It outlives a kill of the
daemon (guardian.py), and where the kernel knows PERSIST they stay even without: nothing of the service leaves
until the next start or `cleanup`.

The token is a bit of the packet's priority. It is set by the rule before the one that queues (which drops
what nobody reads), and taken away by the guard. A mark would make the kernel route again, and users have
rules about marks. Between the two stand no hooks but those that share the last place of OUTPUT and the first
of POSTROUTING.
"""

import struct
from collections.abc import Iterable, Iterator

from fttcp.network import nft, station
from fttcp.network.nft import Message, Table
from fttcp.network.rules import (
    HANDSHAKE_QUEUES,
    ICMP_ERRORS,
    PROBE_LENGTH,
    GroupNet,
    plain_name,
)

_PREROUTING, _INPUT, _FORWARD, _OUTPUT, _POSTROUTING = range(5)
_ARP_OUT = 1
_FIRST, _LAST = -(1 << 31), (1 << 31) - 1
_RAW, _MANGLE = -300, -150
_BEHIND_MANGLE = _MANGLE + 1
"""Of the input queue; the header edits of stamp.c come next."""
_TOKEN = 0x40000000
_TCP, _UDP, _ICMPV6 = 6, 17, 58
_ICMP = {4: 1, 6: _ICMPV6}
_UNREACHABLE = {4: [(3, 0), (3, 1)], 6: [(1, 0), (1, 3)]}
"""No network, or no host, of that address: RFC 792, RFC 4443."""
_FLAGS_AT, _SYN, _SYN_ACK, _SYN_RST_ACK = 13, 0x02, 0x12, 0x16
_NEIGHBOUR_ADVERTISEMENT = 136
_ARP_REQUEST = 1
_ADDRESSES, _PORTS, _ERRORS, _ONE_MORE = "addresses", "tcp-ports", "icmp-errors", "one-more"
_NOBODY_THERE = "unreachable"
_OPENED = "opened-ports"
_FAMILY = {4: nft.IPV4, 6: nft.IPV6}
_VERSION = {nft.IPV4: 4, nft.IPV6: 6, nft.ARP: 4}
_HOP_LIMIT_AT, _IP_CHECKSUM_AT = {4: 8, 6: 7}, {4: 10, 6: None}
_SOURCE, _DESTINATION = {4: (12, 4), 6: (8, 16)}, {4: (16, 4), 6: (24, 16)}
_QUOTED = 8
"""Of an ICMP error: where the header begins of the packet that it is about."""


def plan(group: GroupNet) -> list[Table]:
    """The tables that a group has."""
    name = plain_name(group.name)
    families = [_FAMILY[version] for version in group.families]
    guards = [*families, nft.ARP] if nft.IPV4 in families else families
    if group.mac:
        families = [*families, nft.NETDEV]
    return [
        *(Table(family, f"fttcp-rules-{name}") for family in families),
        *(Table(family, f"fttcp-guard-{name}") for family in guards),
    ]


def groups_of(tables: Iterable[Table]) -> set[str]:
    """The groups that tables belong to."""
    return {table.name.split("-", 2)[2] for table in tables}


def is_guard(table: Table) -> bool:
    """Whether it is one of those behind everything."""
    return table.name.startswith("fttcp-guard-")


def contents(group: GroupNet, table: Table) -> list[Message]:
    """All that is in one of the group's tables."""
    if table.family == nft.NETDEV:
        return [*station.contents(table, group)]
    version = _VERSION[table.family]
    messages = nft.make_set(table, _ADDRESSES, 1, _addresses(group, version))
    if table.family == nft.ARP:
        return [*messages, *_arp(table, group)]
    if is_guard(table):
        return [*messages, *_guard(table, group, version)]
    if group.ports_of("tcp"):
        messages += nft.make_ranges(table, _PORTS, 2, 2, group.ports_of("tcp"))
    if group.opened_ports:
        messages += nft.make_ranges(table, _OPENED, 6, 2, group.opened_ports)
    messages += nft.make_set(table, _ERRORS, 3, (bytes([kind]) for kind in ICMP_ERRORS[version]))
    messages += nft.make_set(table, _NOBODY_THERE, 5, map(bytes, _UNREACHABLE[version]))
    messages += nft.make_map(table, _ONE_MORE, 4, {bytes([n]): bytes([n + 1]) for n in range(255)})
    return [
        *messages,
        *_untracked(table, group, version),
        nft.make_chain(table, "mirror", _PREROUTING, _MANGLE),
        *mirror(table, group),
        *_answers(table, group, version),
        *_input(table, group, version),
        *_behind_all(table, group, version),
        *_output(table, group, version),
    ]


def trial(table: Table) -> list[Message]:
    """What a kernel must know, as a chain."""
    return [
        nft.make_chain(table, "trial", _PREROUTING, _LAST),
        nft.add_rule(table, "trial", nft.notrack()),
        nft.add_rule(table, "trial", _queue(0, 1)),
        nft.add_rule(table, "trial", nft.target("TEE", 1, bytes([192, 0, 2, 1]) + bytes(36))),
        nft.add_rule(table, "trial", nft.match("socket", 1, bytes(1))),
    ]


def mirror(table: Table, group: GroupNet) -> Iterator[Message]:
    """Client segments, and what a path says of our packets, as they come in from the service side only:
    nothing that was mirrored is again. And the probes of that way (mirror.py), which no server here sees.

    The last rule never matches; that a `socket` match exists makes the kernel put fragments together before
    any of our rules sees them (net/netfilter/xt_socket.c), for IPv6 too."""
    version = _VERSION[table.family]
    gateway = group.gateway(version)
    yield _leave(table, "mirror", _address(group, _DESTINATION, version, other=True))
    if gateway is not None:
        tee = nft.target("TEE", 1, gateway.packed.ljust(16, b"\0") + bytes(24))  # struct xt_tee_tginfo
        for interface in group.adapters:
            here = _interface(nft.IIFNAME, interface)
            if group.ports_of("tcp"):
                yield nft.add_rule(table, "mirror", *here, *_protocol(_TCP), *_port(group), tee)
            if group.opened_ports:
                yield nft.add_rule(table, "mirror", *here, *_answer(group), *_other_port(group), tee)
            yield nft.add_rule(table, "mirror", *here, *_icmp_errors(version), tee)
        if group.ports_of("tcp"):
            probe = [*_interface(nft.IIFNAME, "lo"), *_marked(group.probe_mark)]
            yield nft.add_rule(table, "mirror", *probe, tee, nft.verdict(nft.DROP))
    yield from _hop_limit(table, group, version)
    yield nft.add_rule(
        table,
        "mirror",
        *_interface(nft.IIFNAME, "lo"),
        *_marked(group.mark),
        nft.match("socket", 1, bytes(1)),
        nft.verdict(nft.ACCEPT),
    )


def _leave(table: Table, chain: str, those: list[bytes]) -> Message:
    """They are not for this chain. What is not the service's leaves each by its first rule: every packet of
    the host is asked, and the commit channel's are what an answer waits for."""
    return nft.add_rule(table, chain, *those, nft.verdict(nft.ACCEPT))


def _untracked(table: Table, group: GroupNet, version: int) -> Iterator[Message]:
    """Conntrack sees only one side of a flow, and hosts drop what it calls invalid."""
    for chain, hook in (("raw-in", _PREROUTING), ("raw-out", _OUTPUT)):
        yield nft.make_chain(table, chain, hook, _RAW)
        for side in (_DESTINATION, _SOURCE):
            yield nft.add_rule(table, chain, *_address(group, side, version), nft.notrack())


def _hop_limit(table: Table, group: GroupNet, version: int) -> Iterator[Message]:
    """The mirror counts as a router (nf_dup_ipv4.c), and a server may take only what none has forwarded
    (GTSM, RFC 5082): what came by it has the hop limit again that the primary saw. Not at INPUT, where what
    the engine wants to see again passes twice."""
    place = (nft.NETWORK, _HOP_LIMIT_AT[version], 1)
    kinds = [[*_protocol(_TCP), *_port(group)]] if group.ports_of("tcp") else []
    kinds += [[*_answer(group), *_other_port(group)]] if group.opened_ports else []
    for kind in kinds if group.service_interface != group.peer_interface else ():
        yield nft.add_rule(
            table,
            "mirror",
            *_interface(nft.IIFNAME, group.peer_interface),
            *kind,
            nft.payload(*place),
            nft.mapped(_ONE_MORE),
            nft.write(*place, _IP_CHECKSUM_AT[version]),
        )


def _answers(table: Table, group: GroupNet, version: int) -> Iterator[Message]:
    """What hosts say to which the service connects. The engine of a backup gives it another port, and has to
    before the kernel looks for the socket that it is for (early demultiplexing, net/ipv4/ip_input.c)."""
    if not group.opened_ports:
        return
    yield nft.make_chain(table, "answers", _PREROUTING, _BEHIND_MANGLE)
    for interface in group.interfaces:
        here = [*_interface(nft.IIFNAME, interface), *_address(group, _DESTINATION, version)]
        yield nft.add_rule(table, "answers", *here, *_answer(group), _queue(group.queue_in, group.workers))


def _answer(group: GroupNet) -> list[bytes]:
    """It comes from a port to which the service connects, and begins nothing. No probe of the mirror does."""
    return [
        *_protocol(_TCP),
        nft.payload(nft.TRANSPORT, 0, 2),
        nft.compare(group.channel_port.to_bytes(2, "big"), nft.UNEQUAL),
        nft.within(_OPENED),
        *_flags(_SYN, other=True),
    ]


def _other_port(group: GroupNet) -> list[bytes]:
    """It goes to none of the service's own."""
    return (
        [nft.payload(nft.TRANSPORT, 2, 2), nft.within(_PORTS, inverted=True)] if group.ports_of("tcp") else []
    )


def _input(table: Table, group: GroupNet, version: int) -> Iterator[Message]:
    """All that the local servers might see of clients. SYNs have a queue of their own, so that a flood of
    them displaces nothing else. A UDP server may answer, and then be spoken to, on any port: with one UDP
    port in the group, all UDP is asked about."""
    yield nft.make_chain(table, "input", _INPUT, _BEHIND_MANGLE)
    yield _leave(table, "input", _address(group, _DESTINATION, version, other=True))
    yield _leave(table, "input", _marked(group.mark))
    if group.opened_ports:  # the engine has seen it: _answers
        yield nft.add_rule(table, "input", *_answer(group), nft.verdict(nft.ACCEPT))
    for interface in group.interfaces:
        from_there = _interface(nft.IIFNAME, interface)
        if group.ports_of("tcp"):
            if interface == group.peer_interface:
                yield nft.add_rule(table, "input", *_probe(group, version), nft.verdict(nft.ACCEPT))
            tcp = [*from_there, *_protocol(_TCP), *_port(group)]
            handshakes = group.queue_in + HANDSHAKE_QUEUES
            yield nft.add_rule(table, "input", *tcp, *_flags(_SYN), _queue(handshakes, group.workers))
            yield nft.add_rule(table, "input", *tcp, _queue(group.queue_in, group.workers))
        if group.ports_of("udp"):
            yield nft.add_rule(table, "input", *from_there, *_protocol(_UDP), _queue(group.queue_in, 1))
        if group.ports:
            errors = _queue(
                group.queue_in + HANDSHAKE_QUEUES, 1
            )  # whole, like SYNs; the workers look in turn
            yield nft.add_rule(table, "input", *from_there, *_icmp_errors(version), errors)
    yield from _elsewhere(table, group)


def _elsewhere(table: Table, group: GroupNet) -> Iterator[Message]:
    """What comes for the service by another interface no engine sees: the owner's server answers it,
    unprotected, and a backup's answers are dropped. It is counted. All else of TCP has left for a queue."""
    for interface in dict.fromkeys((*group.interfaces, "lo")):
        yield nft.add_rule(table, "input", *_interface(nft.IIFNAME, interface), nft.verdict(nft.ACCEPT))
    yield nft.add_rule(table, "input", nft.counter())


def _behind_all(table: Table, group: GroupNet, version: int) -> Iterator[Message]:
    """What may be a probe of the mirror comes to the engine here: a firewall that drops clients' packets has
    seen it by then. What is none, only short and from that port, is decided here like any other."""
    if group.ports_of("tcp"):
        yield nft.make_chain(table, "probes", _INPUT, _LAST)
        here = _address(group, _DESTINATION, version)
        yield nft.add_rule(
            table, "probes", *here, *_probe(group, version), _queue(group.queue_in, group.workers)
        )


def _probe(group: GroupNet, version: int) -> list[bytes]:
    """The form of a probe, as it comes over the peer link."""
    return [
        *_interface(nft.IIFNAME, group.peer_interface),
        nft.meta(nft.LENGTH),
        nft.compare(_host_order(PROBE_LENGTH[version])),
        *_protocol(_TCP),
        *_port(group),
        nft.payload(nft.TRANSPORT, 0, 2),
        nft.compare(group.channel_port.to_bytes(2, "big")),
    ]


def _output(table: Table, group: GroupNet, version: int) -> Iterator[Message]:
    """All that leaves the host under a service address, whatever it is: it needs the lease. What answers a
    SYN has a queue of its own. The engine's own packets bear the token already."""
    yield nft.make_chain(table, "output", _OUTPUT, _LAST)
    others = _address(group, _SOURCE, version, other=True)
    yield _leave(table, "output", [*others, *_protocol(_ICMP[version], other=True)])
    yield from _about_copies(table, group, version)
    yield _leave(table, "output", others)
    yield _leave(table, "output", _interface(nft.OIFNAME, "lo"))
    yield _leave(table, "output", _token())
    yield nft.add_rule(table, "output", *_set_token())
    if group.ports_of("tcp"):
        handshakes = _queue(group.queue_out + HANDSHAKE_QUEUES, group.workers)
        yield nft.add_rule(table, "output", *_protocol(_TCP), *_flags(_SYN_ACK), handshakes)
    if group.ports_of("udp") and group.workers > 1:
        for protocol in (_UDP, _ICMP[version]):  # the latter may speak of a UDP session
            yield nft.add_rule(table, "output", *_protocol(protocol), _queue(group.queue_out, 1))
    yield nft.add_rule(table, "output", _queue(group.queue_out, group.workers))


def _about_copies(table: Table, group: GroupNet, version: int) -> Iterator[Message]:
    """A copy of the mirror that meets nobody, or does not fit, is the sender's fault to the kernel, and it
    tells the client. What is really said of a packet to the service comes from the service's address, and
    not that the address cannot be reached: it is here."""
    offset, length = _DESTINATION[version]
    copied = [nft.payload(nft.TRANSPORT, _QUOTED + offset, length), _is_ours(group, version)]
    dropped = (nft.counter(), nft.verdict(nft.DROP))
    by_another = _address(group, _SOURCE, version, other=True)
    yield nft.add_rule(table, "output", *_icmp_errors(version), *by_another, *copied, *dropped)
    nobody_there = [nft.payload(nft.TRANSPORT, 0, 2), nft.within(_NOBODY_THERE)]
    yield nft.add_rule(table, "output", *_protocol(_ICMP[version]), *nobody_there, *copied, *dropped)


def _guard(table: Table, group: GroupNet, version: int) -> Iterator[Message]:
    """Only what has been through the engine, or comes from it, leaves under a service address. What is
    forwarded for others is not this host's word. The engine speaks ND by raw frames, which pass no hook. What
    it says to this host's stack in a client's name stays here: if somebody has taken the address off lo, it
    would reach the other node, and end connections there."""
    passing = nft.verdict(nft.ACCEPT)
    yield nft.make_chain(table, "own", _OUTPUT, _FIRST)
    elsewhere = _interface(nft.OIFNAME, "lo", other=True)
    to_us = [*_marked(group.mark), *elsewhere, *_address(group, _DESTINATION, version)]
    yield nft.add_rule(table, "own", *to_us, nft.verdict(nft.DROP))
    yield nft.add_rule(table, "own", *_address(group, _SOURCE, version, other=True), passing)
    yield nft.add_rule(table, "own", *_clear_token())
    yield nft.add_rule(table, "own", *_marked(group.mark), *_set_token())
    yield nft.make_chain(table, "forwarded", _FORWARD, _LAST)
    yield nft.add_rule(table, "forwarded", *_address(group, _SOURCE, version), *_set_token())
    yield nft.make_chain(table, "guard", _POSTROUTING, _FIRST)
    dropped = (nft.counter(), nft.verdict(nft.DROP))
    if version == 6:
        target = [
            *_protocol(_ICMPV6),
            nft.payload(nft.TRANSPORT, 0, 1),
            nft.compare(bytes([_NEIGHBOUR_ADVERTISEMENT])),
            nft.payload(nft.TRANSPORT, 8, 16),
            _is_ours(group, version),
        ]
        yield nft.add_rule(table, "guard", *target, *dropped)
    yield nft.add_rule(table, "guard", *_address(group, _SOURCE, version, other=True), passing)
    yield nft.add_rule(table, "guard", *_interface(nft.OIFNAME, "lo"), passing)
    yield nft.add_rule(table, "guard", *_token(), *_clear_token(), passing)
    yield nft.add_rule(table, "guard", *dropped)


def _arp(table: Table, group: GroupNet) -> Iterator[Message]:
    """The kernel does not speak ARP in the name of a service address, whatever its sysctls say. What it asks
    about others it asks without a sender (as RFC 5227 probes do). The engine's frames pass no hook."""
    yield nft.make_chain(table, "guard", _ARP_OUT, _LAST)
    sender = [nft.payload(nft.NETWORK, 14, 4), _is_ours(group, 4)]
    asking = [nft.payload(nft.NETWORK, 6, 2), nft.compare(_ARP_REQUEST.to_bytes(2, "big"))]
    about_others = [nft.payload(nft.NETWORK, 24, 4), _is_ours(group, 4, other=True)]
    nobody = [nft.constant(bytes(4)), nft.write(nft.NETWORK, 14, 4)]
    yield nft.add_rule(table, "guard", *asking, *sender, *about_others, *nobody, nft.verdict(nft.ACCEPT))
    yield nft.add_rule(table, "guard", *sender, nft.counter(), nft.verdict(nft.DROP))


def _addresses(group: GroupNet, version: int) -> list[bytes]:
    return [address.packed for address in group.addresses if address.version == version]


def _is_ours(group: GroupNet, version: int, other: bool = False) -> bytes:
    """One address is compared: each packet is asked ten times, and a lookup costs several times as much."""
    addresses = _addresses(group, version)
    if len(addresses) == 1:
        return nft.compare(addresses[0], nft.UNEQUAL if other else nft.EQUAL)
    return nft.within(_ADDRESSES, inverted=other)


def _address(
    group: GroupNet, side: dict[int, tuple[int, int]], version: int, other: bool = False
) -> list[bytes]:
    offset, length = side[version]
    return [nft.payload(nft.NETWORK, offset, length), _is_ours(group, version, other)]


def _interface(key: int, name: str, other: bool = False) -> list[bytes]:
    return [nft.meta(key), nft.compare(name.encode().ljust(16, b"\0"), nft.UNEQUAL if other else nft.EQUAL)]


def _protocol(number: int, other: bool = False) -> list[bytes]:
    return [nft.meta(nft.L4PROTO), nft.compare(bytes([number]), nft.UNEQUAL if other else nft.EQUAL)]


def _icmp_errors(version: int) -> list[bytes]:
    return [*_protocol(_ICMP[version]), nft.payload(nft.TRANSPORT, 0, 1), nft.within(_ERRORS)]


def _port(group: GroupNet) -> list[bytes]:
    """Likewise."""
    ranges = group.ports_of("tcp")
    one = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
    is_ours = nft.compare(ranges[0][0].to_bytes(2, "big")) if one else nft.within(_PORTS)
    return [nft.payload(nft.TRANSPORT, 2, 2), is_ours]


def _flags(wanted: int, other: bool = False) -> list[bytes]:
    """FIN or not: tcp.c begins with either."""
    return [
        nft.payload(nft.TRANSPORT, _FLAGS_AT, 1),
        nft.bits(bytes([_SYN_RST_ACK]), bytes(1)),
        nft.compare(bytes([wanted]), nft.UNEQUAL if other else nft.EQUAL),
    ]


def _marked(mark: int) -> list[bytes]:
    return [nft.meta(nft.MARK), nft.compare(_host_order(mark))]


def _token() -> list[bytes]:
    return [
        nft.meta(nft.PRIORITY),
        nft.bits(_host_order(_TOKEN), bytes(4)),
        nft.compare(_host_order(_TOKEN)),
    ]


def _set_token() -> list[bytes]:
    without = _host_order(0xFFFFFFFF & ~_TOKEN)
    return [nft.meta(nft.PRIORITY), nft.bits(without, _host_order(_TOKEN)), nft.set_meta(nft.PRIORITY)]


def _clear_token() -> list[bytes]:
    without = _host_order(0xFFFFFFFF & ~_TOKEN)
    return [nft.meta(nft.PRIORITY), nft.bits(without, bytes(4)), nft.set_meta(nft.PRIORITY)]


def _host_order(value: int) -> bytes:
    return struct.pack("=I", value)


def _queue(first: int, workers: int) -> bytes:
    """Hashing over several queues is symmetric: both directions of a flow meet the same worker. Each kernel
    hashes with a number of its own, so a flow's workers differ between the nodes. The backup's is known by
    the mirrored SYN of a TCP flow; nothing of UDP is mirrored, so UDP goes to the first worker on both. What
    nobody reads is dropped. nft's own `queue` is not in every kernel."""
    return nft.target("NFQUEUE", 1, struct.pack("=HH", first, workers))
