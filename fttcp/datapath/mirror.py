"""Probes of the mirror: segments that take a client's way, from this node's rules to the peer's engine.

They are sent to the service address of this very host, with a mark by which the mirror's rules copy them to
the peer and drop them here. What of the two ways differs is the rule that matches: a client's comes in on the
service interface. That one is looked at with all others. The form is that of mirror_probe.h.
"""

from __future__ import annotations

import fcntl
import hashlib
import socket
import struct
from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from fttcp.datapath.base import EngineSettings
from fttcp.datapath.rules import Address, GroupNet
from fttcp.wire.checksum import checksum
from fttcp.wire.keyfile import KeyRing

TARGETS_MAX = 64
_NUMBER_BITS = 6
_PURPOSE = b"fttcp mirror probe"
_MAC_BYTES = 16
_TCP, _HOPS = 6, 64
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
        first = {address.version: address for address in reversed(group.addresses)}
        ports = sorted({port for ends in group.ports_of("tcp") for port in ends})
        self.targets = [(first[version], port) for version in sorted(first) for port in ports][:TARGETS_MAX]

    @property
    def all(self) -> int:
        """A bit for each target."""
        return (1 << len(self.targets)) - 1

    def send(self, number: int, keys: KeyRing) -> None:
        """Send one probe to each target. Raises OSError if this host cannot."""
        key = keys.sending
        for version in {address.version for address, _ in self.targets}:
            source = own_address(self._interface, version, self._services) or _NOBODY[version]
            with _raw_socket(version, self._mark) as sender:
                for index, (address, port) in enumerate(self.targets):
                    if address.version == version:
                        payload = _payload(key, self._cluster, number << _NUMBER_BITS | index)
                        data = _packet(source, address, self._source_port, port, payload)
                        sender.sendto(data, (str(address), 0))

    def named(self, mask: int) -> str:
        """Return some of the targets for people."""
        chosen = (target for index, target in enumerate(self.targets) if mask >> index & 1)
        return ", ".join(f"{address} port {port}" for address, port in chosen)


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


def _payload(key: bytes, cluster: int, number: int) -> bytes:
    head = number.to_bytes(8, "big")
    said = _PURPOSE + cluster.to_bytes(8, "big") + head
    return head + hashlib.blake2b(said, key=key, digest_size=_MAC_BYTES).digest()


def _raw_socket(version: int, mark: int) -> socket.socket:
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


def _packet(source: Address, to: Address, source_port: int, port: int, payload: bytes) -> bytes:
    segment = bytearray(
        struct.pack("!HHIIBBHHH", source_port, port, 1, 1, 5 << 4, _PSH_ACK, 1024, 0, 0) + payload
    )
    size = len(segment)
    pseudo = source.packed + to.packed + struct.pack("!II", size, _TCP)
    segment[16:18] = checksum(pseudo + segment).to_bytes(2, "big")
    if to.version == 6:
        return struct.pack("!IHBB", 6 << 28, size, _TCP, _HOPS) + source.packed + to.packed + bytes(segment)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0, _HOPS, _TCP, 0) + source.packed + to.packed
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + bytes(segment)
