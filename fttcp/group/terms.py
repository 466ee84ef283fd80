"""This node's digests of what all nodes of a group should have alike: ``core.terms``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from fttcp.config import Config, GroupSection
from fttcp.config.placement import hosts_of
from fttcp.group.secrets import Secrets
from fttcp.ownership.terms import MOST, UNTOLD, Term

_BYTES = 3
_STORED_FORM = 2
"""Of what nodes tell each other of stored replies: those of different ones form no pair."""
_SYSCTLS = Path("/proc/sys/net/ipv4")


def terms(config: Config, group: GroupSection, secrets: Secrets) -> tuple[int, ...]:
    """Return a digest for each ``Term``, in their order; the kernel's are as they are now."""
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
        Term.OPENS: [*sorted(group.opened_ports), *(["bind"] if group.opens_bind else [])],
        Term.MAC: (group.mac or "").lower(),
        Term.PLACEMENT: _placement(config, group),
        Term.STORED_REPLIES: group.stored_replies and (_STORED_FORM, group.stored_replies),
    }
    digests = {term: _digest(value) for term, value in values.items()} | {Term.ARBITER: _arbiter(config)}
    told = {term: max(digest, UNTOLD + 1) for term, digest in digests.items()}
    return tuple((told | {Term.MD5: _signing(config, group, secrets)})[term] for term in Term)


def _signing(config: Config, group: GroupSection, secrets: Secrets) -> int:
    """Return the digest of peers' keys, made with the cluster's key: heartbeats are in clear, and a bare one
    would let guesses of a password be tried. While the cluster's keys are exchanged, nodes have none that is
    surely the same."""
    if len(secrets.keys.keys) != 1:
        return UNTOLD
    label = f"fttcp md5 {config.node.cluster} {group.name} ".encode()
    signing = sorted((str(entry.network), secrets.password(entry).hex()) for entry in group.md5)
    return max(_digest(signing, label, secrets.keys.sending), UNTOLD + 1)


def _placement(config: Config, group: GroupSection) -> object:
    """What decides where a group is to be."""
    capacities = {host.name: host.capacity for host in hosts_of(config)}
    return group.prefer, group.importance, group.units, sorted(capacities.items())


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


def _digest(value: object, label: bytes = b"", key: bytes = b"") -> int:
    data = label + msgspec.json.encode(value)
    return int.from_bytes(hashlib.blake2s(data, digest_size=_BYTES, key=key).digest(), "big")


def _sysctl(name: str) -> str:
    try:
        return (_SYSCTLS / name).read_text().strip()
    except FileNotFoundError:  # a kernel without it
        return ""
