"""Identities, the key file, and bodies that are refused."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from fttcp.core.model import Body, Mode, Role
from fttcp.wire import body, identity, keyfile
from fttcp.wire.errors import WireError

BODY = Body("web", "alpha", Role.PRIMARY, Mode.PAIRED, 3, 3 << 32, True, True, 100, 3)


def test_a_newer_peer_may_add_fields() -> None:
    raw = msgpack.unpackb(body.encode(BODY)) | {"zz": [1, 2, {"a": b"b"}]}
    assert body.decode(msgpack.packb(raw)) == BODY


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"v": 2}, "body.v: version 2"),
        ({"e": -1}, "body.e"),
        ({"e": True}, "body.e"),
        ({"h": 1}, "body.h"),
        ({"r": "king"}, "body.r"),
        ({"r": ["x"]}, "body.r"),
        ({"n": ""}, "body.n"),
        ({"g": "x" * 65}, "body.g"),
        ({"l": 256}, "body.l"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, object], where: str) -> None:
    raw = msgpack.unpackb(body.encode(BODY)) | change
    with pytest.raises(WireError, match=where):
        body.decode(msgpack.packb(raw))


def test_missing_oversized_and_foreign_bodies_are_refused() -> None:
    for data in (b"", b"\xc1", msgpack.packb([1]), msgpack.packb({"v": 1}), b"\x80" * 600):
        with pytest.raises(WireError):
            body.decode(data)


def test_ids_are_stable_distinct_and_fit_64_bits() -> None:
    ids = {identity.cluster_id("a", "bc"), identity.cluster_id("ab", "c"), identity.node_id("a")}
    assert len(ids) == 3 and all(0 < number < 2**64 for number in ids)
    assert identity.node_id("alpha") == identity.node_id("alpha")


def test_key_file_round_trip_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keyfile.generate(path)
    assert len(keyfile.load(path)) == 32 and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(WireError, match="never overwritten"):
        keyfile.generate(path)
    path.chmod(0o644)
    with pytest.raises(WireError, match="chmod 600"):
        keyfile.load(path)
    path.chmod(0o600)
    path.write_text("abcd\n")
    with pytest.raises(WireError, match="2 bytes; expected 32"):
        keyfile.load(path)
    with pytest.raises(WireError, match="fttcp keygen"):
        keyfile.load(tmp_path / "none")
