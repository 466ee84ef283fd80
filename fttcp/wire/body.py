"""Codec of the heartbeat's body: a msgpack map with short keys and a version.

A reader ignores keys that it does not know, so a newer peer may add fields; it refuses another
version, missing fields, and values out of bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeVar

import msgpack  # type: ignore[import-untyped]

from fttcp import __version__
from fttcp.core.model import Body, Cause, Mode, Role
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KEY_ID_BYTES, MAX_KEYS

VERSION = 3
MAX_BYTES = 512
"""FTT_BEAT_BODY_MAX: what fits into one heartbeat."""
MAX_NAME = 64
"""Longest name of a node or group, in bytes of UTF-8."""
_MOST_RELEASE = 32
_DIGEST_BYTES = 3
_MOST_TERMS = 32
_MAC_BYTES = 6
_U64 = 2**64 - 1
_MAX_PRIORITY = 2**31 - 1

_Word = TypeVar("_Word", bound=StrEnum)


def encode(body: Body, key_ids: Sequence[str] = (), mac: bytes = b"", probe: int = 0) -> bytes:
    """Return the bytes of a body, at most MAX_BYTES. Raises WireError if a value is out of bounds.

    ``key_ids``: names of the keys that the sender believes, the one that it sends with first. ``mac``: of
    its service interface, if it has one. ``probe``: the number of the last probes that it sent through its
    mirror; 0: none.
    """
    fields = {
        "v": VERSION,
        "g": body.group,
        "n": body.name,
        "r": body.role.value,
        "m": body.mode.value,
        "e": body.epoch,
        "s": body.session,
        "h": body.healthy,
        "c": body.carrier,
        "p": body.priority,
        "l": body.links,
        "q": body.request,
        "x": body.refused,
        "w": body.reason.value,
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
        "rl": __version__,
        "mi": body.mirror,
        "ts": b"".join(digest.to_bytes(_DIGEST_BYTES, "big") for digest in body.terms),
    }
    if key_ids:
        fields["i"] = bytes.fromhex("".join(key_ids))
    if mac:
        fields["mc"] = mac
    if probe:
        fields["pr"] = probe
    try:
        packed: bytes = msgpack.packb(fields)
    except (OverflowError, ValueError, TypeError) as error:
        raise WireError(f"body of group {body.group!r} cannot be encoded: {error}") from error
    if decode(packed) != body:
        raise WireError(f"body of group {body.group!r} does not survive encoding: {body}")
    return packed


def decode(data: bytes) -> Body:
    """Return the body in ``data``. Raises WireError that names the field at fault."""
    if len(data) > MAX_BYTES:
        raise WireError(f"body: {len(data)} bytes, more than {MAX_BYTES}")
    try:
        raw = msgpack.unpackb(data, strict_map_key=True, max_map_len=64, max_array_len=64)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise WireError(f"body: not msgpack: {error or type(error).__name__}") from error
    if not isinstance(raw, dict):
        raise WireError(f"body: a {type(raw).__name__}, not a map")
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
        reason=_word(raw, "w", Cause),
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
        terms=_digests(raw, "ts"),
        mirror=_flag(raw, "mi"),
    )


def key_ids(data: bytes) -> tuple[str, ...]:
    """Return the names of the keys that the sender of a body believes, the one that it sends with first; ()
    if it does not tell. ``data`` is what ``decode`` took. Raises WireError."""
    told = msgpack.unpackb(data).get("i", b"")
    if not isinstance(told, bytes) or len(told) % KEY_ID_BYTES or len(told) > MAX_KEYS * KEY_ID_BYTES:
        raise WireError(f"body.i: {told!r:.80} is not a row of names of keys")
    return tuple(told[at : at + KEY_ID_BYTES].hex() for at in range(0, len(told), KEY_ID_BYTES))


def mac(data: bytes) -> bytes:
    """Return the MAC address of the sender's service interface; b"" if it does not tell. ``data`` is what
    ``decode`` took. Raises WireError."""
    told = msgpack.unpackb(data).get("mc", b"")
    if not isinstance(told, bytes) or len(told) not in (0, _MAC_BYTES):
        raise WireError(f"body.mc: {told!r:.80} is not a MAC address")
    return told


def release(data: bytes) -> str:
    """Return the release that a body's sender runs; "" if it does not tell. Of any version of bodies."""
    try:
        raw = msgpack.unpackb(data[:MAX_BYTES], strict_map_key=True, max_map_len=64, max_array_len=64)
    except (ValueError, msgpack.UnpackException, RecursionError):
        return ""
    told = raw.get("rl") if isinstance(raw, dict) else None
    return told if isinstance(told, str) and len(told) <= _MOST_RELEASE and told.isprintable() else ""


def probe(data: bytes) -> int:
    """Return the number of the last probes that the sender of a body sent through its mirror; 0: none.
    ``data`` is what ``decode`` took. Raises WireError."""
    raw = msgpack.unpackb(data)
    return _integer(raw, "pr", _U64) if "pr" in raw else 0


def _field(raw: dict[Any, Any], key: str) -> Any:
    if key not in raw:
        raise WireError(f"body.{key}: missing")
    return raw[key]


def _integer(raw: dict[Any, Any], key: str, most: int) -> int:
    value = _field(raw, key)
    if type(value) is not int or not 0 <= value <= most:
        raise WireError(f"body.{key}: {value!r:.80} is not an integer from 0 to {most}")
    return value


def _flag(raw: dict[Any, Any], key: str) -> bool:
    value = _field(raw, key)
    if not isinstance(value, bool):
        raise WireError(f"body.{key}: {value!r:.80} is neither true nor false")
    return value


def _name(raw: dict[Any, Any], key: str, least: int = 1) -> str:
    value = _field(raw, key)
    if not isinstance(value, str) or not least <= len(value.encode()) <= MAX_NAME:
        raise WireError(f"body.{key}: {value!r:.80} is not a name of {least} to {MAX_NAME} bytes")
    return value


def _digests(raw: dict[Any, Any], key: str) -> tuple[int, ...]:
    value = _field(raw, key)
    if not isinstance(value, bytes) or len(value) % _DIGEST_BYTES or len(value) > _MOST_TERMS * _DIGEST_BYTES:
        raise WireError(f"body.{key}: {value!r:.80} is not a row of at most {_MOST_TERMS} digests")
    starts = range(0, len(value), _DIGEST_BYTES)
    return tuple(int.from_bytes(value[at : at + _DIGEST_BYTES], "big") for at in starts)


def _word(raw: dict[Any, Any], key: str, kind: type[_Word]) -> _Word:
    value = _field(raw, key)
    try:
        return kind(value)
    except ValueError as error:
        allowed = ", ".join(kind)
        raise WireError(f"body.{key}: {value!r:.80} is none of {allowed}") from error
