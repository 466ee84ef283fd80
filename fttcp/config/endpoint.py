"""Addresses with a port, as configuration files write them: ``192.0.2.1:7720``, ``[2001:db8::1]:7720``."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

DEFAULT_WITNESS_PORT = 7720


def parse_endpoint(text: str, usual_port: int | None = DEFAULT_WITNESS_PORT) -> tuple[str, int]:
    """Return address and port; without one the usual port, None if there is none. Raises ValueError with a
    sentence."""
    host, port, example = text, str(usual_port or ""), usual_port or 9999
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not [ADDRESS]:PORT")
        port = rest[1:] or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = str(ip_address(host))
    except ValueError as error:
        raise ValueError(
            f"{text!r} has no IP address (allowed: 192.0.2.1:{example}, "
            f"[2001:db8::1]:{example}; no names: a takeover must not wait for DNS)"
        ) from error
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r} has no valid port (allowed: 1..65535)")
    return address, int(port)


def not_to_listen_at(address: IPv4Address | IPv6Address) -> str:
    """Say why a witness cannot listen at an address; '' if it can."""
    if address.is_multicast:
        return "a multicast address (allowed: one of this host's, 0.0.0.0, ::)"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return f"an IPv4 address in IPv6 form: write {address.ipv4_mapped}"
        if address.is_link_local:
            return "a link-local address, which means another host on every link"
    return ""


def not_to_ask_at(address: IPv4Address | IPv6Address) -> str:
    """Say why no witness can be asked at an address; '' if one can."""
    return "the unspecified address" if address.is_unspecified else not_to_listen_at(address)
