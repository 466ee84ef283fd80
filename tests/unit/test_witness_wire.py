"""Datagrams between nodes and the witness, byte for byte, and what is not heeded."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fttcp.ownership.ownership import Outcome, Ownership, Record
from fttcp.wire import witness as wire
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KeyRing
from fttcp.wire.witness import Drop, Dropped, Keys, Kind, Listed, Reply, ReplyKind, Request, Status

KEY, OTHER = bytes(range(32)), bytes(32)
KEYS = Keys(KeyRing((KEY,)))
PAIRED = Record(6, "alpha", Ownership.PAIRED, "beta")
SOLO = Record(7, "beta", Ownership.SOLO)
ASKED = Request(cluster="lab", node="beta", boot=0x1122334455667788, counter=9, kind=Kind.PING)
TOLD = Reply(cluster="lab", node="beta", boot=0x1122334455667788, counter=9, kind=ReplyKind.ANSWER)


def request(kind: Kind, **fields: object) -> Request:
    return Request(
        **{name: getattr(ASKED, name) for name in ASKED.__struct_fields__} | {"kind": kind} | fields
    )


def reply(kind: ReplyKind, **fields: object) -> Reply:
    return Reply(**{name: getattr(TOLD, name) for name in TOLD.__struct_fields__} | {"kind": kind} | fields)


STATUS = Status(
    release="0.1.0",
    uptime_ns=5,
    lease_ns=3_000_000_000,
    drift_ppm=1000,
    counters={"received": 3},
    registers=[Listed(group="web", record=SOLO, lease_ns=1)],
    more=False,
)
REQUESTS = {
    "propose": request(Kind.PROPOSE, session=77, group="web", expected=PAIRED, wanted=SOLO),
    "renew": request(Kind.RENEW, session=77, group="web", wanted=SOLO),
    "inquire": request(Kind.INQUIRE, session=77, group="web"),
    "ping": ASKED,
    "status": request(Kind.STATUS),
}
REPLIES = {
    "session": reply(ReplyKind.SESSION, session=77),
    "won": reply(ReplyKind.ANSWER, session=77, outcome=Outcome.WON, record=SOLO, lease_ns=3_000_000_000),
    "lost": reply(
        ReplyKind.ANSWER,
        session=77,
        record=SOLO,
        lease_ns=1_000_000_000,
        wait_ns=1_003_000_000,
        why="the lease of beta has not lapsed",
    ),
    "told": reply(ReplyKind.STATUS, status=STATUS),
}


def vector(name: str) -> bytes:
    text = (Path(__file__).parents[1] / "vectors" / f"witness-{name}.hex").read_text()
    return bytes.fromhex("".join(text.split()))


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_as_recorded(name: str) -> None:
    assert wire.decode_request(vector(name), KEYS) == REQUESTS[name]
    resent = wire.encode_request(REQUESTS[name], KEYS)
    assert msgpack.unpackb(resent[24:]) == msgpack.unpackb(vector(name)[24:])
    assert wire.decode_request(resent, KEYS) == REQUESTS[name]


@pytest.mark.parametrize("name", REPLIES)
def test_replies_are_as_recorded(name: str) -> None:
    assert wire.decode_reply(vector(name), KEYS) == REPLIES[name]
    resent = wire.encode_reply(REPLIES[name], KEYS, KEYS.signing)
    assert msgpack.unpackb(resent[24:]) == msgpack.unpackb(vector(name)[24:])
    assert wire.decode_reply(resent, KEYS) == REPLIES[name]


@given(st.integers(0, len(vector("propose")) - 1), st.integers(1, 255))
def test_no_changed_byte_is_accepted(at: int, change: int) -> None:
    data = bytearray(vector("propose"))
    data[at] ^= change
    with pytest.raises(Dropped):
        wire.decode_request(bytes(data), KEYS)


@given(st.binary(max_size=1300))
def test_no_foreign_bytes_are_accepted(data: bytes) -> None:
    with pytest.raises(Dropped):
        wire.decode_request(data, KEYS)
    with pytest.raises(Dropped):
        wire.decode_request(b"FTW\x01" + KEYS.signing + data, KEYS)


def test_a_drop_has_its_reason() -> None:
    good = vector("ping")
    cases = {
        Drop.FORMAT: b"XYZ" + good[3:],
        Drop.VERSION: good[:3] + b"\x02" + good[4:],
        Drop.MAC: good[:-1] + b"\x00",
        Drop.KEY: wire.encode_request(ASKED, Keys(KeyRing((OTHER,)))),
    }
    for reason, data in cases.items():
        with pytest.raises(Dropped) as caught:
            wire.decode_request(data, KEYS)
        assert caught.value.reason is reason


def test_a_request_cannot_pass_for_a_reply_nor_a_reply_for_a_request() -> None:
    with pytest.raises(Dropped, match="MAC"):
        wire.decode_reply(vector("ping"), KEYS)
    with pytest.raises(Dropped, match="MAC"):
        wire.decode_request(vector("won"), KEYS)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": Kind.PROPOSE, "group": "web"}, "no record"),
        ({"kind": Kind.RENEW, "wanted": SOLO}, "no group"),
        ({"kind": Kind.INQUIRE}, "no group"),
        ({"kind": Kind.PING, "cluster": ""}, "not understood"),
        ({"kind": Kind.PING, "counter": 2**64 - 1}, "not understood"),
        ({"kind": Kind.RENEW, "group": "web", "wanted": Record(-1, "a", Ownership.SOLO)}, "out of bounds"),
        (
            {"kind": Kind.RENEW, "group": "web", "wanted": Record(1, "a" * 65, Ownership.SOLO)},
            "out of bounds",
        ),
    ],
)
def test_authentic_nonsense_is_dropped_with_a_reason(fields: dict[str, object], why: str) -> None:
    kind = fields.pop("kind")
    assert isinstance(kind, Kind)
    with pytest.raises(Dropped, match=why):
        wire.decode_request(wire.encode_request(request(kind, **fields), KEYS), KEYS)


def test_a_newer_peer_may_add_fields() -> None:
    body = msgpack.unpackb(vector("ping")[24:]) | {"zz": [1, {"a": b"b"}]}
    sealed = wire._seal(msgpack.packb(body), KEYS, KEYS.signing, wire._PERSON_REQUEST)
    assert wire.decode_request(sealed, KEYS) == ASKED


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(WireError, match="cannot be sent"):
        wire.encode_reply(reply(ReplyKind.ANSWER, why="x" * 1300), KEYS, KEYS.signing)


def test_the_largest_status_fits_a_datagram() -> None:
    record = Record(2**62, "h" * 64, Ownership.PAIRED, "b" * 64)
    listed = [Listed(group="g" * 64, record=record, lease_ns=2**62)] * wire.MAX_LISTED
    drops = {f"dropped_{reason.value}": 2**62 for reason in Drop}
    kinds = {kind.value: 2**62 for kind in (*Kind, *Outcome)}
    status = Status(
        release="10.10.10", uptime_ns=2**62, lease_ns=2**62, drift_ppm=1, more=True, registers=listed,
        counters=drops | kinds | {"received": 2**62, "storage_errors": 2**62, "send_errors": 2**62},
    )  # fmt: skip
    assert wire.encode_reply(reply(ReplyKind.STATUS, status=status), KEYS, KEYS.signing)


def test_a_key_is_exchanged_in_three_steps() -> None:
    old, both, both_new, new = (
        Keys(KeyRing((KEY,))),
        Keys(KeyRing((KEY, OTHER))),
        Keys(KeyRing((KEY, OTHER), 1)),
        Keys(KeyRing((OTHER,))),
    )
    for sender, receiver in ((old, both), (both, old), (both, both_new), (both_new, both), (both_new, new)):
        assert wire.decode_request(wire.encode_request(ASKED, sender), receiver) == ASKED
    with pytest.raises(Dropped) as caught:
        wire.decode_request(wire.encode_request(ASKED, old), new)
    assert caught.value.reason is Drop.KEY
