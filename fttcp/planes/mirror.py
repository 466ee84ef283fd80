"""Probes of the mirror: segments that take a client's way, from this node's rules to the peer's engine.

They are sent to the service address of this very host, with a mark by which the mirror's rules copy them to
the peer and drop them here. What of the two ways differs is the rule that matches: a client's comes in on the
service interface. That one is looked at with all others. The form is that of mirror_probe.h.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import socket
import struct
from collections.abc import Container
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from fttcp.network.rules import Address, GroupNet
from fttcp.planes.base import EngineSettings
from fttcp.wire.checksum import checksum
from fttcp.wire.keyfile import KeyRing

TARGETS_MAX = 64
_NUMBER_BITS = 6
_PURPOSE = b"fttcp mirror probe"
_MAC_BYTES = 16
PAD = bytes(8)
"""What stands before the payload on the commit channel."""
DATAGRAM = len(PAD) + 8 + _MAC_BYTES
_WAY_SHIFT, _LAST_WAY = 62, 2
COPIES, CHANNEL_COPIES = 3, 4
"""How often each probe is sent, for a link that loses some. The channel's goes three ways: it needs more."""
_TCP, _UDP, _HOPS = 6, 17, 64
_PSH_ACK = 0x18
_SIOCGIFADDR = 0x8915
_IP_HDRINCL, _IPV6_HDRINCL = 3, 36
_GLOBAL = "00"
_NOBODY: dict[int, Address] = {4: IPv4Address("192.0.2.1"), 6: IPv6Address("2001:db8::1")}
"""For documentation (RFC 5737, RFC 3849): what stands in the place of a client where no address is known."""


class MirrorProbe:
    """Sends probes to what a group mirrors. Each target is a service address and a TCP port, of a range the
    first and the last one."""

    def __init__(self, group: GroupNet, settings: EngineSettings) -> None:
        self._interface, self._mark = group.service_interface, group.probe_mark
        self._source_port, self._cluster = settings.channel_port, settings.cluster_id
        self._services = frozenset(group.addresses)
        self.peers = settings.peers
        """Whom packets may be mirrored to, by their numbers."""
        first = {address.version: address for address in reversed(group.addresses)}
        ports = sorted({port for ends in group.ports_of("tcp") for port in ends})
        targets = [(first[version], port) for version in sorted(first) for port in ports]
        self.channel_ports = [settings.channel_port + 1 + worker for worker in range(settings.workers)]
        self.targets = targets[: TARGETS_MAX - len(self.channel_ports)]

    @property
    def all(self) -> int:
        """A bit for each target, and behind these for each port of the commit channel."""
        return (1 << len(self.targets) + len(self.channel_ports)) - 1

    def send(self, number: int, keys: KeyRing, peer: int) -> None:
        """Send a probe, in some copies, to each target, and to each port of the commit channel to a peer.
        Raises OSError if this host cannot."""
        payloads = [
            payload(keys.sending, self._cluster, number << _NUMBER_BITS | index)
            for index in range(len(self.targets) + len(self.channel_ports))
        ]
        for version in {address.version for address, _ in self.targets}:
            source = own_address(self._interface, version, self._services) or _NOBODY[version]
            with _raw_socket(version, self._mark) as sender:
                for said, (address, port) in zip(payloads, self.targets, strict=False):
                    if address.version == version:
                        data = _packet(source, address, self._source_port, port, said)
                        for _ in range(COPIES):
                            sender.sendto(data, (str(address), 0))
        link = self.peers[peer].links[0]
        here, there = ip_address(link.local), ip_address(link.remote)
        with _raw_socket(there.version) as sender:
            for said, port in zip(payloads[len(self.targets) :], self.channel_ports, strict=True):
                with suppress(OSError):  # a firewall here, say: the channel's own do not leave either, and
                    # the peer, which misses this one, says so
                    data = _datagram(here, there, port, PAD + said)
                    for _ in range(CHANNEL_COPIES):
                        sender.sendto(data, (str(there), 0))

    def named(self, mask: int) -> str:
        """Return some of the targets for people."""
        names = [f"{address} port {port}" for address, port in self.targets]
        names += [f"the commit channel (UDP port {port})" for port in self.channel_ports]
        return ", ".join(name for index, name in enumerate(names) if mask >> index & 1)


def went(data: bytes, cluster: int, keys: KeyRing) -> bytes | int | None:
    """What becomes of a datagram of a probe's length on the commit channel: the one that goes on; or what is
    to be told at the end of its last way; None if it is no probe. See ftt_mirror_datagram."""
    said = data[len(PAD) :]
    value = int.from_bytes(said[:8], "big")
    if not any(hmac.compare_digest(said, payload(key, cluster, value)) for key in keys.keys):
        return None
    way = value >> _WAY_SHIFT
    if way < _LAST_WAY:
        return PAD + payload(keys.sending, cluster, value + (1 << _WAY_SHIFT))
    return value & (1 << _WAY_SHIFT) - 1 if way == _LAST_WAY else None


def told(value: int) -> tuple[int, int]:
    """Return number and target of a probe, as the engine tells of it."""
    return value >> _NUMBER_BITS, value & ((1 << _NUMBER_BITS) - 1)


def own_address(interface: str, version: int, services: Container[Address] = ()) -> Address | None:
    """Return an address of this host on an interface, none of ``services``, which the other node has as well;
    None if it has none."""
    if version == 4:
        request = struct.pack("16s16x", interface.encode())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, request)
            except OSError:  # none, or no such interface
                return None
        found = IPv4Address(answer[20:24])
        return None if found in services else found
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except FileNotFoundError:
        return None
    for address, _, _, scope, _, name in map(str.split, lines):
        found6 = IPv6Address(bytes.fromhex(address))
        if name == interface and scope == _GLOBAL and found6 not in services:
            return found6
    return None


def payload(key: bytes, cluster: int, number: int) -> bytes:
    """Return what a probe says."""
    head = number.to_bytes(8, "big")
    said = _PURPOSE + cluster.to_bytes(8, "big") + head
    return head + hashlib.blake2b(said, key=key, digest_size=_MAC_BYTES).digest()


def _raw_socket(version: int, mark: int = 0) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        if version == 4:
            made.setsockopt(socket.IPPROTO_IP, _IP_HDRINCL, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
    except OSError:
        made.close()
        raise
    return made


def _packet(source: Address, to: Address, source_port: int, port: int, said: bytes) -> bytes:
    head = struct.pack("!HHIIBBHHH", source_port, port, 1, 1, 5 << 4, _PSH_ACK, 1024, 0, 0)
    return _headed(source, to, _TCP, head + said, 16)


def _datagram(source: Address, to: Address, port: int, said: bytes) -> bytes:
    """From a port to the same one."""
    return _headed(source, to, _UDP, struct.pack("!HHHH", port, port, 8 + len(said), 0) + said, 6)


def _headed(source: Address, to: Address, protocol: int, transport: bytes, checksum_at: int) -> bytes:
    """A packet, whose checksum of the transport is 0 so far."""
    size = len(transport)
    pseudo = source.packed + to.packed + struct.pack("!II", size, protocol)
    summed = (checksum(pseudo + transport) or 0xFFFF).to_bytes(2, "big")
    body = transport[:checksum_at] + summed + transport[checksum_at + 2 :]
    if to.version == 6:
        return struct.pack("!IHBB", 6 << 28, size, protocol, _HOPS) + source.packed + to.packed + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0, _HOPS, protocol, 0) + source.packed + to.packed
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body
