"""This node's digests of what all nodes of a group should have alike: ``core.terms``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from fttcp.config import Config, GroupSection, Md5Section
from fttcp.ownership.terms import MOST, Term
from fttcp.wire import keyfile

_BYTES = 3
_SYSCTLS = Path("/proc/sys/net/ipv4")


def terms(config: Config, group: GroupSection) -> tuple[int, ...]:
    """Return a digest for each ``Term``, in their order; the kernel's are as they are now. Raises WireError
    for a key that cannot be read."""
    timing = group.timing
    values: dict[Term, object] = {
        Term.ADDRESSES: sorted(str(address) for address in group.ip_addresses),
        Term.PORTS: sorted(group.port_list),
        Term.TIMING: (timing.heartbeat_ms, timing.heartbeat_misses, timing.drift_ppm),
        Term.STATE: group.state,
        Term.WORKERS: group.workers,
        Term.ARBITER_PLACES: _places(config),
        Term.ENGINE: group.engine,
        Term.ORDER: group.order,
        Term.COMPARE: group.compare,
        Term.DIVERGENCE: group.divergence,
        Term.UNVERIFIED: group.unverified,
        Term.ENCRYPT: config.node.encrypt,
        Term.EXPERIMENT: (group.experiment.strict_commit, group.experiment.callback),
        Term.WINDOW_SCALING: _sysctl("tcp_window_scaling") != "0",
        Term.TIMESTAMPS: _sysctl("tcp_timestamps") != "0",
        Term.SACK: _sysctl("tcp_sack") != "0",
        Term.ECN: _sysctl("tcp_ecn"),
        Term.LOCKSTEP: group.lockstep,
        Term.STANDBY: group.standby,
        Term.RENEW: group.renew == "history",
        Term.OPENS: sorted(group.opened_ports),
        Term.MD5: sorted((str(entry.network), password(entry).hex()) for entry in group.md5),
    }
    digests = {term: _digest(value) for term, value in values.items()} | {Term.ARBITER: _arbiter(config)}
    return tuple(digests[term] for term in Term)


def password(entry: Md5Section) -> bytes:
    """Return what a peer's segments are signed with. Raises WireError."""
    return keyfile.load_password(keyfile.locate(entry.key_file))


def _arbiter(config: Config) -> int:
    """Nodes may reach the same arbiter by other addresses, but its kind and its lease are the same."""
    arbiter = config.arbiter
    if arbiter.kind == "none":
        return MOST
    prefix = arbiter.etcd.prefix if arbiter.etcd is not None else ""
    return _digest((arbiter.kind, arbiter.lease_ms, prefix)) % MOST


def _places(config: Config) -> list[str]:
    arbiter = config.arbiter
    if arbiter.witness is not None:
        return sorted(arbiter.witness.addresses)
    return sorted(arbiter.etcd.endpoints) if arbiter.etcd is not None else []


def _digest(value: object) -> int:
    return int.from_bytes(hashlib.blake2s(msgspec.json.encode(value), digest_size=_BYTES).digest(), "big")


def _sysctl(name: str) -> str:
    try:
        return (_SYSCTLS / name).read_text().strip()
    except FileNotFoundError:  # a kernel without it
        return ""
