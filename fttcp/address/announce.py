"""The frames that tell neighbours where a service address lives now.

Per IPv4 address a gratuitous ARP request and a reply (RFC 5227 and older practice: some switches and
hosts heed only one of them), per IPv6 address an unsolicited neighbour advertisement with the
override flag (RFC 4861, 7.2.6); to all, and to each known neighbour by itself. The native side sends them.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from itertools import chain, islice

MAX_FRAMES = 64  # FTT_MAX_FRAMES

Address = IPv4Address | IPv6Address

_BROADCAST = "ff:ff:ff:ff:ff:ff"
_ALL_NODES, _ALL_NODES_MAC = IPv6Address("ff02::1"), "33:33:00:00:00:01"


def announcement(
    mac: str, addresses: Iterable[Address], neighbours: Mapping[Address, str], limit: int = MAX_FRAMES
) -> list[bytes]:
    """Whole Ethernet frames, without FCS, that say that `addresses` are at `mac` (`aa:bb:...`).
    `neighbours`: address -> MAC address of those told by unicast. At most `limit` frames: those to all
    come first, so that only unicast ones are left out."""
    addresses = tuple(addresses)
    frames = chain(_to_all(mac, addresses), _to_each(mac, addresses, neighbours))
    return list(islice(frames, limit))


def _to_all(mac: str, addresses: Iterable[Address]) -> Iterator[bytes]:
    for address in addresses:
        if isinstance(address, IPv4Address):
            yield _arp(mac, address, "who-has", _BROADCAST, address)
            yield _arp(mac, address, "is-at", _BROADCAST, address)
        else:
            yield _advertisement(mac, address, _ALL_NODES_MAC, _ALL_NODES)


def _to_each(mac: str, addresses: Iterable[Address], neighbours: Mapping[Address, str]) -> Iterator[bytes]:
    for address in addresses:
        for neighbour, neighbour_mac in neighbours.items():
            if isinstance(address, IPv4Address) and isinstance(neighbour, IPv4Address):
                yield _arp(mac, address, "is-at", neighbour_mac, neighbour)
            elif isinstance(address, IPv6Address) and isinstance(neighbour, IPv6Address):
                yield _advertisement(mac, address, neighbour_mac, neighbour)


def _arp(mac: str, address: IPv4Address, op: str, to_mac: str, to: IPv4Address) -> bytes:
    from scapy.layers.l2 import ARP, Ether

    # Linux takes a reply for a gratuitous one, and so at once, only if it names the sender as the target too.
    target_mac = "00:00:00:00:00:00" if op == "who-has" else mac if to == address else to_mac
    arp = ARP(op=op, hwsrc=mac, psrc=str(address), hwdst=target_mac, pdst=str(to))
    return bytes(Ether(src=mac, dst=to_mac) / arp)


def _advertisement(mac: str, address: IPv6Address, to_mac: str, to: IPv6Address) -> bytes:
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
    from scapy.layers.l2 import Ether

    advertisement = ICMPv6ND_NA(tgt=str(address), R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    return bytes(Ether(src=mac, dst=to_mac) / IPv6(src=str(address), dst=str(to), hlim=255) / advertisement)
