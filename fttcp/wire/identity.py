"""Numbers that name a cluster's group and a node in heartbeats: 64-bit BLAKE2b hashes of the names."""

from __future__ import annotations

import hashlib


def cluster_id(cluster: str, group: str) -> int:
    """Return the id of one group of one cluster. Never 0."""
    return _hash64(b"fttcp cluster", cluster, group)


def virtual_mac(cluster: str, group: str) -> bytes:
    """Return the MAC address of a group that shares none with the interface: locally administered, the same
    on all nodes, however many there are."""
    first, *rest = cluster_id(cluster, group).to_bytes(8, "big")[:6]
    return bytes((first & 0xFC | 2, *rest))


def nodes_id(cluster: str) -> int:
    """Return the id of a cluster, whatever its groups and nodes are. Never 0."""
    return _hash64(b"fttcp nodes", cluster)


def node_id(name: str) -> int:
    """Return the id of a node. Never 0."""
    return _hash64(b"fttcp node", name)


def _hash64(person: bytes, *names: str) -> int:
    digest = hashlib.blake2b(digest_size=8, person=person)
    for name in names:
        raw = name.encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return int.from_bytes(digest.digest(), "big") or 1
