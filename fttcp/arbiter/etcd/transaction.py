"""The JSON of etcd's transactions (message TxnRequest of its v3 API), and what they return."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

import msgspec

from fttcp.arbiter.etcd.gateway import EtcdError, Json
from fttcp.ownership.members import Members
from fttcp.ownership.ownership import Record

Step = Json
"""One comparison or one operation."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one register, as one node uses them."""

    prefix: str
    cluster: str
    group: str
    node: str

    @property
    def record(self) -> str:
        """What stands."""
        return f"{self.prefix}/{self.cluster}/{self.group}/record"

    @property
    def lease(self) -> str:
        """There while the lease of a solo holder runs."""
        return f"{self.prefix}/{self.cluster}/{self.group}/lease"

    @property
    def fence(self) -> str:
        """Compared by all changes of the node."""
        return f"{self.prefix}/{self.cluster}/{self.group}/fence/{self.node}"

    @property
    def members(self) -> str:
        """The nodes of the cluster, of all groups."""
        return members_key(self.prefix, self.cluster)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a transaction read: the record, and the values of ``lease``, ``fence`` and ``members`` (None:
    absent)."""

    record: Record | None
    lease: bytes | None
    fence: bytes | None
    members: bytes | None


def members_key(prefix: str, cluster: str) -> str:
    """Return where the nodes of a cluster stand: below no group."""
    return f"{prefix}/{cluster}/members"


def encoded(record: Record | None) -> bytes | None:
    """Return the one value that stands for a record."""
    return None if record is None else msgspec.json.encode(record)


def absent_or(key: str, value: bytes | None) -> Step:
    """Compare that the key has this value, or, for None, that it is absent."""
    if value is None:
        return {"key": _text(key), "target": "VERSION", "version": "0"}
    return {"key": _text(key), "target": "VALUE", "value": _text(value)}


def put(key: str, value: bytes, lease: str = "0") -> Step:
    """Set a key; with ``lease``, it goes when that lease ends."""
    return {"requestPut": {"key": _text(key), "value": _text(value), "lease": lease}}


def remove(key: str) -> Step:
    """Remove a key."""
    return {"requestDeleteRange": {"key": _text(key)}}


def txn(keys: Keys, compare: list[Step], changes: list[Step]) -> Json:
    """Return a transaction: if all comparisons hold, the changes; in any case read the register afterwards.

    Its reads are linearizable, also when it changes nothing.
    """
    reads = [
        {"requestRange": {"key": _text(key)}} for key in (keys.record, keys.lease, keys.fence, keys.members)
    ]
    return {"compare": compare, "success": [*changes, *reads], "failure": reads}


def seen_in(answer: Json, keys: Keys) -> tuple[bool, Seen]:
    """Return whether the comparisons held, and what was read. Raises EtcdError."""
    try:
        values = [_value(response) for response in answer["responses"][-4:]]
        record, lease, fence, members = values
        return bool(answer.get("succeeded", False)), Seen(
            record_in(record, keys.record), lease, fence, members
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise EtcdError(f"a transaction was answered with {answer!r:.200}") from error


def record_in(value: bytes | None, key: str) -> Record | None:
    """Return the record that a key has. Raises EtcdError."""
    try:
        return None if value is None else msgspec.json.decode(value, type=Record)
    except msgspec.MsgspecError as error:
        raise EtcdError(f"key {key} holds what is no record: {value!r:.200}") from error


def members_in(value: bytes | None) -> Members:
    """Return the nodes' record that ``members`` has. Raises EtcdError."""
    try:
        return Members() if value is None else msgspec.json.decode(value, type=Members)
    except msgspec.MsgspecError as error:
        raise EtcdError(f"key members holds what is no record of nodes: {value!r:.200}") from error


def all_below(prefix: str, cluster: str) -> Json:
    """Return a question for all that stands of a cluster."""
    return _span(prefix, cluster)


def unchanged_since(prefix: str, cluster: str, revision: int) -> Step:
    """Compare that nothing of a cluster was changed after this revision."""
    span = _span(prefix, cluster)
    return {**span, "target": "MOD", "result": "LESS", "mod_revision": str(revision + 1)}


def found_in(answer: Json) -> tuple[dict[str, bytes], int]:
    """Return the keys of ``all_below`` with their values, and the revision at which they were read. Raises
    EtcdError."""
    try:
        pairs = {
            b64decode(kv["key"]).decode(): b64decode(kv.get("value", "")) for kv in answer.get("kvs", [])
        }
        return pairs, int(answer["header"]["revision"])
    except (KeyError, TypeError, ValueError) as error:
        raise EtcdError(f"a range was answered with {answer!r:.200}") from error


def _span(prefix: str, cluster: str) -> Json:
    first = f"{prefix}/{cluster}/"
    return {"key": _text(first), "range_end": _text(first[:-1] + chr(ord(first[-1]) + 1))}


def _value(response: dict[str, Any]) -> bytes | None:
    found = response["response_range"].get("kvs", [])
    return b64decode(found[0].get("value", "")) if found else None


def _text(value: str | bytes) -> str:
    return b64encode(value.encode() if isinstance(value, str) else value).decode()
