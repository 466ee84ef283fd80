"""Rules of this host that would translate what is sent to a service address, for `fttcp doctor`.

Packets of service addresses are not tracked (conntrack sees one side of a flow only), and what is not tracked
is not translated: DNAT and REDIRECT have no effect there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from ipaddress import ip_address, ip_network

from fttcp.cli.checks import Address, Check, ok, warn
from fttcp.cli.host_facts import asked

Ports = Sequence[tuple[int, int, str]]
_TOOLS = ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save")


def see_translations(addresses: Sequence[Address], ports: Ports) -> list[str]:
    """Return the host's rules that would translate packets of these addresses and ports, each as a line."""
    found: list[str] = []
    theirs = set()
    for tool in _TOOLS:
        version = 6 if tool.startswith("ip6") else 4
        saved = _said([tool, "-t", "nat"])
        found += of_iptables(saved, version, addresses, ports)
        if "*nat" in saved.splitlines():
            theirs.add("ip6 nat" if version == 6 else "ip nat")
    found += of_nft(_said(["nft", "list", "ruleset"]), addresses, ports, theirs)
    return list(dict.fromkeys(found))


def _said(command: list[str]) -> str:
    """Return what a tool prints; nothing if it is not there, or may not look."""
    said, wrong = asked(command)
    return "" if wrong else said


def of_iptables(saved: str, version: int, addresses: Sequence[Address], ports: Ports) -> Iterator[str]:
    """Yield the lines of iptables-save that are meant."""
    ours = [address for address in addresses if address.version == version]
    for line in saved.splitlines():
        if not line.startswith("-A ") or not re.search(r" -j (DNAT|REDIRECT|NETMAP)\b", line):
            continue
        to, proto = re.search(r"(! )?(?:-d|--destination) (\S+)", line), re.search(r" -p (\S+)", line)
        if to and not any((a in ip_network(to[2], strict=False)) != bool(to[1]) for a in ours):
            continue
        listed = re.search(r"(! )?--(?:dport|dports) (\S+)", line)
        spans = [_span(part, ":") for part in listed[2].split(",")] if listed and not listed[1] else None
        if ours and _of_ports(ports, proto[1] if proto else None, spans):
            yield line


def of_nft(
    listed: str, addresses: Sequence[Address], ports: Ports, skipped: Collection[str] = ()
) -> Iterator[str]:
    """Yield the rules of `nft list ruleset` that are meant, but for those of tables that are ``skipped``: of
    iptables. (Its JSON cannot be used: nft 1.0.6 writes none that can be read where a table has an owner.)"""
    table = chain = ""
    for line in map(str.strip, listed.splitlines()):
        if line.startswith("table "):
            table = line[6:].rstrip(" {")
        elif line.startswith("chain "):
            chain = line[6:].rstrip(" {")
        elif table not in skipped and re.search(r"\b(dnat( ip6?)? to|redirect)\b", line):
            meant = _matches(line, table.partition(" ")[0], addresses, ports)
            yield from [f"{table} {chain}: {line}"] if meant else []


def _matches(rule: str, family: str, addresses: Sequence[Address], ports: Ports) -> bool:
    """Whether a packet of the service may come to the end of a rule. What is not understood lets it by."""
    ours = [a for a in addresses if family not in ("ip", "ip6") or a.version == (4 if family == "ip" else 6)]
    for _, other, value in re.findall(r"\b(ip6?) daddr (!= )?(\{[^}]*\}|[^\s.]\S*)", rule):
        if not other:
            ours = [a for a in ours if any(_holds(one, a) for one in _values(value))]
    proto: str | None = None
    spans: list[tuple[int, int]] | None = None
    for of, other, value in re.findall(r"\b(tcp|udp|th) dport (!= )?(\{[^}]*\}|\S+)", rule):
        proto = of if of != "th" else proto
        found = [_span(one, "-") for one in _values(value) if re.fullmatch(r"\d+(-\d+)?", one)]
        spans = found or None if not other else None
    return bool(ours) and _of_ports(ports, proto, spans)


def _values(text: str) -> list[str]:
    return [one.strip() for one in text.strip("{} ").split(",")]


def _holds(value: str, address: Address) -> bool:
    """Whether an address is meant by a value of nft; named sets are not looked up: it may be."""
    first, dash, last = value.partition("-")
    try:
        if dash:
            ends = ip_address(first), ip_address(last)
            return ends[0].version == address.version and int(ends[0]) <= int(address) <= int(ends[1])
        return address in ip_network(value, strict=False)
    except ValueError:
        return True


def _span(text: str, between: str) -> tuple[int, int]:
    first, _, last = text.partition(between)
    return int(first or 0), int(last or (65535 if between in text else first))


def _of_ports(ports: Ports, proto: str | None, spans: list[tuple[int, int]] | None) -> bool:
    """Whether one of the ports is of this protocol and in one of the spans; None: of any."""
    return any(
        proto in (None, "all", of) and (spans is None or any(first <= b and a <= last for a, b in spans))
        for first, last, of in ports
    )


def check_translations(rules: Sequence[str]) -> Iterator[Check]:
    """Say which rules do nothing."""
    for rule in rules:
        seen = f"{rule}: has no effect at a service address, whose packets are not tracked"
        todo = "let the server listen at the port that clients use, and remove the rule"
        yield warn("translation", seen, todo)
    if not rules:
        yield ok("translation", "no rule would translate what is sent to a service address")
