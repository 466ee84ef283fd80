"""Rules of this host that would translate what is sent to a service address, for `fttcp doctor`.

Packets of service addresses are not tracked (conntrack sees one side of a flow only), and what is not tracked
is not translated: DNAT and REDIRECT have no effect there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from fttcp.cli.checks import Check, ok, warn

Address = IPv4Address | IPv6Address
Ports = Sequence[tuple[int, int, str]]
_TIMEOUT_S = 10
_TOOLS = ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save")


def see_translations(addresses: Sequence[Address], ports: Ports) -> list[str]:
    """Return the host's rules that would translate packets of these addresses and ports, each as a line."""
    found: list[str] = []
    for tool in _TOOLS:
        found += of_iptables(_said([tool, "-t", "nat"]), 6 if tool.startswith("ip6") else 4, addresses, ports)
    said = _said(["nft", "--json", "list", "ruleset"])
    return list(dict.fromkeys([*found, *(of_nft(json.loads(said), addresses, ports) if said else [])]))


def _said(command: list[str]) -> str:
    """Return what a tool prints; nothing if it is not there, or may not look."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


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


def of_nft(ruleset: Any, addresses: Sequence[Address], ports: Ports) -> Iterator[str]:
    """Yield the rules of `nft --json list ruleset` that are meant."""
    for entry in ruleset.get("nftables", ()):
        rule = entry.get("rule")
        if rule is None:
            continue
        expressions = [part for part in rule.get("expr", ()) if isinstance(part, dict)]
        kind = next((k for part in expressions for k in ("dnat", "redirect") if k in part), None)
        if kind is None or not _matches(expressions, rule["family"], addresses, ports):
            continue
        place = f"{rule['family']} {rule['table']} {rule['chain']}"
        yield f"{place}: {kind}, handle {rule['handle']} (nft -a list chain {place})"


def _matches(
    expressions: list[dict[str, Any]], family: str, addresses: Sequence[Address], ports: Ports
) -> bool:
    """Whether a packet of the service may come to the end of a rule. What is not understood may let it by."""
    ours = [a for a in addresses if family not in ("ip", "ip6") or a.version == (4 if family == "ip" else 6)]
    proto: str | None = None
    spans: list[tuple[int, int]] | None = None
    for part in expressions:
        match = part.get("match")
        if not match or match.get("op") not in ("==", "in"):
            continue
        left = match["left"].get("payload", {}) if isinstance(match["left"], dict) else {}
        values = _values(match["right"])
        if left.get("field") == "daddr" and left.get("protocol") in ("ip", "ip6"):
            ours = [a for a in ours if any(_holds(value, a) for value in values)]
        elif left.get("field") == "dport":
            proto = left["protocol"] if left["protocol"] in ("tcp", "udp") else proto
            spans = [span for value in values for span in _spans(value)] or None
    return bool(ours) and _of_ports(ports, proto, spans)


def _values(right: Any) -> list[Any]:
    return right["set"] if isinstance(right, dict) and isinstance(right.get("set"), list) else [right]


def _holds(value: Any, address: Address) -> bool:
    """Whether an address is meant by a value of nft; names of sets are not looked up: it may be."""
    if isinstance(value, str):
        return value.startswith("@") or ip_address(value) == address
    if isinstance(value, dict) and "prefix" in value:
        return address in ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}", strict=False)
    if isinstance(value, dict) and "range" in value:
        first, last = map(ip_address, value["range"])
        return first.version == address.version and int(first) <= int(address) <= int(last)
    return True


def _spans(value: Any) -> Iterator[tuple[int, int]]:
    if isinstance(value, int):
        yield value, value
    elif isinstance(value, dict) and "range" in value:
        yield value["range"][0], value["range"][1]


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
