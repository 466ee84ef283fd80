"""Is the service network still there? Asks reference addresses over the service interface.

Either ICMP echo (RFC 792, RFC 4443) from an address of this node's own, or the neighbour's hardware
address: ARP (RFC 826; a probe as in RFC 5227 when this node has no address there) and Neighbour
Solicitation (RFC 4861).
The second also works with routers that do not answer echo requests.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address

from fttcp.server.settings import ReferenceSection
from fttcp.server.verdict import Note, Thresholds
from fttcp.wire.checksum import checksum

Address = IPv4Address | IPv6Address

_ECHO = {4: (8, 0), 6: (128, 129)}
"""ICMP types of request and reply."""
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ARP = 0x0806
_ARP_LAYOUT = struct.Struct("!HHBBH6s4s6s4s")
_ICMP_FILTER, _SOL_RAW = 1, 255
_IPV6_UNICAST_HOPS, _IPV6_MULTICAST_HOPS, _IPV6_MULTICAST_IF, _ICMPV6_FILTER = 16, 18, 17, 1
_BROADCAST = b"\xff" * 6


class ReferenceMonitor:
    """Tells when all reference addresses are lost, and when one is back."""

    def __init__(
        self,
        settings: ReferenceSection,
        interface: str,
        on_change: Callable[[ReferenceMonitor], None],
        note: Note,
        source: Callable[[Address], Address | None] | None = None,
    ) -> None:
        """``source``: from which address of the interface one is asked with ICMP, None if it has none: then
        nothing is known, which counts as reachable, and not as answered. Else the kernel chooses.
        ``on_change`` is called in the loop when ``reachable`` or ``answered`` has changed; at first the
        addresses are taken to be reachable."""
        self._settings, self._interface = settings, interface
        self._addresses = [ip_address(text) for text in settings.addresses]
        self._on_change, self._note, self._source = on_change, note, source
        self._thresholds = Thresholds(settings.rise, settings.fall, up=True)
        self._task: asyncio.Task[None] | None = None
        self._said: dict[str, str] = {}
        self.answered = True
        """At least one did when they were asked last."""

    @property
    def reachable(self) -> bool:
        """True while at least one address answers, by the thresholds."""
        return self._thresholds.up is not False

    def shown(self) -> dict[str, object]:
        """As in ``status --json``: reachable, and what was seen last of each address."""
        return {"reachable": self.reachable, "method": self._settings.method, "addresses": dict(self._said)}

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.get_running_loop().create_task(self._ask_again_and_again())

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask_again_and_again(self) -> None:
        loop = asyncio.get_running_loop()
        interval_s = self._settings.interval_ms / 1000
        while True:
            begun_s = loop.time()
            answers = await asyncio.gather(*(self._ask(address) for address in self._addresses))
            self._take(any(answers), None in answers)
            await asyncio.sleep(max(0.0, begun_s + interval_s - loop.time()))

    async def _ask(self, address: Address) -> bool | None:
        """None: it cannot be asked."""
        source: Address | None = None
        try:
            if self._settings.method == "icmp" and self._source is not None:
                source = await asyncio.to_thread(self._source, address)
                if source is None:
                    self._said[str(address)] = f"not asked: {self._interface} has no address of its own"
                    return None
            async with asyncio.timeout(self._settings.timeout_ms / 1000):
                if self._settings.method == "icmp":
                    await echo(address, self._interface, source)
                else:
                    await neighbour(address, self._interface)
            said = "answers"
        except TimeoutError:
            said = f"no answer within {self._settings.timeout_ms} ms"
        except OSError as error:
            said = os.strerror(error.errno) if error.errno else str(error)
        self._said[str(address)] = said
        return said == "answers"

    def _take(self, good: bool, unknown: bool = False) -> None:
        before = self.reachable, self.answered
        self._thresholds.take(good or unknown)
        self.answered = good
        if self.reachable != before[0]:
            kind, level = ("reference-found", "info") if self.reachable else ("reference-lost", "warning")
            self._note(kind, level, interface=self._interface, addresses=dict(self._said))
        if (self.reachable, good) != before:
            self._on_change(self)


def own_address(own: Collection[Address], address: Address) -> Address | None:
    """Return from which of an interface's own addresses another one is asked; None if none will do."""
    alike = [
        one
        for one in sorted(own, key=int)
        if one.version == address.version and (one.version == 4 or one.is_link_local == address.is_link_local)
    ]
    return max(alike, key=lambda one: -(int(one) ^ int(address)), default=None)


async def echo(address: Address, interface: str, source: Address | None = None) -> None:
    """Send one echo request and wait for its reply. Raises OSError; waits for ever without one. Without
    ``source`` the kernel chooses, maybe an address of another interface, and asks for neighbours in its
    name."""
    loop = asyncio.get_running_loop()
    request, reply = _ECHO[address.version]
    identity, token = secrets.randbits(16), secrets.token_bytes(16)
    head = struct.pack("!BBHHH", request, 0, 0, identity, 1)
    packet = head + token
    if address.version == 4:  # for IPv6 the kernel does it
        packet = struct.pack("!BBHHH", request, 0, checksum(packet), identity, 1) + token
    with _raw_icmp(address, interface, reply) as sock:
        if source is not None:
            scope = socket.if_nametoindex(interface) if source.version == 6 and source.is_link_local else 0
            sock.bind((str(source), 0) if source.version == 4 else (str(source), 0, 0, scope))
        await loop.sock_sendto(sock, packet, (str(address), 0))
        while True:
            data, sender = await loop.sock_recvfrom(sock, 2048)
            if address.version == 4:
                data = data[(data[0] & 0xF) * 4 :]
            if ip_address(sender[0]) == address and data[0] == reply and data[8:24] == token:
                return


async def neighbour(address: Address, interface: str) -> None:
    """Ask for the hardware address and wait for the answer. Raises OSError; waits for ever without one."""
    await (_ask_arp(address, interface) if isinstance(address, IPv4Address) else _ask_nd(address, interface))


async def _ask_arp(address: IPv4Address, interface: str) -> None:
    loop = asyncio.get_running_loop()
    mac = _mac(interface)
    own = _own_address(address, interface)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ARP)) as sock:
        sock.bind((interface, _ARP))
        question = _ARP_LAYOUT.pack(1, 0x0800, 6, 4, 1, mac, own, bytes(6), address.packed)
        await loop.sock_sendall(sock, _BROADCAST + mac + struct.pack("!H", _ARP) + question)
        while True:
            frame = await loop.sock_recv(sock, 128)
            if len(frame) < 14 + _ARP_LAYOUT.size or frame[6:12] == mac:
                continue
            _, _, _, _, operation, _, sender, _, _ = _ARP_LAYOUT.unpack_from(frame, 14)
            if operation == 2 and sender == address.packed:
                return


async def _ask_nd(address: IPv6Address, interface: str) -> None:
    loop = asyncio.get_running_loop()
    group = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(address) & 0xFFFFFF)
    mac = _mac(interface)
    question = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed + b"\x01\x01" + mac
    with _raw_icmp(address, interface, _ADVERTISEMENT) as sock:
        index = socket.if_nametoindex(interface)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_UNICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_IF, index)
        await loop.sock_sendto(sock, question, (str(group), 0, 0, index))
        while True:
            data, _ = await loop.sock_recvfrom(sock, 2048)
            if len(data) >= 24 and data[0] == _ADVERTISEMENT and data[8:24] == address.packed:
                return


def _raw_icmp(address: Address, interface: str, wanted: int) -> socket.socket:
    """A raw ICMP socket of an interface that lets only one type in. Raises OSError."""
    made = (
        socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        if address.version == 4
        else socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
    )
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        if address.version == 4:
            made.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << wanted) & 0xFFFFFFFF))
        else:
            blocked = bytearray(b"\xff" * 32)
            word, bit = divmod(wanted, 32)
            struct.pack_into("=I", blocked, 4 * word, 0xFFFFFFFF & ~(1 << bit))
            made.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, bytes(blocked))
    except OSError:
        made.close()
        raise
    return made


def _mac(interface: str) -> bytes:
    """The interface's hardware address; sysfs may show another network namespace's interfaces."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        return bytes(sock.getsockname()[4])


def _own_address(address: IPv4Address, interface: str) -> bytes:
    """This node's address towards a neighbour; 0.0.0.0 (a probe) when it has none on this interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            sock.connect((str(address), 9))
        except OSError:
            return bytes(4)
        return socket.inet_aton(sock.getsockname()[0])
