"""Addresses as the engine has them."""

from __future__ import annotations

import ipaddress

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def address_bytes(address: str) -> bytes:
    """Return the 16 bytes of an address, IPv4 as ::ffff:a.b.c.d."""
    parsed = ipaddress.ip_address(address)
    return b"\0" * 10 + b"\xff\xff" + parsed.packed if parsed.version == 4 else parsed.packed


def address_text(raw: bytes) -> str:
    """Return the text of 16 address bytes; mapped IPv4 in dotted form."""
    parsed = ipaddress.IPv6Address(raw)
    return str(parsed.ipv4_mapped or parsed)


def network_of(text: str, strict: bool = True) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return an address, or a network; mapped IPv4 as IPv4. Nothing else of IPv6 holds an IPv4 address.
    Raises ValueError for what is none, and if ``strict`` for one with host bits."""
    network = ipaddress.ip_network(text, strict=strict)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((network.network_address.packed[-4:], network.prefixlen - 96))
    return network
