"""Asks the service network: does anyone answer for these addresses? Can a reference address be reached?

Addresses are probed as RFC 5227 section 2.1 and RFC 4862 section 5.4 say, but fast: what answers on a local
network answers within a millisecond or two. A claim (ARP with the address as the sender's, or a
neighbour advertisement for it) refutes at once. Of two nodes that probe at the same time, the one with the
smaller MAC address goes on.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import secrets
import socket
import struct
from array import array
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from fttcp.arbiter.settings import Address
from fttcp.wire.checksum import checksum

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_MULTICAST = 263, 1, 0
_SO_ATTACH_FILTER = 26
_SIOCGIFHWADDR = 0x8927
_RECEIVE_BUFFER = 64 * 1024
_FRAME_MAX = 2048
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ALL_SOLICITED = IPv6Address("ff02::1:ff00:0").packed[:13]
_PROBE_EVERY_S = 0.001
_SHARE = 4
"""Between two rounds of probes passes at least so many times the duration of one."""
_ECHO_EVERY_S = 0.01
_TRIES = 4
# Classic BPF on an Ethernet frame: IPv6, next header ICMPv6, type 135 or 136; else nothing.
_NEIGHBOUR_DISCOVERY = (
    (0x30, 0, 0, 20), (0x15, 0, 4, 58), (0x30, 0, 0, 54), (0x15, 1, 0, _SOLICITATION),
    (0x15, 0, 1, _ADVERTISEMENT), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0),
)  # fmt: skip


class Prober:
    """Packet sockets on one interface of this network namespace at a time."""

    def __init__(self, interface: Callable[[], str]) -> None:
        """``interface``: which it is now. Raises OSError."""
        self._which = interface
        self.opened = 0
        """How many times sockets were opened: who looked before the last time has not heard all."""
        self._open()
        self._lookers: list[Callable[[bytes], None]] = []
        self._rounds = _Rounds(self._send)

    @property
    def interface(self) -> str:
        """The one that is to be asked on."""
        return self._which()

    def _open(self) -> None:
        self._interface = self._which()
        with ExitStack() as stack:
            self._arp = stack.enter_context(_packet_socket(self._interface, _ETH_P_ARP))
            self._nd = stack.enter_context(_packet_socket(self._interface, _ETH_P_IPV6))
            _attach_filter(self._nd)
            stack.pop_all()
        self.opened += 1
        self._mac = bytes(self._arp.getsockname()[4])
        self._joined: set[Address] = set()

    def _follow(self) -> None:
        """It may be another interface now, or have been made anew since, with another index, or have another
        MAC address. Who still looks at the one before hears nothing more. Raises OSError if there is none."""
        if self._arp.fileno() < 0 or self._arp.getsockname()[0] != self._which():
            self._ignore()
            self._lookers.clear()
            self.close()
            self._open()
        self._mac = bytes(self._arp.getsockname()[4])

    def _ignore(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in (self._arp, self._nd):
            if sock.fileno() >= 0:
                loop.remove_reader(sock)

    def close(self) -> None:
        """Close the sockets."""
        self._arp.close()
        self._nd.close()

    async def claimed(self, addresses: Sequence[Address], window_s: float) -> str:
        """Return who answers for one of the addresses within ``window_s``, for people; '' if nobody does.
        Raises OSError if nothing can be sent, or the adapter never stays for so long."""
        refuted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        for _ in range(_TRIES):
            opened = self.follow()
            await self.probe(addresses, refuted, window_s)
            if refuted.done():
                return refuted.result()
            if self.has_stayed(opened):
                return ""
        raise OSError(errno.ENETDOWN, f"the adapter changed {_TRIES} times in a row", self.interface)

    def follow(self) -> int:
        """Look at the interface that is to be asked on; return what `has_stayed` is asked with. Raises
        OSError."""
        if not self._lookers or self._interface != self._which():
            self._follow()
        return self.opened

    def has_stayed(self, opened: int) -> bool:
        """Return True if who has looked since then has heard all there is on the interface of now."""
        return self.opened == opened and self._interface == self._which()

    def watch(self, addresses: Sequence[Address], longest_s: float) -> Watch:
        """Begin to probe, for ``longest_s`` unless somebody answers or it is closed."""
        return Watch(self, addresses, longest_s)

    async def probe(
        self, addresses: Sequence[Address], refuted: asyncio.Future[str], window_s: float
    ) -> None:
        """Probe until ``refuted`` has who answers, or the window ends. Raises OSError."""

        def look(frame: bytes) -> None:
            who = claimant(frame, self._mac, addresses, where=f" on {self._interface}")
            if who and not refuted.done() and not is_of_this_host(frame):
                refuted.set_result(who)

        with self._listening(look), self._rounds.of(addresses) as trouble:
            answers: set[asyncio.Future[Any]] = {refuted, trouble}
            await asyncio.wait(answers, timeout=window_s, return_when=FIRST_COMPLETED)
            if trouble.done():
                trouble.result()

    def _send(self, address: Address) -> None:
        self._socket_for(address).send(probe_frame(self._mac, address))

    async def reachable(self, addresses: Sequence[Address], timeout_s: float) -> bool:
        """Return True once one of the addresses answers: on the link, or an echo request. Raises OSError."""
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def look(frame: bytes) -> None:
            if claimant(frame, self._mac, addresses, rivals=False) and not answered.done():
                answered.set_result("link")

        with self._listening(look), _Echoes(self._interface, addresses, answered) as echoes:
            loop = asyncio.get_running_loop()
            end_s = loop.time() + timeout_s
            while (left_s := end_s - loop.time()) > 0 and not answered.done():
                for address in addresses:
                    self._send(address)
                echoes.send()
                await asyncio.wait({answered}, timeout=min(_ECHO_EVERY_S, left_s))
            return answered.done()

    @contextmanager
    def _listening(self, look: Callable[[bytes], None]) -> Iterator[None]:
        """Hand frames to ``look``, but none that came before. Several may look at the same time."""
        self.follow()
        self.drain()
        self._lookers.append(look)
        loop = asyncio.get_running_loop()
        for sock in (self._arp, self._nd):
            loop.add_reader(sock, self.drain)
        try:
            yield
        finally:
            if look in self._lookers:
                self._lookers.remove(look)
                if not self._lookers:
                    self._ignore()

    def drain(self) -> None:
        """Take in what has come."""
        for frame in (*_pending(self._arp), *_pending(self._nd)):
            for look in self._lookers:
                look(frame)

    def _socket_for(self, address: Address) -> socket.socket:
        """Return the socket for an address's probes; it hears other nodes' probes of the address, too."""
        if isinstance(address, IPv4Address):
            return self._arp
        if address not in self._joined:
            index = socket.if_nametoindex(self._interface)
            request = struct.pack("=iHH8s", index, _PACKET_MR_MULTICAST, 6, _group_mac(address))
            self._nd.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
            self._joined.add(address)
        return self._nd


class _Rounds:
    """Probes for all that ask at the same time, in common rounds: many groups may be about to move at once,
    and their loop has more to do."""

    def __init__(self, send: Callable[[Address], None]) -> None:
        self._send = send
        self._asked: dict[asyncio.Future[None], Sequence[Address]] = {}
        self._next: asyncio.TimerHandle | None = None

    @contextmanager
    def of(self, addresses: Sequence[Address]) -> Iterator[asyncio.Future[None]]:
        """Probe these at once, soon again (a frame may be lost), and in each round, which may be long in
        coming; the future has the OSError of one that could not be sent. Raises OSError."""
        loop = asyncio.get_running_loop()
        for address in addresses:
            self._send(address)
        trouble: asyncio.Future[None] = loop.create_future()
        self._asked[trouble] = addresses
        again = loop.call_later(_PROBE_EVERY_S, self._ask, trouble)
        if self._next is None:
            self._next = loop.call_later(2 * _PROBE_EVERY_S, self._round)
        try:
            yield trouble
        finally:
            again.cancel()
            del self._asked[trouble]
            if trouble.done():
                trouble.exception()  # there may have been an answer as well
            if not self._asked and self._next is not None:
                self._next.cancel()
                self._next = None

    def _round(self) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        for trouble in self._asked:
            self._ask(trouble)
        pause_s = max(_PROBE_EVERY_S, _SHARE * (loop.time() - begun_s))
        self._next = loop.call_later(pause_s, self._round)

    def _ask(self, trouble: asyncio.Future[None]) -> None:
        try:
            for address in self._asked[trouble]:
                self._send(address)
        except OSError as error:
            if not trouble.done():
                trouble.set_exception(error)


class Watch:
    """Probes that began before anybody asks for their answer."""

    def __init__(self, prober: Prober, addresses: Sequence[Address], longest_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._prober, self._interface, self._opened = prober, prober.interface, 0
        self._begun_s: float | None = None
        self._refuted: asyncio.Future[str] = self._loop.create_future()
        self._probing = self._loop.create_task(self._probe(addresses, longest_s))

    async def _probe(self, addresses: Sequence[Address], longest_s: float) -> None:
        """The time counts from here on: the loop may have been busy since this was made."""
        self._begun_s = self._loop.time()
        self._opened = self._prober.follow()
        await self._prober.probe(addresses, self._refuted, longest_s)

    async def claimed(self, window_s: float) -> str | None:
        """Return who answered up to now, '' if nobody did for at least ``window_s``; then it is over.
        None if it has ended already, or the service interface is another one now: it knows nothing of what
        came since, or there."""
        either: set[asyncio.Future[Any]] = {self._refuted, self._probing}
        while (left_s := self._left_s(window_s)) > 0 and not any(one.done() for one in either):
            await asyncio.wait(either, timeout=left_s, return_when=FIRST_COMPLETED)
        if not self._probing.done():
            self._prober.drain()
        running = not self._probing.done()
        self.close()
        if self._refuted.done():
            return self._refuted.result()
        stayed = self._prober.interface == self._interface and self._prober.has_stayed(self._opened)
        return "" if running and stayed else None

    def _left_s(self, window_s: float) -> float:
        return window_s if self._begun_s is None else self._begun_s + window_s - self._loop.time()

    def close(self) -> None:
        """End it; what went wrong with it will be seen by whoever asks next."""
        if not self._probing.cancel() and not self._probing.cancelled():
            self._probing.exception()


class _Echoes:
    """Echo requests to some addresses over one interface; the first answer sets a future."""

    def __init__(self, interface: str, addresses: Sequence[Address], answered: asyncio.Future[str]) -> None:
        self._addresses, self._answered = addresses, answered
        self._identity = secrets.token_bytes(2)
        self._interface = interface
        self._sockets: dict[int, socket.socket] = {}

    def __enter__(self) -> _Echoes:
        for version in {address.version for address in self._addresses}:
            family, protocol = (
                (socket.AF_INET, socket.IPPROTO_ICMP)
                if version == 4
                else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
            )
            sock = self._sockets[version] = socket.socket(
                family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol
            )
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode() + b"\0")
            asyncio.get_running_loop().add_reader(sock, self._take, sock)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def send(self) -> None:
        """Ask every address. What cannot be sent (no route, no neighbour) is not answered either."""
        for address in self._addresses:
            head = bytes((8 if address.version == 4 else 128, 0))
            echo = head + b"\0\0" + self._identity + b"\0\1"
            if address.version == 4:  # for IPv6 the kernel sums
                echo = head + struct.pack("!H", checksum(echo)) + echo[4:]
            try:
                self._sockets[address.version].sendto(echo, (str(address), 0))
            except OSError:
                continue

    def _take(self, sock: socket.socket) -> None:
        for data in _pending(sock):
            self._look(data)

    def _look(self, data: bytes) -> None:
        message = data[(data[0] & 15) * 4 :] if data[:1] and data[0] >> 4 == 4 else data
        if message[4:6] == self._identity and message[:1] in (b"\x00", b"\x81") and not self._answered.done():
            self._answered.set_result("echo")


@lru_cache(maxsize=1024)
def probe_frame(mac: bytes, address: Address) -> bytes:
    """Return the Ethernet frame that asks who has ``address`` without claiming it."""
    if isinstance(address, IPv4Address):
        arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, bytes(4), bytes(6), address.packed)
        return b"\xff" * 6 + mac + b"\x08\x06" + arp
    group = _ALL_SOLICITED + address.packed[13:]
    body = bytes(4) + address.packed  # no source link-layer address: the source is unspecified
    pseudo = bytes(16) + group + struct.pack("!II", 4 + len(body), 58)
    summed = checksum(pseudo + struct.pack("!BBH", _SOLICITATION, 0, 0) + body)
    message = struct.pack("!BBH", _SOLICITATION, 0, summed) + body
    ip = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + bytes(16) + group
    return _group_mac(address) + mac + b"\x86\xdd" + ip + message


def _group_mac(address: IPv6Address) -> bytes:
    """Return where solicitations of an address are sent (RFC 4291, 2.7.1; RFC 2464, 7)."""
    return b"\x33\x33\xff" + address.packed[13:]


def claimant(
    frame: bytes, own: bytes, addresses: Sequence[Address], rivals: bool = True, where: str = ""
) -> str:
    """Return who claims one of the addresses with this frame (or probes it, before us), or ''."""
    kind, sender = frame[12:14], frame[6:12]
    if kind == b"\x08\x06" and len(frame) >= 42:
        sender, source, target = frame[22:28], frame[28:32], frame[38:42]
        claimed, probed = source, target if source == bytes(4) else b""
    elif kind == b"\x86\xdd" and len(frame) >= 78 and frame[20] == 58:
        target = frame[62:78]
        claimed = target if frame[54] == _ADVERTISEMENT else b""
        probed = target if frame[54] == _SOLICITATION and frame[22:38] == bytes(16) else b""
    else:
        return ""
    packed = {address.packed for address in addresses}
    if sender == own:
        return ""
    if claimed in packed:
        return f"{ip_address(claimed)} is at {sender.hex(':')}{where}"
    if rivals and probed in packed and sender < own:
        return f"{ip_address(probed)} is being probed by {sender.hex(':')} as well, which goes first"
    return ""


def is_of_this_host(frame: bytes) -> bool:
    """True if another interface of this host sent it: its kernel may answer for what it has on `lo`."""
    sender = frame[22:28] if frame[12:14] == b"\x08\x06" else frame[6:12]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it is gone, or is no Ethernet
                asked = struct.pack("=16s24x", name.encode())
                if fcntl.ioctl(sock, _SIOCGIFHWADDR, asked)[18:24] == sender:
                    return True
    return False


def _packet_socket(interface: str, protocol: int) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.bind((interface, protocol))
    return sock


def _attach_filter(sock: socket.socket) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _NEIGHBOUR_DISCOVERY)
    buffer = array("B", code)
    program = struct.pack("@HP", len(_NEIGHBOUR_DISCOVERY), buffer.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _pending(sock: socket.socket) -> Iterator[bytes]:
    """Return what waits in a socket. When the interface goes down, nothing does: sending will tell."""
    while True:
        try:
            yield sock.recv(_FRAME_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.ENETDOWN:
                return
            raise
