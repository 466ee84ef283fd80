"""Ports as configuration files write them: ``80/tcp``, or a range, ``8000-8099/tcp``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

PATTERN = r"^[0-9]{1,5}(-[0-9]{1,5})?/(tcp|udp)$"
MOST = 65535


class PortRange(NamedTuple):
    """Ports of one protocol, from the first to the last one."""

    first: int
    last: int
    proto: str


def parse(text: str) -> PortRange:
    """Return what ``text`` names. Raises ValueError with what is wrong."""
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r} is no port (wanted: PORT/PROTO or FIRST-LAST/PROTO)")
    numbers, _, proto = text.partition("/")
    first, _, last = numbers.partition("-")
    found = PortRange(int(first), int(last or first), proto)
    if not 1 <= found.first <= MOST or found.last > MOST:
        raise ValueError(f"{text!r} has no valid port (allowed: 1..{MOST})")
    if found.last < found.first:
        raise ValueError(f"{text!r} ends before it begins (allowed: {found.last}-{found.first}/{proto})")
    return found


def shown(ports: tuple[int, int, str]) -> str:
    """Return it as it is written."""
    first, last, proto = ports
    return f"{first}/{proto}" if first == last else f"{first}-{last}/{proto}"


def merged(ports: Iterable[tuple[int, int, str]], proto: str) -> tuple[tuple[int, int], ...]:
    """Return first and last of the ranges of a protocol, ascending, those that overlap as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((first, last) for first, last, of in ports if of == proto):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def numbers(ports: Iterable[tuple[int, int, str]], proto: str) -> frozenset[int]:
    """Return every port of a protocol."""
    return frozenset(port for first, last in merged(ports, proto) for port in range(first, last + 1))
