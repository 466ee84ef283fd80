"""Addresses as the engine has them."""

from __future__ import annotations

import ipaddress


def address_bytes(address: str) -> bytes:
    """Return the 16 bytes of an address, IPv4 as ::ffff:a.b.c.d."""
    parsed = ipaddress.ip_address(address)
    return b"\0" * 10 + b"\xff\xff" + parsed.packed if parsed.version == 4 else parsed.packed


def address_text(raw: bytes) -> str:
    """Return the text of 16 address bytes; mapped IPv4 in dotted form."""
    parsed = ipaddress.IPv6Address(raw)
    return str(parsed.ipv4_mapped or parsed)
