"""Identities, the key file, and bodies that are refused."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from fttcp.ownership.model import Body, Mode, Role
from fttcp.wire import body, identity, keyfile
from fttcp.wire.errors import WireError

BODY = Body("web", "alpha", Role.PRIMARY, Mode.PAIRED, 3, 3 << 32, True, True, 100, 3)


def test_a_newer_peer_may_add_fields() -> None:
    raw = msgpack.unpackb(body.encode(BODY)) | {"zz": [1, 2, {"a": b"b"}]}
    assert body.decode(msgpack.packb(raw)) == BODY


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"v": 1}, "body.v: version 1"),
        ({"e": -1}, "body.e"),
        ({"e": True}, "body.e"),
        ({"h": 1}, "body.h"),
        ({"r": "king"}, "body.r"),
        ({"r": ["x"]}, "body.r"),
        ({"n": ""}, "body.n"),
        ({"g": "x" * 65}, "body.g"),
        ({"l": 2**64 - 1 + 0.5}, "body.l"),
        ({"y": 1}, "body.y"),
        ({"b": "x" * 65}, "body.b"),
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
    assert len(keyfile.load(path).sending) == 32 and path.stat().st_mode & 0o777 == 0o600
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


def test_a_peers_password_is_one_line_that_nobody_else_reads(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.touch(0o600)
    for good in (b"of both\n", b" kept as it is \xff\n", b"x", b"y" * 80):
        path.write_bytes(good)
        assert keyfile.load_password(path) == good.removesuffix(b"\n")
    for bad in (b"", b"\n", b"two\nlines\n", b"z" * 81):
        path.write_bytes(bad)
        with pytest.raises(WireError, match="expected one line of 1 to 80 bytes"):
            keyfile.load_password(path)
    path.chmod(0o640)
    with pytest.raises(WireError, match="chmod 600"):
        keyfile.load_password(path)
    with pytest.raises(WireError, match="put the key that the peer has there"):
        keyfile.load_password(tmp_path / "none")


def test_keys_are_exchanged_in_three_stages(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keyfile.generate(path)
    old = keyfile.load(path)
    assert old.stage == "one key"
    with pytest.raises(WireError, match="no key that was added"):
        keyfile.turn(path)
    with pytest.raises(WireError, match="nothing to drop"):
        keyfile.drop(path)
    added = keyfile.add(path)
    assert added == keyfile.load(path) and added.stage == "added"
    assert added.sending == old.sending and len(added.keys) == 2
    with pytest.raises(WireError, match="finish the exchange"):
        keyfile.add(path)
    turned = keyfile.turn(path)
    assert turned == keyfile.load(path) and turned.stage == "turned"
    assert turned.keys == added.keys and turned.sending != old.sending
    assert turned.sending_first == (turned.sending, old.sending)
    new = keyfile.drop(path)
    assert new == keyfile.load(path) and new.keys == (turned.sending,)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "0 keys; expected 1 to 4"),
        ("A\nB\n", "0 keys are marked 'send'; expected one"),
        ("A send\nB send\n", "2 keys are marked"),
        ("A send\nA\n", "stands there twice"),
        ("A now\n", "line 1: a key may be followed by 'send'"),
        ("A send\nB\nC\nD\nE\n", "5 keys; expected 1 to 4"),
    ],
)
def test_what_is_wrong_with_a_key_file(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "key"
    path.write_text("".join(c * 64 if c in "ABCDE" else c for c in text))
    path.chmod(0o600)
    with pytest.raises(WireError, match=error):
        keyfile.load(path)


def test_a_key_ring_does_not_show_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"# made by hand\n{'01' * 32} send # the old one\n{'02' * 32}\n")
    path.chmod(0o600)
    ring = keyfile.load(path)
    assert ring.send == 0 and "0101" not in f"{ring} {ring!r}"
    first, second = (keyfile.key_id(bytes([number]) * 32) for number in (1, 2))
    assert str(ring) == f"{first} (send), {second}"


def test_what_is_told_of_clocks_comes_over() -> None:
    said = body.ClockWord(-(2**61), {1: -5, 2**64 - 1: 2**62})
    data = body.encode(BODY, body.Aside(clock=said))
    assert body.aside_of(body.unpack(data)).clock == said and body.decode(data) == BODY
    assert body.aside_of(body.unpack(body.encode(BODY))).clock is None


def test_clocks_are_left_out_where_there_is_no_room() -> None:
    many = body.ClockWord(2**61, {2**63 + number: 2**61 for number in range(30)})
    data = body.encode(BODY, body.Aside(clock=many))
    assert len(data) <= body.MAX_BYTES and body.aside_of(body.unpack(data)).clock is None


@pytest.mark.parametrize("told", [7, [], [1, 2], [1, 2, "x"], [1.5], [True], {"a": 1}])
def test_an_odd_word_of_clocks_is_refused(told: object) -> None:
    with pytest.raises(WireError, match=r"body\.wc: "):
        body.aside_of({"wc": told})


def test_the_mac_addresses_of_a_node_come_over() -> None:
    said = body.Aside(mac=b"interf", service_mac=b"servic")
    data = body.encode(BODY, said)
    assert body.aside_of(body.unpack(data)) == said and body.decode(data) == BODY
    assert body.aside_of(body.unpack(body.encode(BODY))) == body.Aside()


def test_the_adapters_of_a_node_come_over() -> None:
    said = body.Aside(
        adapters=(body.AdapterWord("svc1", False, True, False), body.AdapterWord("svc0", True, False, True))
    )
    assert body.aside_of(body.unpack(body.encode(BODY, said))) == said


def test_what_a_backup_lacks_comes_over() -> None:
    said = body.Aside(stored_behind=True)
    assert body.aside_of(body.unpack(body.encode(BODY, said))) == said
    with pytest.raises(WireError, match=r"body\.sb: "):
        body.aside_of({"sb": 1})


@pytest.mark.parametrize(
    "told", [7, ["svc0"], {"svc0": 8}, {"svc0": -1}, {"svc0": True}, {7: 1}, {"s" * 16: 1}]
)
def test_odd_words_of_adapters_are_refused(told: object) -> None:
    with pytest.raises(WireError, match=r"body\.ad: "):
        body.aside_of({"ad": told})


@pytest.mark.parametrize("key", ["mc", "sm"])
@pytest.mark.parametrize("told", [7, "servic", b"short", b"longer."])
def test_an_odd_mac_address_is_refused(key: str, told: object) -> None:
    with pytest.raises(WireError, match=rf"body\.{key}: "):
        body.aside_of({key: told})
