"""What nodes and the witness say to each other: one datagram each, versioned and authenticated.

A datagram is 3 bytes of magic, one of version, 4 of key id, 16 of MAC, then a msgpack map with short
keys. The MAC is keyed BLAKE2b (RFC 7693) over all the rest; requests and replies are personalised
differently, so that neither can pass for the other. Unknown keys of a map are ignored: within one
version fields may be added.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from fttcp.ownership.members import MOST_NODES, Members
from fttcp.ownership.ownership import Outcome, Record
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KeyRing, key_id

VERSION = 1
MAX_BYTES = 1200
"""No datagram is larger: it fits every link that IPv6 permits."""
MAX_LISTED = 2
"""Registers in one reply to STATUS."""

_MAGIC = b"FTW"
_MAC_BYTES = 16
_ID_AT, _MAC_AT, _BODY_AT = 4, 8, 24
_PERSON_REQUEST, _PERSON_REPLY = b"fttcp wit ask", b"fttcp wit answer"

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Group = Annotated[str, Meta(max_length=64)]
_U64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_MAX_EPOCH = 2**62


class Drop(StrEnum):
    """Why a datagram was thrown away."""

    FORMAT = "format"
    VERSION = "version"
    KEY = "unknown-key"
    MAC = "bad-mac"
    CLUSTER = "other-cluster"
    REPLAY = "replay"
    BUSY = "busy"


class Dropped(WireError):
    """A datagram that is not to be heeded; ``reason`` is what is counted."""

    def __init__(self, reason: Drop, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class Kind(StrEnum):
    """What a request wants. STATUS changes nothing and needs no session; all others do. ROLL, TELL and FORGET
    are about the record of the nodes."""

    PROPOSE = "propose"
    RENEW = "renew"
    INQUIRE = "inquire"
    PING = "ping"
    STATUS = "status"
    ROLL = "roll"
    TELL = "tell"
    FORGET = "forget"


class ReplyKind(StrEnum):
    """What a reply is."""

    ANSWER = "answer"
    SESSION = "session"
    """Nothing was done: ask again within the session that this reply names."""
    STATUS = "status"


class Request(Struct, frozen=True, kw_only=True, omit_defaults=True, rename={
    "cluster": "c", "node": "n", "boot": "b", "counter": "q", "session": "s", "kind": "k",
    "group": "g", "expected": "x", "wanted": "w", "peers": "p", "apart": "a",
}):  # fmt: skip
    """A node's request.

    ``boot``: random, one for each client's life; ``counter``: grows with each datagram of that life;
    ``session``: what the witness gave this client, 0 before. For STATUS, ``group`` is the name after
    which registers are listed. RENEW has its record in ``wanted``. ``peers``: whom the file of
    the node names, for TELL; the one to FORGET, and by whom. ``apart``:
    see ``Members.tell``.
    """

    cluster: _Name
    node: _Name
    boot: _U64
    counter: _U64
    kind: Kind
    session: _U64 = 0
    group: _Group = ""
    expected: Record | None = None
    wanted: Record | None = None
    peers: Annotated[list[_Name], Meta(max_length=MOST_NODES - 1)] = []
    apart: bool = False


class Listed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One register, as STATUS shows it. ``lease_ns``: what is left of a solo holder's lease."""

    group: str
    record: Record | None = None
    lease_ns: int | None = None


class Status(Struct, frozen=True, kw_only=True):
    """What the witness says about itself. ``counters`` are totals since its start."""

    release: str
    uptime_ns: int
    lease_ns: int
    drift_ppm: int
    counters: dict[str, int]
    registers: list[Listed]
    more: bool


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True, rename={
    "cluster": "c", "node": "n", "boot": "b", "counter": "q", "session": "s", "kind": "k",
    "outcome": "o", "record": "r", "lease_ns": "l", "wait_ns": "t", "why": "y", "status": "i",
    "members": "m",
}):  # fmt: skip
    """The witness's reply: names the request by ``node``, ``boot`` and ``counter``; the rest is Verdict's."""

    cluster: _Name
    node: _Name
    boot: _U64
    counter: _U64
    kind: ReplyKind
    session: _U64 = 0
    outcome: Outcome = Outcome.LOST
    record: Record | None = None
    lease_ns: _U64 | None = None
    wait_ns: _U64 = 0
    why: str = ""
    status: Status | None = None
    members: Members | None = None


class Keys:
    """The keys that are accepted, and the one that signs; they can be exchanged while everything runs."""

    def __init__(self, ring: KeyRing) -> None:
        self.change(ring)

    def change(self, ring: KeyRing) -> None:
        """Use these keys from now on."""
        self._by_id = {_key_id(key): key for key in ring.keys}
        self.signing = _key_id(ring.sending)

    def find(self, identity: bytes) -> bytes | None:
        """Return the key of this id."""
        return self._by_id.get(identity)


def _key_id(key: bytes) -> bytes:
    return bytes.fromhex(key_id(key))


def encode_request(request: Request, keys: Keys) -> bytes:
    """Return a signed datagram. Raises WireError if it would be too large."""
    return _seal(msgspec.msgpack.encode(request), keys, keys.signing, _PERSON_REQUEST)


def encode_reply(reply: Reply, keys: Keys, identity: bytes) -> bytes:
    """Return a datagram signed with the key that the request was signed with."""
    return _seal(msgspec.msgpack.encode(reply), keys, identity, _PERSON_REPLY)


def signer(data: bytes) -> bytes:
    """Return the key id of a datagram. Raises Dropped if it is not of this protocol and version."""
    if len(data) <= _BODY_AT or len(data) > MAX_BYTES or data[:3] != _MAGIC:
        raise Dropped(Drop.FORMAT, f"{len(data)} bytes that are no datagram of this protocol")
    if data[3] != VERSION:
        raise Dropped(Drop.VERSION, f"version {data[3]}, this release speaks {VERSION}: run one release")
    return data[_ID_AT:_MAC_AT]


def decode_request(data: bytes, keys: Keys) -> Request:
    """Return the request in a datagram. Raises Dropped."""
    request = _open(data, keys, _PERSON_REQUEST, _REQUESTS)
    _check_records(request.expected, request.wanted)
    if request.kind in (Kind.PROPOSE, Kind.RENEW) and request.wanted is None:
        raise Dropped(Drop.FORMAT, f"a request to {request.kind.value} names no record")
    if request.kind in (Kind.PROPOSE, Kind.RENEW, Kind.INQUIRE) and not request.group:
        raise Dropped(Drop.FORMAT, f"a request to {request.kind.value} names no group")
    if len(request.peers) < {Kind.TELL: 1, Kind.FORGET: 2}.get(request.kind, 0):
        raise Dropped(Drop.FORMAT, f"a request to {request.kind.value} names no node")
    return request


def decode_reply(data: bytes, keys: Keys) -> Reply:
    """Return the reply in a datagram. Raises Dropped."""
    reply = _open(data, keys, _PERSON_REPLY, _REPLIES)
    _check_records(reply.record)
    members = reply.members
    if members is not None and not len(members.names) == len(members.named) <= MOST_NODES:
        raise Dropped(Drop.FORMAT, f"a record of nodes out of bounds: {members!r:.200}")
    return reply


_REQUESTS = msgspec.msgpack.Decoder(Request)
_REPLIES = msgspec.msgpack.Decoder(Reply)
_Message = TypeVar("_Message")


def _seal(body: bytes, keys: Keys, identity: bytes, person: bytes) -> bytes:
    key = keys.find(identity)
    if key is None or _BODY_AT + len(body) > MAX_BYTES:
        raise WireError(
            f"a witness message of {len(body)} bytes cannot be sent (most: {MAX_BYTES - _BODY_AT})"
        )
    head = _MAGIC + bytes((VERSION,)) + identity
    return head + _mac(key, person, head, body) + body


def _open(data: bytes, keys: Keys, person: bytes, decoder: msgspec.msgpack.Decoder[_Message]) -> _Message:
    key = keys.find(signer(data))
    if key is None:
        raise Dropped(Drop.KEY, f"signed with a key that is not ours (id {data[_ID_AT:_MAC_AT].hex()})")
    body = data[_BODY_AT:]
    if not hmac.compare_digest(_mac(key, person, data[:_MAC_AT], body), data[_MAC_AT:_BODY_AT]):
        raise Dropped(Drop.MAC, "the MAC does not fit")
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Dropped(Drop.FORMAT, f"authentic, but not understood: {error}") from error


def _mac(key: bytes, person: bytes, head: bytes, body: bytes) -> bytes:
    digest = hashlib.blake2b(head, key=key, digest_size=_MAC_BYTES, person=person)
    digest.update(body)
    return digest.digest()


def _check_records(*records: Record | None) -> None:
    for record in records:
        if record is not None and not (
            0 <= record.epoch <= _MAX_EPOCH and len(record.holder) <= 64 and len(record.backup) <= 64
        ):
            raise Dropped(Drop.FORMAT, f"a record out of bounds: {record!r:.200}")
