"""What is wrong in [[spread]]; its entries for ``fttcp.spread``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from msgspec.structs import fields

from fttcp.config.endpoint import parse_endpoint
from fttcp.config.schema import Config, GroupSection
from fttcp.spread.dns import DnsName
from fttcp.spread.haproxy import HaproxyBackend
from fttcp.spread.ipvs import IpvsService
from fttcp.spread.member import Entry, Member
from fttcp.spread.settings import KIND_KEYS, SpreadSection
from fttcp.wire.ports import PortRange, numbers, parse

_DNS_PORT = 53
_HAPROXY_S = 2.0
"""HAProxy forgets at a reload: it is asked so often how its servers are."""
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,240}}$){_LABEL}(\.{_LABEL})+\.?")
_BACKEND = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
_OPTIONAL = ("at", "port", "zone", "ttl", "key_file")
_DEFAULTS = {field.name: field.default for field in fields(SpreadSection)}


def check_spread(config: Config, section: SpreadSection, i: int, errors: list[str]) -> None:
    """Note what is wrong in one entry, by itself and beside those before it."""
    here = f"spread[{i}]"
    if any(one.name == section.name for one in config.spread[:i]):
        errors.append(f"{here}.name: {section.name!r} stands there twice: choose another one")
    known = [group.name for group in config.group]
    for k, name in enumerate(section.groups):
        if name not in known:
            errors.append(f"{here}.groups[{k}]: no group has the name {name!r} (groups: {', '.join(known)})")
    needed, possible = KIND_KEYS[section.kind]
    given = [key for key in _OPTIONAL if getattr(section, key) != _DEFAULTS[key]]
    errors += [f"{here}.{key}: missing (kind {section.kind} needs it)" for key in needed if key not in given]
    errors += [
        f"{here}.{key}: kind {section.kind} has no such key (allowed: {', '.join((*needed, *possible))})"
        for key in given
        if key not in (*needed, *possible)
    ]
    trouble = {"dns": _dns_trouble, "haproxy": _haproxy_trouble, "ipvs": _ipvs_trouble}[section.kind]
    errors += [f"{here}.{said}" for said in trouble(section)]
    if section.kind != "dns":
        for group in _groups(config, section):
            errors += [f"{here}.{said}" for said in _port_trouble(section, group)]


def entries_of(config: Config) -> Iterator[Entry]:
    """Yield the entries of a file that is right."""
    for section in config.spread:
        groups = list(_groups(config, section))
        match section.kind:
            case "dns":
                name, zone = _absolute(section.target), _zone(section)
                server = parse_endpoint(section.at or "", _DNS_PORT)
                key_file = None if section.key_file is None else Path(section.key_file)
                dns = DnsName(config.node.cluster, name, zone, section.ttl, server, key_file)
                every = tuple(Member(group.name, one) for group in groups for one in group.addresses)
                yield Entry(section.name, every, dns.lines, dns.apply)
            case "haproxy":
                proxy = HaproxyBackend(section.target, _place(section.at or ""))
                yield Entry(
                    section.name, tuple(_first(section, groups)), proxy.lines, proxy.apply, _HAPROXY_S
                )
            case "ipvs":
                port = _port(section, groups[0])
                ipvs = IpvsService(section.target, port.first, port.proto)
                yield Entry(section.name, tuple(_first(section, groups)), ipvs.lines, None)


def _groups(config: Config, section: SpreadSection) -> Iterator[GroupSection]:
    for group in config.group:
        if not section.groups or group.name in section.groups:
            yield group


def _first(section: SpreadSection, groups: list[GroupSection]) -> Iterator[Member]:
    """Yield the first address of each group: all of them are at the same host."""
    for group in groups:
        yield Member(group.name, str(_fitting(section, group)[0]), _port(section, group).first)


def _fitting(section: SpreadSection, group: GroupSection) -> list[str]:
    """Return the addresses of a group that a target can reach: of IPVS those of its IP version."""
    if section.kind != "ipvs":
        return list(group.addresses)
    version = ip_address(section.target).version
    return [text for text in group.addresses if ip_address(text).version == version]


def _port(section: SpreadSection, group: GroupSection) -> PortRange:
    """Return the port that is told: as given, or the group's first of TCP."""
    return parse(section.port or next(text for text in group.ports if text.endswith("/tcp")))


def _absolute(name: str) -> str:
    return name if name.endswith(".") else f"{name}."


def _zone(section: SpreadSection) -> str:
    return _absolute(section.zone or section.target.partition(".")[2])


def _place(at: str) -> str | tuple[str, int]:
    """Return the path of a socket, or address and port. Raises ValueError."""
    return at if at.startswith("/") else parse_endpoint(at, None)


# ---------------------------------------------------------------------- what is wrong


def _dns_trouble(section: SpreadSection) -> Iterator[str]:
    for key in ("target", "zone"):
        text = getattr(section, key)
        if text is not None and not _DOMAIN.fullmatch(text):
            yield f"{key}: {text!r} is no domain name of two labels or more (allowed: www.example.org)"
    if _DOMAIN.fullmatch(section.target) and not f".{_absolute(section.target)}".lower().endswith(
        f".{_zone(section)}".lower()
    ):
        yield f"zone: {section.target!r} does not lie in {section.zone!r}"
    if section.at is not None:
        yield from _place_trouble(section.at, _DNS_PORT)


def _haproxy_trouble(section: SpreadSection) -> Iterator[str]:
    if not _BACKEND.fullmatch(section.target):
        yield f"target: {section.target!r} is no name of a backend (allowed: letters, digits, _ . : -)"
    if section.at is not None and not section.at.startswith("/"):
        yield from _place_trouble(section.at, None)


def _ipvs_trouble(section: SpreadSection) -> Iterator[str]:
    try:
        ip_address(section.target)
    except ValueError:
        yield f"target: {section.target!r} is no address (allowed: that of the virtual service, 192.0.2.200)"


def _place_trouble(at: str, port: int | None) -> Iterator[str]:
    try:
        parse_endpoint(at, port)
    except ValueError as error:
        yield f"at: {error}"


def _port_trouble(section: SpreadSection, group: GroupSection) -> Iterator[str]:
    """A group must have the port that is told, and an address that fits."""
    if section.port is None:
        if not any(text.endswith("/tcp") for text in group.ports):
            yield f"port: missing (group {group.name} has no TCP port)"
    else:
        try:
            port = parse(section.port)
        except ValueError as error:
            yield f"port: {error}"
            return
        if port.first != port.last:
            yield f"port: {section.port!r} is a range (allowed: one port)"
        elif section.kind == "haproxy" and port.proto != "tcp":
            yield f"port: {section.port!r}: HAProxy takes TCP (allowed: 80/tcp)"
        elif group.mode == "connection" and port.first not in numbers(group.port_list, port.proto):
            yield f"port: group {group.name} does not have {section.port!r} ({', '.join(group.ports)})"
    if section.kind == "ipvs" and not any(_ipvs_trouble(section)) and not _fitting(section, group):
        yield f"target: group {group.name} has no address of this IP version ({', '.join(group.addresses)})"
