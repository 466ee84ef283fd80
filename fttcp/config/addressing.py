"""Addresses that cannot be what they are written as, and those that are written for two things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from fttcp.config.arbiter import etcd_host
from fttcp.config.endpoint import parse_endpoint
from fttcp.config.reader import IncompleteError
from fttcp.config.schema import Config, GroupSection, LinkSection, PeerSection

Address = IPv4Address | IPv6Address
_BROADCAST = IPv4Address("255.255.255.255")


def read_address(text: str, where: str, errors: list[str]) -> Address | None:
    """Return an address; None, and a complaint, if it is none."""
    try:
        return ip_address(text)
    except ValueError:
        errors.append(
            f"{where}: {text!r} is not an IP address (allowed: IPv4 or IPv6, without prefix length)"
        )
        return None


def host_address(text: str, where: str, errors: list[str], what: str) -> Address | None:
    """Return an address of one host on a network; None, and a complaint, if it is none. ``what`` it is
    written as, for people."""
    address = read_address(text, where, errors)
    kind = _no_host(address) if address is not None else None
    if kind is not None:
        errors.append(f"{where}: {text!r} is {kind}, and no {what} (allowed: an address of one host)")
    return None if kind is not None else address


def _no_host(address: Address) -> str | None:
    """Say what kind of address this is, if it is not that of one host that others can reach."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return f"an IPv4 address in IPv6 form: write {address.ipv4_mapped}"
        if address.is_link_local:
            return "a link-local address, which means another host on every link"
    elif address.is_link_local:
        return "a link-local address, which no router forwards"
    elif address == _BROADCAST:
        return "the broadcast address"
    elif int(address) >> 24 == 0 and int(address):
        return "of the network 0.0.0.0/8, which means this host"
    for name, of_kind in (
        ("the unspecified address", address.is_unspecified),
        ("a loopback address", address.is_loopback),
        ("a multicast address", address.is_multicast),
    ):
        if of_kind:
            return name
    return None


def check_services(group: GroupSection, where: str, errors: list[str]) -> None:
    """Note what is wrong with a group's addresses by themselves."""
    seen: dict[Address, int] = {}
    for i, text in enumerate(group.addresses):
        place = f"{where}.addresses[{i}]"
        with suppress(IncompleteError):
            address = host_address(text, place, errors, "service address")
            if address is not None and seen.setdefault(address, i) != i:
                errors.append(f"{place}: {text!r} is {where}.addresses[{seen[address]}] as well: remove one")


def check_between_groups(
    group: GroupSection, other: GroupSection, here: str, there: str, errors: list[str]
) -> None:
    """Note which addresses two groups have both; an address moves with one group."""
    theirs = set(parsed(other.addresses))
    for address in dict.fromkeys(parsed(group.addresses)):
        if address in theirs:
            errors.append(
                f"{here}.addresses: '{address}' belongs to {there} as well (an address moves with one group: "
                "give one group all ports of it, or the other one another address)"
            )


def check_services_are_free(config: Config, prefixes: list[str], errors: list[str]) -> None:
    """Note where a service address is also that of one host: of this one, a peer, an arbiter, a monitor."""
    services = {
        address: f"group[{i}].addresses[{k}]"
        for i, group in enumerate(config.group)
        for k, address in _numbered(group.addresses)
    }
    for place, text, what in _of_one_host(config, prefixes):
        for address in parsed([text]):
            if address in services:
                errors.append(
                    f"{place}: {text!r} is {services[address]} as well: a service address moves between the "
                    f"nodes, and {what} (give each an address of its own)"
                )


def _of_one_host(config: Config, prefixes: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield place, text, and what for, of all addresses of single hosts."""
    for peer, prefix in zip(config.peer, prefixes, strict=False):
        for i, link in enumerate(peer.link):
            for key, what in (
                ("local", "this one is the node's own"),
                ("remote", "this one is the peer's own"),
                ("remote_v6", "this one is the peer's own"),
            ):
                text = getattr(link, key)
                if isinstance(text, str) and link.transport == "udp":
                    yield f"{prefix}link[{i}].{key}", text, what
    if isinstance(config.node.http.address, str):
        yield "node.http.address", config.node.http.address, "monitoring must ask each node"
    arbiter = config.arbiter
    for i, text in enumerate(arbiter.witness.addresses if arbiter.witness is not None else ()):
        with suppress(ValueError):
            yield f"arbiter.witness.addresses[{i}]", parse_endpoint(text)[0], "the witness is a third host"
    for i, text in enumerate(arbiter.etcd.endpoints if arbiter.etcd is not None else ()):
        yield f"arbiter.etcd.endpoints[{i}]", etcd_host(text) or "", "etcd runs on other hosts"


def check_udp_link(link: LinkSection, where: str, errors: list[str]) -> None:
    """Note what is wrong with the addresses of a link."""
    found: dict[str, Address | None] = {}
    for key in ("local", "remote", "remote_v6"):
        text = getattr(link, key)
        if text is None:
            continue
        found[key] = host_address(text, f"{where}.{key}", errors, "address of a link")
    local, remote, remote_v6 = (found.get(key) for key in ("local", "remote", "remote_v6"))
    if local and remote:
        if local.version != remote.version:
            errors.append(
                f"{where}.remote: {link.remote!r} is not of the same IP version as local {link.local!r}"
            )
        if local == remote:
            errors.append(f"{where}.remote: {link.remote!r} is this node's own address")
    if remote_v6 and remote_v6.version != 6:
        errors.append(f"{where}.remote_v6: {link.remote_v6!r} is not an IPv6 address")
    elif remote_v6 and remote_v6 == local:
        errors.append(f"{where}.remote_v6: {link.remote_v6!r} is this node's own address")


def check_links_differ(peer: PeerSection, prefix: str, errors: list[str]) -> None:
    """Note which links to a peer are one and the same: they fail together."""
    seen: dict[tuple[object, ...], int] = {}
    for i, link in enumerate(peer.link):
        if link.transport == "serial":
            continue  # told apart by their devices
        far = next(parsed([link.remote or ""]), link.remote) if link.transport != "ethernet" else link.remote
        same = (link.transport, link.interface, str(far).lower())
        if seen.setdefault(same, i) != i:
            errors.append(
                f"{prefix}link[{i}]: the same as {prefix}link[{seen[same]}] (transport, interface, remote): "
                "remove one"
            )


def check_own_and_peers(config: Config, prefixes: list[str], errors: list[str]) -> None:
    """Note where an address is this node's on one link and a peer's on another."""
    own: dict[Address, str] = {}
    theirs: list[tuple[str, Address]] = []
    for peer, prefix in zip(config.peer, prefixes, strict=False):
        for i, link in enumerate(peer.link):
            if link.transport != "udp":
                continue
            place = f"{prefix}link[{i}]"
            own |= dict.fromkeys(parsed([link.local or ""]), f"{place}.local")
            theirs += [(f"{place}.remote", address) for address in parsed([link.remote or ""])]
            theirs += [(f"{place}.remote_v6", address) for address in parsed([link.remote_v6 or ""])]
    for place, address in theirs:
        if address in own and own[address].rpartition(".")[0] != place.rpartition(".")[0]:
            errors.append(f"{place}: '{address}' is this node's own address ({own[address]})")


def _numbered(texts: list[str]) -> Iterator[tuple[int, Address]]:
    for i, text in enumerate(texts):
        for address in parsed([text]):
            yield i, address


def parsed(texts: Iterable[str]) -> Iterator[Address]:
    """Yield those that are addresses; the others are complained about where they stand."""
    for text in texts:
        with suppress(ValueError, IncompleteError):
            yield ip_address(text)
