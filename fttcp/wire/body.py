"""Codec of the heartbeat's body: a msgpack map with short keys and a version.

A reader ignores keys that it does not know, so a newer peer may add fields; it refuses another
version, missing fields, and values out of bounds. So a release that adds a key leaves the version as it
is, and reads a body without it; an unknown role or mode is refused, since nobody could say what it entitles
to; an unknown cause, which only people read, is `other`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

import msgpack  # type: ignore[import-untyped]

from fttcp import __version__, _numbers
from fttcp.ownership.model import Body, Cause, Mode, Role
from fttcp.ownership.versions import Versions
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KEY_ID_BYTES, MAX_KEYS

VERSION = 4
MAX_BYTES = _numbers.BEAT_BODY_MAX
"""What fits into one heartbeat."""
MAX_NAME = 64
"""Longest name of a node or group, in bytes of UTF-8."""
_MOST_RELEASE = 32
_DIGEST_BYTES = 3
_MOST_TERMS = 32
_MAC_BYTES = 6
_MOST_INTERFACE = 15
_MOST_VERSION = 255
_U64 = 2**64 - 1
_MAX_PRIORITY = 2**31 - 1

_packer = msgpack.Packer()
_Word = TypeVar("_Word", bound=StrEnum)
Fields = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class ClockWord:
    """What a node knows of its clocks, for those that compare theirs with it."""

    wall_ahead_ns: int
    """CLOCK_REALTIME is ahead of CLOCK_BOOTTIME by so much."""
    delays_ns: Mapping[int, int]
    """Id of a node -> by how much later than sent its heartbeats come (``Liveness.delay_ns``)."""


@dataclass(frozen=True, slots=True)
class AdapterWord:
    """What a node tells of one of its adapters to the service network."""

    name: str
    used: bool
    """The service addresses are at it when this node serves."""
    carrier: bool
    reference: bool
    """A reference address answers over it, or none is asked."""


@dataclass(frozen=True, slots=True)
class Aside:
    """What a body bears that is not for the role machine. A sender need not tell it."""

    key_ids: tuple[str, ...] = ()
    """Names of the keys that the sender believes, the one that it sends with first."""
    mac: bytes = b""
    """Of the sender's service interface."""
    service_mac: bytes = b""
    """Of its service, if that has one of its own."""
    probe: int = 0
    """The number of the last probes that the sender sent through its mirror; 0: none."""
    clock: ClockWord | None = None
    adapters: tuple[AdapterWord, ...] = ()
    """In their order; () from a node that has one only."""
    stored_behind: bool = False
    """The sender's backup has not stored all replies that the sender has."""
    leads: bool = False
    """The sender's server leads another one by its calls, and all of these are known."""


def encode(body: Body, aside: Aside = Aside()) -> bytes:
    """Return the bytes of a body, at most MAX_BYTES. Raises WireError if they are more, or a number has more
    than 64 bits. What a role machine says is in bounds: nobody looks twice, since a takeover waits for it."""
    fields: Fields = {
        "v": VERSION,
        "g": body.group,
        "n": body.name,
        "r": body.role,
        "m": body.mode,
        "e": body.epoch,
        "s": body.session,
        "h": body.healthy,
        "c": body.carrier,
        "p": body.priority,
        "l": body.links,
        "q": body.request,
        "x": body.refused,
        "w": body.reason,
        "d": body.lease_ns,
        "t": body.maintenance,
        "f": body.reference,
        "b": body.partner,
        "o": body.offer,
        "y": body.yields,
        "k": body.seeking,
        "a": body.barred,
        "u": body.used,
        "z": body.offered_to,
        "j": body.run,
        "rd": body.ready,
        "sv": body.served,
        "rl": __version__,
        "mi": body.mirror,
        "cv": list(body.speaks),
        "ts": _row(body.terms),
    }
    if aside.key_ids:
        fields["i"] = bytes.fromhex("".join(aside.key_ids))
    if aside.mac:
        fields["mc"] = aside.mac
    if aside.service_mac:
        fields["sm"] = aside.service_mac
    if aside.probe:
        fields["pr"] = aside.probe
    if body.checkpoint:
        fields["ck"] = body.checkpoint
    if aside.clock is not None:
        fields["wc"] = [aside.clock.wall_ahead_ns, *chain.from_iterable(aside.clock.delays_ns.items())]
    if aside.stored_behind:
        fields["sb"] = True
    if aside.leads:
        fields["ld"] = True
    if aside.adapters:
        fields["ad"] = {one.name: one.used | one.carrier << 1 | one.reference << 2 for one in aside.adapters}
    try:
        packed: bytes = _packer.pack(fields)
        for key in ("ad", "wc"):  # people can do without them
            if len(packed) > MAX_BYTES and fields.pop(key, None):
                packed = _packer.pack(fields)
    except (OverflowError, ValueError, TypeError) as error:
        raise WireError(f"body of group {body.group!r} cannot be encoded: {error}") from error
    if len(packed) > MAX_BYTES:
        raise WireError(f"body of group {body.group!r}: {len(packed)} bytes, more than {MAX_BYTES}")
    return packed


@lru_cache(maxsize=1024)
def _row(digests: tuple[int, ...]) -> bytes:
    return b"".join(digest.to_bytes(_DIGEST_BYTES, "big") for digest in digests)


def decode(data: bytes) -> Body:
    """Return the body in ``data``. Raises WireError that names the field at fault."""
    return body_of(unpack(data))


def unpack(data: bytes) -> Fields:
    """Return the fields in ``data``, of any version. Raises WireError."""
    if len(data) > MAX_BYTES:
        raise WireError(f"body: {len(data)} bytes, more than {MAX_BYTES}")
    try:
        raw = msgpack.unpackb(data, strict_map_key=True, max_map_len=64, max_array_len=64)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise WireError(f"body: not msgpack: {error or type(error).__name__}") from error
    if not isinstance(raw, dict):
        raise WireError(f"body: a {type(raw).__name__}, not a map")
    return raw


def body_of(raw: Fields) -> Body:
    """Return the body in these fields. Raises WireError that names the field at fault."""
    version = _integer(raw, "v", _U64)
    if version != VERSION:
        raise WireError(
            f"body.v: version {version}, this node speaks {VERSION}: run one release on both nodes"
        )
    return Body(
        group=_name(raw, "g"),
        name=_name(raw, "n"),
        role=_word(raw, "r", Role),
        mode=_word(raw, "m", Mode),
        epoch=_integer(raw, "e", _U64),
        session=_integer(raw, "s", _U64),
        healthy=_flag(raw, "h"),
        carrier=_flag(raw, "c"),
        priority=_integer(raw, "p", _MAX_PRIORITY),
        links=_integer(raw, "l", _U64),
        request=_integer(raw, "q", _U64),
        refused=_integer(raw, "x", _U64),
        reason=_cause(raw, "w"),
        lease_ns=_integer(raw, "d", _U64),
        maintenance=_integer(raw, "t", _U64),
        reference=_flag(raw, "f"),
        partner=_name(raw, "b", least=0),
        offer=_integer(raw, "o", _U64),
        yields=_flag(raw, "y"),
        seeking=_flag(raw, "k"),
        barred=_flag(raw, "a"),
        used=_integer(raw, "u", _U64),
        offered_to=_integer(raw, "z", _U64),
        run=_integer(raw, "j", _U64),
        ready=_flag(raw, "rd"),
        served=_flag(raw, "sv") if "sv" in raw else True,
        terms=_digests(raw, "ts"),
        mirror=_flag(raw, "mi"),
        speaks=_versions(raw, "cv"),
        checkpoint=_name(raw, "ck") if "ck" in raw else "",
    )


def aside_of(raw: Fields) -> Aside:
    """Return what stands beside the body in these fields. Raises WireError that names the field at fault."""
    keys = raw.get("i", b"")
    if not isinstance(keys, bytes) or len(keys) % KEY_ID_BYTES or len(keys) > MAX_KEYS * KEY_ID_BYTES:
        raise WireError(f"body.i: {keys!r:.80} is not a row of names of keys")
    starts = range(0, len(keys), KEY_ID_BYTES)
    return Aside(
        key_ids=tuple(keys[at : at + KEY_ID_BYTES].hex() for at in starts),
        mac=_mac(raw, "mc"),
        service_mac=_mac(raw, "sm"),
        probe=_integer(raw, "pr", _U64) if "pr" in raw else 0,
        clock=_clock(raw["wc"]) if "wc" in raw else None,
        adapters=_adapters(raw["ad"]) if "ad" in raw else (),
        stored_behind=_flag(raw, "sb") if "sb" in raw else False,
        leads=_flag(raw, "ld") if "ld" in raw else False,
    )


def _mac(raw: Fields, key: str) -> bytes:
    mac = raw.get(key, b"")
    if not isinstance(mac, bytes) or len(mac) not in (0, _MAC_BYTES):
        raise WireError(f"body.{key}: {mac!r:.80} is not a MAC address")
    return mac


def _adapters(told: Any) -> tuple[AdapterWord, ...]:
    if not isinstance(told, dict) or not all(
        isinstance(name, str) and len(name) <= _MOST_INTERFACE and type(bits) is int and 0 <= bits < 8
        for name, bits in told.items()
    ):
        raise WireError(f"body.ad: {told!r:.80} does not name adapters, each with three bits")
    return tuple(
        AdapterWord(name, bool(bits & 1), bool(bits & 2), bool(bits & 4)) for name, bits in told.items()
    )


def _clock(told: Any) -> ClockWord:
    if not isinstance(told, list) or not len(told) % 2 or any(type(value) is not int for value in told):
        raise WireError(f"body.wc: {told!r:.80} is not a difference of clocks, and delays by node")
    return ClockWord(told[0], dict(zip(told[1::2], told[2::2], strict=True)))


def release_of(raw: Fields) -> str:
    """Return the release that a body's sender runs; "" if it does not tell. Of any version of bodies."""
    told = raw.get("rl")
    return told if isinstance(told, str) and len(told) <= _MOST_RELEASE and told.isprintable() else ""


def _field(raw: Fields, key: str) -> Any:
    if key not in raw:
        raise WireError(f"body.{key}: missing")
    return raw[key]


def _integer(raw: Fields, key: str, most: int) -> int:
    value = _field(raw, key)
    if type(value) is not int or not 0 <= value <= most:
        raise WireError(f"body.{key}: {value!r:.80} is not an integer from 0 to {most}")
    return value


def _flag(raw: Fields, key: str) -> bool:
    value = _field(raw, key)
    if not isinstance(value, bool):
        raise WireError(f"body.{key}: {value!r:.80} is neither true nor false")
    return value


def _name(raw: Fields, key: str, least: int = 1) -> str:
    value = _field(raw, key)
    if not isinstance(value, str) or not least <= len(value.encode()) <= MAX_NAME:
        raise WireError(f"body.{key}: {value!r:.80} is not a name of {least} to {MAX_NAME} bytes")
    return value


def _digests(raw: Fields, key: str) -> tuple[int, ...]:
    value = _field(raw, key)
    if not isinstance(value, bytes) or len(value) % _DIGEST_BYTES or len(value) > _MOST_TERMS * _DIGEST_BYTES:
        raise WireError(f"body.{key}: {value!r:.80} is not a row of at most {_MOST_TERMS} digests")
    starts = range(0, len(value), _DIGEST_BYTES)
    return tuple(int.from_bytes(value[at : at + _DIGEST_BYTES], "big") for at in starts)


def _versions(raw: Fields, key: str) -> Versions:
    value = _field(raw, key)
    if isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value):
        oldest, newest = value
        if 0 <= oldest <= newest <= _MOST_VERSION:
            return oldest, newest
    raise WireError(f"body.{key}: {value!r:.80} is not an oldest and a newest version")


def _cause(raw: Fields, key: str) -> Cause:
    value = _field(raw, key)
    if not isinstance(value, str):
        raise WireError(f"body.{key}: {value!r:.80} is not a cause")
    return Cause(value) if value in set(Cause) else Cause.OTHER


def _word(raw: Fields, key: str, kind: type[_Word]) -> _Word:
    value = _field(raw, key)
    try:
        return kind(value)
    except ValueError as error:
        allowed = ", ".join(kind)
        raise WireError(f"body.{key}: {value!r:.80} is none of {allowed}") from error
