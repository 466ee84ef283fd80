"""What each backend needs to know; no library of a backend is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from fttcp.wire.witness import Keys

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class NoneSettings:
    """``services`` gives the addresses of a group. One of the ``references`` must answer, if there are any.
    ``interface`` tells which is the service interface now, ``carrier`` whether it has one. ``probe_ms`` 0:
    addresses are not probed.
    """

    node: str
    interface: Callable[[], str]
    services: Callable[[str], Sequence[Address]]
    references: Sequence[Address]
    carrier: Callable[[], bool]
    probe_ms: int
    reference_ms: int


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """``endpoints``: all addresses (IP, port) of the one witness. ``lease_ns``: what this node takes the
    witness's lease for; it must be the witness's own. ``timeout_ns``: after it, UNREACHABLE. ``strict``: true
    if one with a shorter lease is not used, since a third node might be given what this one counts on."""

    cluster: str
    node: str
    endpoints: Sequence[tuple[str, int]]
    keys: Keys
    timeout_ns: int
    lease_ns: int
    strict: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; None: the system's authorities, no client certificate."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """``lease_s``: of a solo holder; etcd may make it longer. ``login``: user and password."""

    endpoints: Sequence[str]
    prefix: str
    cluster: str
    node: str
    lease_s: int
    drift_ppm: int
    timeout_ns: int
    tls: TlsFiles = TlsFiles()
    login: tuple[str, str] | None = None


Settings = NoneSettings | WitnessSettings | EtcdSettings
