"""Make the vectors of commit channel and lane anew, and those of heartbeats, by other means than the code.

Run it in this directory after a change of the layout, with the new VERSION; it overwrites the files.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path

VERSION = 5
HEARTBEAT_VERSION = 3
SECRET = bytes(range(32))
SESSION = 0x1122334455667788
PAIRING = 7 << 32 | 3
SENDER = 0xA1B2C3D4E5F60718
CLUSTER = 0x0102030405060708
PLACES = {4: ("10.77.0.10", "10.77.0.100"), 6: ("fd77::10", "fd77::100")}
TCP, UDP = 6, 17
_MASK = (1 << 64) - 1


def _rotl(x: int, by: int) -> int:
    return (x << by | x >> (64 - by)) & _MASK


def siphash128(message: bytes, key: bytes) -> bytes:
    """SipHash-2-4 with a tag of 128 bits (Aumasson, Bernstein)."""
    k0, k1 = struct.unpack("<QQ", key[:16])
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D ^ 0xEE,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & _MASK
            v[2] = (v[2] + v[3]) & _MASK
            v[1], v[3] = _rotl(v[1], 13) ^ v[0], _rotl(v[3], 16) ^ v[2]
            v[0] = _rotl(v[0], 32)
            v[2] = (v[2] + v[1]) & _MASK
            v[0] = (v[0] + v[3]) & _MASK
            v[1], v[3] = _rotl(v[1], 17) ^ v[2], _rotl(v[3], 21) ^ v[0]
            v[2] = _rotl(v[2], 32)

    padded = message + b"\0" * (7 - len(message) % 8) + bytes([len(message) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return struct.pack("<QQ", first, v[0] ^ v[1] ^ v[2] ^ v[3])


def record(
    type_: int, body: bytes = b"", *, flags: int = 0, family: int = 4, proto: int = TCP, irs: int = 0xFFFFFFFE
) -> bytes:
    """One record, as record.h draws it."""
    client, service = (ip_address(place).packed for place in PLACES[family])
    ports = struct.pack(">HH", 40000, 80 if proto == TCP else 0)
    rest = bytes([family, proto]) + ports + client + service + struct.pack(">I", irs) + body
    return struct.pack(">BBH", type_, flags, 4 + len(rest)) + rest


def datagram(counter: int, records: bytes, quiet: bool = False) -> bytes:
    """Header, one record, MAC."""
    head = struct.pack(">IBBHQQQ", 0x46545443, VERSION, 0x80 if quiet else 0, 1, PAIRING, SENDER, counter)
    key = blake2b(b"fttcp/cm" + struct.pack(">Q", SESSION), digest_size=32, key=SECRET).digest()
    return head + records + siphash128(head + records, key[:16])


def u32(*numbers: int) -> bytes:
    """Numbers of four bytes each."""
    return struct.pack(f">{len(numbers)}I", *numbers)


SYN = bytes.fromhex(
    "4500002800014000400600000a4d000a0a4d0064"  # IPv4, no sum
    "9c400050fffffffe000000005002faf000000000"
)
SYN_IDENTITY = bytes(range(0x40, 0x54)) + struct.pack(">QI", 1234567890123456789, 0x01020304)
PART = bytes(range(32)) + b"?" * (40000 - 32768 - 32)
COMMIT = u32(0x10, 0x10000, 0x80000100, 0x12345)
FIRST, THIRD = b"\0", b"\2"
"""Attempts of following a flow: its own handshake, and the second renewal."""
OPEN = u32(0x80000001, 0x7FFFFFFF, 3) + bytes([7, 2])
RECORDS: tuple[tuple[str, str, bytes], ...] = (
    ("open", "OPEN with a SYN", record(1, OPEN + SYN)),
    ("opened", "OPENED", record(2, u32(0xFFFFFFFF, 0xFFFE) + FIRST)),
    ("refused", "REFUSED, IPv6", record(3, FIRST, family=6)),
    (
        "commit",
        "COMMIT. FIN, DIFFERS, HOLE: rcv_nxt, edge, snd_nxt, verified, differences, hole_end, no offer",
        record(4, COMMIT + u32(3, 0x20, 0, 0) + FIRST, flags=1 | 4 | 8),
    ),
    ("probe", "PROBE", record(5, u32(0x80000100) + b"\xff\xf0" + FIRST)),
    ("detach", "DETACH of the third attempt", record(6, THIRD)),
    ("detached", "DETACHED of the third attempt, IPv6", record(7, THIRD, family=6)),
    ("close", "CLOSE", record(8)),
    ("output", "OUTPUT on the quiet lane", record(9, u32(0x80000100, 0x20000, 0xDEADBEEF), flags=1)),
    (
        "event",
        "EVENT: the second part of a datagram",
        record(16, u32(0x80000000, 5, 40000, 32768) + b"\0E" + FIRST + PART, proto=UDP, irs=5),
    ),
    ("event-ack", "EVENT_ACK, IPv6", record(17, u32(0xFFFFFFFF, 9) + FIRST, proto=UDP, irs=5, family=6)),
    ("sent", "SENT", record(18, u32(12, 0) + FIRST, proto=UDP, irs=5)),
    (
        "offer",
        "COMMIT with an offer: point and crc",
        record(4, COMMIT + u32(0, 0, 0x12385, 0xCAFEBABE) + FIRST, flags=32),
    ),
    (
        "identity",
        "OPEN with the identity of the connection, before the SYN",
        record(1, OPEN + SYN_IDENTITY + SYN, flags=16),
    ),
    ("discard", "DISCARD: seq, ack, tsval", record(10, u32(0x11, 0x80000101, 0x7FFFFFFF))),
    ("stray", "STRAY: a whole datagram", record(19, u32(0, 0, 32, 0) + b"\0E" + PART[:32], proto=UDP, irs=5)),
    (
        "renew",
        "RENEW of the third attempt: acknowledged, window, told, sent, point and sum, place, TSval",
        record(
            11,
            u32(0x80000100)
            + b"\xff\xf0"
            + u32(0x10, 0x80000200, 0x20000, 0xDEADBEEF, 1, 0x20000, 0x7FFFFFFF)
            + THIRD,
            flags=3,
        ),
    ),
)


def probe() -> bytes:
    """A probe of the mirror on its second way, to the commit channel's port."""
    number = 1 << 62 | 0x0123456789AB
    purpose = b"fttcp mirror probe" + struct.pack(">QQ", CLUSTER, number)
    return bytes(8) + struct.pack(">Q", number) + blake2b(purpose, digest_size=16, key=SECRET).digest()


def _chacha(state: list[int]) -> list[int]:
    """Twenty rounds (RFC 8439 2.3), without the addition at the end."""
    x = list(state)
    columns = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    diagonals = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for _ in range(10):
        for a, b, c, d in columns + diagonals:
            for to, by, other, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[to] = (x[to] + x[by]) & 0xFFFFFFFF
                mixed = x[other] ^ x[to]
                x[other] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF
    return x


def _state(key: bytes, last: bytes) -> list[int]:
    return list(struct.unpack("<16I", b"expand 32-byte k" + key + last))


def _key_stream(key: bytes, nonce: bytes, block: int, length: int) -> bytes:
    out = b""
    while len(out) < length:
        state = _state(key, struct.pack("<I", block) + nonce)
        words = (a + b & 0xFFFFFFFF for a, b in zip(state, _chacha(state), strict=True))
        out, block = out + struct.pack("<16I", *words), block + 1
    return out[:length]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _poly1305(message: bytes, key: bytes) -> bytes:
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at : at + 16] + b"\1", "little")) * r % (2**130 - 5)
    return (total + int.from_bytes(key[16:], "little") & 2**128 - 1).to_bytes(16, "little")


class SecretStream:
    """libsodium's secretstream (XChaCha20, Poly1305): its documentation tells how it works."""

    def __init__(self, key: bytes, header: bytes) -> None:
        inner = _chacha(_state(key, header[:16]))  # HChaCha20
        self._key = struct.pack("<8I", *inner[:4], *inner[12:])
        self._counter, self._nonce = 1, header[16:]

    def push(self, message: bytes, beside: bytes) -> bytes:
        """A message with its tag (0: one of many) and MAC."""
        nonce = struct.pack("<I", self._counter) + self._nonce
        tag = _key_stream(self._key, nonce, 1, 64)
        cipher = _xor(message, _key_stream(self._key, nonce, 2, len(message)))
        lengths = struct.pack("<QQ", len(beside), 64 + len(message))
        proven = beside + bytes(-len(beside) % 16) + tag + cipher + bytes(len(message) % 16) + lengths
        mac = _poly1305(proven, _key_stream(self._key, nonce, 0, 32))
        self._nonce, self._counter = _xor(self._nonce, mac[:8]), self._counter + 1
        return tag[:1] + cipher + mac


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C (RFC 3720 B.4) of data behind others with the sum ``crc``."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def piece(offset: int, flags: int, after: int, tsval: int, data: bytes) -> bytes:
    """What a client has sent, as core/log.h draws it."""
    return struct.pack(">IHBBQI", offset, len(data), flags, 0, after, tsval) + data


def noted(outputs: int, port: int, is_port: bool, data: bytes) -> bytes:
    """An event of a UDP session, as core/udp/log.h draws it."""
    return struct.pack(">IHHBB", outputs, len(data), port, is_port, 0) + data


def history(*events: tuple[int, int, bytes]) -> bytes:
    """Frames of core/history.h: kind, flags and the rest of each event of one flow, a millisecond apart."""
    client, service = (ip_address(place).packed for place in PLACES[4])
    flow = bytes([4, TCP]) + struct.pack(">HH", 40000, 80) + client + service + u32(0xFFFFFFFE)
    out, crc = b"", 0
    for number, (kind, flags, rest) in enumerate(events, 1):
        body = struct.pack(">BBHQ", kind, flags, 0, number * 1_000_000) + flow + rest
        crc = crc32c(u32(len(body)) + body, crc)
        out += u32(len(body), crc) + body
    return out


FINAL, FIRST_ALL = 2, 4 | 8
CALL = b"GET / HTTP/1.0\r\n\r\n"
LANE_MESSAGES: tuple[tuple[int, str, bytes], ...] = (
    (1, "begin", struct.pack(">QIB", 0x100020000, 5000, 2) + record(1, OPEN + SYN)),
    (2, "log", record(11, bytes(34) + THIRD, flags=FINAL) + piece(0x20000, 1 | 2, 0x100000005, 77, CALL)),
    (3, "drop", record(6, THIRD)),
    (
        4,
        "session",
        record(18, u32(12, 0xCAFEBABE) + THIRD, flags=FIRST_ALL, proto=UDP, irs=5)
        + noted(0, 69, False, CALL)
        + noted(1, 40001, True, b""),
    ),
    (
        17,
        "history",
        struct.pack(">Q", 0x100000000)
        + history(
            (3, 2, piece(0, 2, 0, 0x7FFFFFFF, CALL)),
            (4, 1, struct.pack(">QI", 0x100000005, 0xDEADBEEF)),
            (5, 0, b"\1"),
        ),
    ),
    (18, "align", b"\0"),
    (19, "mark", b"\0"),
    (20, "played", struct.pack(">Q", 0x100000000)),
    (21, "aligned", bytes(8)),
    (22, "not-played", b"\6"),
    (23, "marked", b"\0"),
)


def lane_header(kind: int, message: bytes) -> bytes:
    """What stands before a message, in the clear."""
    return u32(kind << 24 | len(message))


def serial(datagram: bytes) -> bytes:
    """A datagram on a serial line: COBS between zeros (Cheshire and Baker), of it and its CRC-32C."""
    out = b""
    for block in (datagram + u32(crc32c(datagram))).split(b"\0"):
        whole = len(block) // 254
        for at in range(0, whole * 254, 254):
            out += b"\xff" + block[at : at + 254]
        rest = block[whole * 254 :]
        out += bytes([len(rest) + 1]) + rest
    return b"\0" + out + b"\0"


def lane() -> dict[str, bytes]:
    """What both ends of a connection of the lane say. What is random is a row of the same byte, counted."""
    label = b"fttcp/ln" + struct.pack(">QQ", SESSION, PAIRING)
    key = blake2b(label, digest_size=32, key=SECRET).digest()
    form = struct.Struct(">IBBBBQQ32s")
    asks = form.pack(0x46544C4E, VERSION, 1, 2, 0, SENDER, PAIRING, b"\1" * 32)
    answers = form.pack(0x46544C4E, VERSION, 2, 1, 0, 1, PAIRING, b"\2" * 32)
    keys = blake2b(asks + answers, digest_size=64, key=key).digest()
    said = {
        "lane-hello": asks + blake2b(asks, digest_size=32, key=key).digest(),
        "lane-answer": answers + blake2b(asks + answers, digest_size=32, key=key).digest(),
    }
    frames: dict[str, tuple[bytes, bytes, Sequence[tuple[int, str, bytes]]]] = {
        "lane-answer": (keys[32:], b"\3" * 24, []),
        "lane-frames": (keys[:32], b"\4" * 24, LANE_MESSAGES),
    }
    for name, (stream_key, header, messages) in frames.items():
        stream, out = SecretStream(stream_key, header), header
        for kind, _, message in [(0, "", b""), *messages]:
            clear = lane_header(kind, message)
            out += clear + stream.push(message, clear)
        said[name] = said.get(name, b"") + out
    return said


LANE_TOLD = {
    "lane-hello": "bulk lane: the hello of the one that connects",
    "lane-answer": "bulk lane: the other one's hello, the header of its stream, and its ready",
    "lane-frames": "bulk lane: header of the first one's stream, its ready, and a message of each kind",
}


def heartbeats() -> dict[str, bytes]:
    """A heartbeat that speaks of two groups, with the body of one; plain and sealed."""
    body = b"\x83\xa5group\xa3web\xa5epoch\x07\xa4role\x02"
    section = struct.Struct(">QQQIIHBB")
    sections = section.pack(0x2122232425262728, 0x3132333435363738, 987654321, 7, 5, len(body), 3, 0) + body
    sections += section.pack(0x4142434445464748, 0x5152535455565758, 987650000, 6, 9, 0, 0, 0)
    key_id = blake2b(b"fttcp key id", digest_size=16, key=SECRET).digest()[:4]

    def header(flags: int) -> bytes:
        head = struct.pack(">IBBBB4sHH", 0x46544842, HEARTBEAT_VERSION, flags, 1, 2, key_id, len(sections), 0)
        boots = (0xFEDCBA9876543210, 41, 1234567890123456789, 0x1111111111111111, 2)
        return head + struct.pack(">8Q", CLUSTER, SENDER, 1, *boots)

    plain, clear = header(0) + sections, header(2)
    secret = blake2b(b"fttcp beat body", digest_size=32, key=SECRET).digest()
    nonce = blake2b(clear, digest_size=24).digest()
    inner = _chacha(_state(secret, nonce[:16]))  # XChaCha20: HChaCha20, then RFC 8439 2.8
    key, last = struct.pack("<8I", *inner[:4], *inner[12:]), bytes(4) + nonce[16:]
    cipher = _xor(sections, _key_stream(key, last, 1, len(sections)))
    padded = clear + bytes(-len(clear) % 16) + cipher + bytes(-len(cipher) % 16)
    proven = padded + struct.pack("<QQ", len(clear), len(cipher))
    sealed = clear + cipher + _poly1305(proven, _key_stream(key, last, 0, 32))
    return {
        "heartbeat": plain + blake2b(plain, digest_size=16, key=SECRET).digest(),
        "heartbeat-sealed": sealed,
    }


HEARTBEAT_TOLD = {
    "heartbeat": "heartbeat on link 1 of two groups, granting for the first: header, two sections, MAC",
    "heartbeat-sealed": "the same heartbeat with encrypted sections: header, cipher text, tag",
}


def write(name: str, told: str, data: bytes) -> None:
    """One file: what it is, and hexadecimal digits."""
    digits = data.hex()
    lines = [digits[at : at + 64] for at in range(0, len(digits), 64)]
    Path(__file__).with_name(f"{name}.hex").write_text("\n".join([f"# {told}", *lines, ""]))


if __name__ == "__main__":
    for number, (name, told, one) in enumerate(RECORDS, 1):
        quiet = name == "output"
        write(name, f"commit channel, datagram {number} of its sender: {told}", datagram(number, one, quiet))
    for name, data in heartbeats().items():
        write(name, HEARTBEAT_TOLD[name], data)
    for name, data in lane().items():
        write(name, LANE_TOLD[name], data)
    for kind, name, data in LANE_MESSAGES:
        told = f"bulk lane, before it is encrypted: {name.upper().replace('-', '_')}, header and message"
        write(f"lane-{name}", told, lane_header(kind, data) + data)
    write("serial-frame", "serial line: the frame of the heartbeat", serial(heartbeats()["heartbeat"]))
    write("serial-long", "serial line: 300 bytes of 5a, more than one block has", serial(b"Z" * 300))
    write("mirror-probe", "commit channel: a probe of the mirror, on its second way", probe())
