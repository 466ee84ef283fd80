"""The firewall rules of a group: what is mirrored to the peer, what the engine is asked about.

Each group has chains of its own, named after it, so that they can be replaced and removed without
touching anybody else's. The rules fail closed: no queue is bypassed when nobody listens on it, and
our jumps stand first in the built-in chains. `ruleset` and `removal` are pure; `apply_rules` and
`remove_rules` hand their text to iptables-restore, which carries a table out whole or not at all.
"""

import asyncio
import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import takewhile
from typing import NamedTuple

from fttcp import _numbers
from fttcp.wire.ports import merged

DEFAULT_MARK = 0x4654  # "FT": packets that our own rules must let by
HANDSHAKE_QUEUES = _numbers.HANDSHAKE_QUEUES
"""Handshakes of either direction have the queues that begin this many numbers on."""

PROBE_LENGTH = {4: 64, 6: 84}  # of a probe of the mirror: mirror.py

_MULTIPORT_MAX = 15  # ports that one multiport match can hold
_SYN = "--tcp-flags SYN,RST,ACK SYN"  # FIN or not: tcp.c begins with either
_SYN_ACK = "--tcp-flags SYN,RST,ACK SYN,ACK"
# What a path may say of our packets: that it takes less, or has no end. It quotes the packet.
ICMP_ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
_ICMP_TYPES = {4: "-p icmp -m icmp --icmp-type", 6: "-p ipv6-icmp -m icmp6 --icmpv6-type"}
_NOT_NEAR = "servers that want the hop limit 255 lose their protection"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.~-]{1,20}")
_TOOLS = {4: "iptables", 6: "ip6tables"}

log = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address


class RulesError(Exception):
    """The firewall rules could not be read or changed; the text says by which tool, and what to do."""


@dataclass(frozen=True)
class GroupNet:
    """What the network of one node must know of a group. Queue numbers are NFQUEUE's: worker `k` of
    `workers` reads `queue_in + k` and `queue_out + k`, and the same + HANDSHAKE_QUEUES. Without `ports` no
    client's packet is mirrored or queued; what leaves the host is.
    `mirror_gateway4/6` are the addresses on the peer link of that peer which is the backup, or may become
    it; `peers` are all addresses at which this node speaks to others, `links_v6` the interfaces on which it
    does so by IPv6. Raises ValueError when a TCP port lacks the gateway that its addresses need."""

    name: str
    addresses: tuple[Address, ...]
    ports: tuple[tuple[int, int, str], ...]
    service_interface: str
    peer_interface: str
    mirror_gateway4: IPv4Address | None
    mirror_gateway6: IPv6Address | None
    queue_in: int
    queue_out: int
    workers: int = 1
    mark: int = DEFAULT_MARK
    peers: tuple[Address, ...] = ()
    links_v6: tuple[str, ...] = ()
    channel_port: int = 0
    """The source port of probes of the mirror."""
    opens: tuple[tuple[int, int, str], ...] = ()
    """Ports of others to which the service opens connections."""
    standby_interfaces: tuple[str, ...] = ()
    """Others to the network that `service_interface` is on: clients may come by any of them."""
    mac: bytes = b""
    """The MAC address that moves with the service; empty: it has that of the interface."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Where clients' packets may come in."""
        return (self.service_interface, *self.standby_interfaces)

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The same, and the peer link's."""
        return tuple(dict.fromkeys((*self.adapters, self.peer_interface)))

    @property
    def probe_mark(self) -> int:
        """Of the probes of the mirror: the rules know them by it, and let none of them in."""
        return self.mark + 1

    def __post_init__(self) -> None:
        for version in self.families if self.ports_of("tcp") else ():
            if self.gateway(version) is None:
                raise ValueError(
                    f"group {self.name}: it has IPv{version} addresses and TCP ports, but the peer has no "
                    f"IPv{version} address on {self.peer_interface}: give the first link one"
                )

    @property
    def families(self) -> tuple[int, ...]:
        """The IP versions of the addresses, 4 before 6."""
        return tuple(sorted({address.version for address in self.addresses}))

    def gateway(self, version: int) -> Address | None:
        """Where the mirrored packets of an IP version go."""
        return self.mirror_gateway4 if version == 4 else self.mirror_gateway6

    def ports_of(self, proto: str) -> tuple[tuple[int, int], ...]:
        """The group's ranges of ports of a protocol, each with its first and last one, ascending."""
        return merged(self.ports, proto)

    @property
    def opened_ports(self) -> tuple[tuple[int, int], ...]:
        """The ranges of TCP ports of others to which the service opens connections, ascending."""
        return merged(self.opens, "tcp")


class Chains(NamedTuple):
    """The names of a group's chains, one for each place that it hooks."""

    raw: str
    mirror: str
    input: str
    output: str


def chains(name: str) -> Chains:
    """The chain names of the group `name`; a name that is too long or odd is told apart by its hash."""
    return Chains(*(f"FTT-{plain_name(name)}-{place}" for place in ("raw", "tee", "in", "out")))


def plain_name(name: str) -> str:
    """A group's name as the kernel is told it."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:11]
    return f"{plain}~{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def ruleset(group: GroupNet, version: int, saved: str = "") -> tuple[str, str]:
    """iptables-restore input (for --noflush) of the tables mangle and raw, for one IP version.

    Chains that exist are replaced; jumps that `saved` (iptables-save output) shows are not doubled.
    The raw table keeps conntrack away, which sees only one side of a flow; all else is in mangle.
    """
    names = chains(group.name)
    addresses = [address for address in group.addresses if address.version == version]
    mangle = [
        *_mirror(names.mirror, group, addresses),
        *_input(names.input, group, addresses),
        *_output(names.output, group, addresses),
    ]
    raw = [
        f"-A {names.raw} {side} {address} -j CT --notrack" for address in addresses for side in ("-d", "-s")
    ]
    return (
        _table("mangle", _mangle_hooks(names), mangle, saved),
        _table("raw", dict.fromkeys(_RAW_HOOKS, names.raw), raw, saved),
    )


def mirror_ruleset(group: GroupNet, version: int) -> str:
    """iptables-restore input (for --noflush) that replaces the mirror's rules only, all at once: between
    them and the old ones no packet is without a mirror."""
    chain = chains(group.name).mirror
    addresses = [address for address in group.addresses if address.version == version]
    return "\n".join(["*mangle", f":{chain} - [0:0]", *_mirror(chain, group, addresses), "COMMIT\n"])


def hop_limits(group: GroupNet, version: int) -> str:
    """iptables-restore input (for --noflush) that adds to the mirror's rules: what came by it has the hop
    limit again that the primary saw; see tables.py."""
    if group.service_interface == group.peer_interface:
        return ""
    one_more = "TTL --ttl-inc 1" if version == 4 else "HL --hl-inc 1"
    # in front where there is more: what answers the service leaves the chain for a queue
    begin = f"{'-I' if group.opened_ports else '-A'} {chains(group.name).mirror} -i {group.peer_interface}"
    return _added(
        f"{begin} -d {address} -p tcp {ports} -j {one_more}"
        for address in group.addresses
        if address.version == version
        for ports in (*_port_matches(group.ports_of("tcp")), *_answers(group))
    )


def silence(group: GroupNet, version: int) -> str:
    """... to those of the output: what the kernel says, under other addresses, of the mirror's copies."""
    return _added(
        f"-A {chains(group.name).output} ! -s {address} {kind} -m u32 --u32 "
        f'"{_quoted_destination(address)}" -j DROP'
        for address in group.addresses
        if address.version == version
        for kind in _icmp_errors(version)
    )


def _added(rules: Iterable[str]) -> str:
    lines = list(rules)
    return "\n".join(["*mangle", *lines, "COMMIT\n"]) if lines else ""


def _quoted_destination(address: Address) -> str:
    """As xt_u32 is told it: whom the packet was for that an ICMP error is about."""
    if address.version == 4:
        return f"0>>22&0x3C@24={int(address):#x}"
    words = [int.from_bytes(address.packed[i : i + 4], "big") for i in range(0, 16, 4)]
    return "&&".join(f"{40 + 8 + 24 + 4 * i}={word:#x}" for i, word in enumerate(words))


def removal(name: str, saved: str) -> str:
    """iptables-restore input that removes what `saved` (iptables-save output) shows of a group."""
    ours = set(chains(name))
    tables: dict[str, tuple[list[str], list[str]]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and line[1:].split()[0] in ours:
            chain = line[1:].split()[0]
            jumps, emptied = tables.setdefault(table, ([], []))
            jumps.extend(jump.replace("-A ", "-D ", 1) for jump in _jumps(saved, table, chain))
            emptied.append(chain)
    return "".join(
        "\n".join(
            [f"*{table}", *jumps, *(f"-F {c}" for c in emptied), *(f"-X {c}" for c in emptied), "COMMIT\n"]
        )
        for table, (jumps, emptied) in tables.items()
    )


def missing_rules(group: GroupNet, version: int, saved: str, tracked: bool = False) -> list[str]:
    """What `saved` (iptables-save output) lacks of the jumps and chains that keep the group closed, and
    conntrack away unless it is ``tracked``, and of the mirror to the right peer. A jump that stands behind
    somebody else's rule is as good as none: that may accept."""
    names = chains(group.name)
    lines = saved.splitlines()
    mirrors = [line for line in lines if line.startswith(f"-A {names.mirror} ") and " --gateway " in line]
    gateway = str(group.gateway(version))
    astray = [
        f"{names.mirror} --gateway {gateway}"
        for line in mirrors
        if line.split(" --gateway ")[1].split()[0] != gateway
    ]
    hooks = [("mangle", hook, chain) for hook, chain in _mangle_hooks(names).items()]
    hooks += [("raw", hook, names.raw) for hook in _RAW_HOOKS if not tracked]
    return list(dict.fromkeys(astray)) + [
        f"{hook} -> {chain}"
        for table, hook, chain in hooks
        if f"-A {hook} -j {chain}" not in _first_rules(saved, table, hook)
        or not any(line.startswith(f"-A {chain} ") for line in lines)
    ]


_RAW_HOOKS = ("PREROUTING", "OUTPUT")


def _mangle_hooks(names: Chains) -> dict[str, str]:
    return {"PREROUTING": names.mirror, "INPUT": names.input, "OUTPUT": names.output}


def _first_rules(saved: str, table: str, hook: str) -> list[str]:
    """Those rules of a built-in chain that no rule of somebody else's stands before."""
    rules = [line for line in _lines(saved, table) if line.startswith(f"-A {hook} ")]
    return list(takewhile(lambda line: line.startswith(f"-A {hook} -j FTT-"), rules))


def _table(name: str, hooks: dict[str, str], rules: list[str], saved: str) -> str:
    """One table: chains declared (and so emptied), jumps put first, rules."""
    declared = [f":{chain} - [0:0]" for chain in dict.fromkeys(hooks.values())]
    jumps: list[str] = []
    for hook, chain in hooks.items():
        if f"-A {hook} -j {chain}" in _jumps(saved, name, chain):
            jumps.append(f"-D {hook} -j {chain}")
        jumps.append(f"-I {hook} -j {chain}")
    return "\n".join([f"*{name}", *declared, *jumps, *rules, "COMMIT\n"])


def _jumps(saved: str, table: str, chain: str) -> list[str]:
    """The lines of `saved` in which another chain of the table jumps to `chain`."""
    return [line for line in _lines(saved, table) if line.startswith("-A ") and line.endswith(f" -j {chain}")]


def _lines(saved: str, table: str) -> Iterator[str]:
    """What `saved` says of a table."""
    current = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            current = line[1:]
        elif current == table:
            yield line


def _mirror(chain: str, group: GroupNet, addresses: list[Address]) -> Iterator[str]:
    """Client segments, as they come in from the service side only: nothing that was mirrored is again.

    The last rule of each address never matches; that a `socket` match exists makes the kernel put
    fragments together before any of our rules sees them (net/netfilter/xt_socket.c), for IPv6 too.
    """
    for address in addresses:
        tee = f"-j TEE --gateway {group.gateway(address.version)}"
        for interface in group.adapters:
            here = f"-A {chain} -i {interface} -d {address}"
            for ports in (*_port_matches(group.ports_of("tcp")), *_answers(group)):
                yield f"{here} -p tcp {ports} {tee}"
            for errors in _icmp_errors(address.version) if group.gateway(address.version) else ():
                yield f"{here} {errors} {tee}"
        if group.ports_of("tcp"):
            probe = f"-A {chain} -i lo -d {address} -m mark --mark {group.probe_mark:#x}"
            yield f"{probe} {tee}"
            yield f"{probe} -j DROP"
        yield f"-A {chain} -i lo -d {address} -m mark --mark {group.mark:#x} -m socket -j RETURN"
        for interface in group.interfaces:
            for ports in _opened(group):
                queue = _queue(group.queue_in, group.workers)
                yield f"-A {chain} -i {interface} -d {address} -p tcp {ports} -j {queue}"


def _input(chain: str, group: GroupNet, addresses: list[Address]) -> Iterator[str]:
    """All that the local servers might see of clients. SYNs have a queue of their own, so that a flood of
    them displaces nothing else. A UDP server may answer, and then be spoken to, on any port: with one UDP
    port in the group, all UDP is asked about."""
    yield f"-A {chain} -m mark --mark {group.mark:#x} -j RETURN"
    yield from (f"-A {chain} -p tcp {ports} -j RETURN" for ports in _opened(group))
    rules = [
        f"-p tcp {flags}{ports} -j {_queue(first, group.workers)}"
        for ports in _port_matches(group.ports_of("tcp"))
        for flags, first in ((f"{_SYN} ", group.queue_in + HANDSHAKE_QUEUES), ("", group.queue_in))
    ]
    if group.ports_of("udp"):
        rules.append(f"-p udp -j {_queue(group.queue_in, 1)}")
    for address in addresses:
        for interface in group.interfaces:
            yield from (f"-A {chain} -i {interface} -d {address} {rule}" for rule in rules)
            # whole, like SYNs; the workers look in turn
            for errors in _icmp_errors(address.version) if group.ports else ():
                yield (
                    f"-A {chain} -i {interface} -d {address} {errors} "
                    f"-j {_queue(group.queue_in + HANDSHAKE_QUEUES, 1)}"
                )


def _output(chain: str, group: GroupNet, addresses: list[Address]) -> Iterator[str]:
    """All that leaves the host under a service address, whatever it is: it needs the lease. What answers a
    SYN has a queue of its own. What the engine says to this host's stack in a client's name stays here, even
    if somebody has taken the address off lo."""
    for address in addresses:
        yield f"-A {chain} ! -o lo -d {address} -m mark --mark {group.mark:#x} -j DROP"
    yield f"-A {chain} -m mark --mark {group.mark:#x} -j RETURN"
    rules = [f"-j {_queue(group.queue_out, group.workers)}"]
    if group.ports_of("udp") and group.workers > 1:
        rules[:0] = [f"-p {proto} -j {_queue(group.queue_out, 1)}" for proto in ("udp", "ICMP")]
    if group.ports_of("tcp"):
        rules.insert(0, f"-p tcp {_SYN_ACK} -j {_queue(group.queue_out + HANDSHAKE_QUEUES, group.workers)}")
    for address in addresses:
        icmp = "icmp" if address.version == 4 else "ipv6-icmp"  # may speak of a UDP session
        yield from (f"-A {chain} ! -o lo -s {address} {rule.replace('ICMP', icmp)}" for rule in rules)


def _icmp_errors(version: int) -> Iterator[str]:
    yield from (f"{_ICMP_TYPES[version]} {kind}" for kind in ICMP_ERRORS[version])


def _port_matches(ports: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """A range takes two places of a match."""
    some: list[str] = []
    taken = 0
    for first, last in ports:
        places = 1 if first == last else 2
        if taken + places > _MULTIPORT_MAX:
            yield f"-m multiport --dports {','.join(some)}"
            some, taken = [], 0
        some.append(f"{first}" if first == last else f"{first}:{last}")
        taken += places
    if some:
        yield f"-m multiport --dports {','.join(some)}"


def _opened(group: GroupNet) -> Iterator[str]:
    """What a host says to which the service connects: tables.py."""
    for ports in _port_matches(group.opened_ports):
        not_probes = f"-m tcp ! --sport {group.channel_port} ! {_SYN}"
        yield f"{not_probes} {ports.replace('--dports', '--sports')}"


def _answers(group: GroupNet) -> Iterator[str]:
    """... but for what is said to the service's own ports as well."""
    others = " ".join(
        ports.replace("--dports", "! --dports") for ports in _port_matches(group.ports_of("tcp"))
    )
    yield from (f"{ports} {others}".rstrip() for ports in _opened(group))


def _queue(first: int, workers: int) -> str:
    """Hashing over several queues is symmetric: both directions of a flow meet the same worker. Each kernel
    hashes with a number of its own, so a flow's workers differ between the nodes. The backup's is known by
    the mirrored SYN of a TCP flow; nothing of UDP is mirrored, so UDP goes to the first worker on both."""
    return (
        f"NFQUEUE --queue-num {first}"
        if workers == 1
        else f"NFQUEUE --queue-balance {first}:{first + workers - 1}"
    )


async def apply_rules(group: GroupNet) -> frozenset[int]:
    """Installs the group's rules, replacing what is there of it. Raises RulesError; then nothing of the
    table in question has changed. A kernel without the CT target is served without NOTRACK: returns the IP
    versions for which it is so."""
    tracked = set()
    for version in group.families:
        mangle, raw = ruleset(group, version, await saved_rules(version))
        await _restore(version, mangle)
        try:
            await _restore(version, raw)
        except RulesError as error:
            log.warning("group %s: conntrack is not kept from IPv%d: %s", group.name, version, error)
            tracked.add(version)
        await _add(group, version, hop_limits, _NOT_NEAR)
        await _add(group, version, silence, "clients may hear of a mirror that leads nowhere")
    return frozenset(tracked)


async def _add(group: GroupNet, version: int, rules: Callable[[GroupNet, int], str], without: str) -> None:
    """What not every kernel has the targets and matches for, and nobody is safe by."""
    try:
        text = rules(group, version)
        if text:
            await _restore(version, text)
    except RulesError as error:
        log.warning("group %s: over IPv%d %s: %s", group.name, version, without, error)


async def move_mirror(group: GroupNet) -> None:
    """Leads the group's mirror, which is installed, to the gateways that `group` has now. Raises
    RulesError."""
    for version in group.families:
        await _restore(version, mirror_ruleset(group, version))
        await _add(group, version, hop_limits, _NOT_NEAR)


async def remove_rules(name: str, version: int) -> None:
    """Removes every rule and chain of the group `name` for one IP version, if any. Raises RulesError."""
    text = removal(name, await saved_rules(version))
    if text:
        await _restore(version, text)


async def missing(group: GroupNet, tracked: Collection[int]) -> list[str]:
    """What somebody else has removed of the group's rules, or put in front of them: empty when all stand.
    ``tracked``: IP versions without NOTRACK. Raises RulesError."""
    return [
        f"IPv{version} {what}"
        for version in group.families
        for what in missing_rules(group, version, await saved_rules(version), version in tracked)
    ]


async def saved_rules(version: int) -> str:
    """The output of iptables-save (4) or ip6tables-save (6). Raises RulesError."""
    return await _run(f"{_TOOLS[version]}-save", "")


async def _restore(version: int, text: str) -> None:
    await _run(f"{_TOOLS[version]}-restore", text, "--noflush", "--wait", "5")


async def _run(tool: str, text: str, *options: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise RulesError(f"{tool} is not installed: apt-get install iptables")
    process = await asyncio.create_subprocess_exec(
        path,
        *options,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(text.encode())
    if process.returncode:
        said = " ".join(err.decode(errors="replace").split())
        raise RulesError(
            f"{tool} failed ({process.returncode}): {said}; `fttcp doctor` tells what is missing"
        )
    return out.decode()
