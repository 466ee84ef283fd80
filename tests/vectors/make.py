"""Make the vectors of the commit channel anew, by other means than the code: struct, hashlib, own SipHash.

Run it in this directory after a change of the layout, with the new VERSION; it overwrites the files.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path

VERSION = 3
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
OPEN = u32(0x80000001, 0x7FFFFFFF, 3) + bytes([7, 2])
RECORDS: tuple[tuple[str, str, bytes], ...] = (
    ("open", "OPEN with a SYN", record(1, OPEN + SYN)),
    ("opened", "OPENED", record(2, u32(0xFFFFFFFF, 0xFFFE))),
    ("refused", "REFUSED, IPv6", record(3, family=6)),
    (
        "commit",
        "COMMIT. FIN, DIFFERS, HOLE: rcv_nxt, edge, snd_nxt, verified, differences, hole_end, no offer",
        record(4, COMMIT + u32(3, 0x20, 0, 0), flags=1 | 4 | 8),
    ),
    ("probe", "PROBE", record(5, u32(0x80000100) + b"\xff\xf0")),
    ("detach", "DETACH", record(6)),
    ("detached", "DETACHED, IPv6", record(7, family=6)),
    ("close", "CLOSE", record(8)),
    ("output", "OUTPUT on the quiet lane", record(9, u32(0x80000100, 0x20000, 0xDEADBEEF), flags=1)),
    (
        "event",
        "EVENT: the second part of a datagram",
        record(16, u32(0x80000000, 5, 40000, 32768) + b"\0E" + PART, proto=UDP, irs=5),
    ),
    ("event-ack", "EVENT_ACK, IPv6", record(17, u32(0xFFFFFFFF, 9), proto=UDP, irs=5, family=6)),
    ("sent", "SENT", record(18, u32(12, 0), proto=UDP, irs=5)),
    (
        "offer",
        "COMMIT with an offer: point and crc",
        record(4, COMMIT + u32(0, 0, 0x12385, 0xCAFEBABE), flags=32),
    ),
    (
        "identity",
        "OPEN with the identity of the connection, before the SYN",
        record(1, OPEN + SYN_IDENTITY + SYN, flags=16),
    ),
    ("discard", "DISCARD: seq, ack, tsval", record(10, u32(0x11, 0x80000101, 0x7FFFFFFF))),
    ("stray", "STRAY: a whole datagram", record(19, u32(0, 0, 32, 0) + b"\0E" + PART[:32], proto=UDP, irs=5)),
)


def probe() -> bytes:
    """A probe of the mirror on its second way, to the commit channel's port."""
    number = 1 << 62 | 0x0123456789AB
    purpose = b"fttcp mirror probe" + struct.pack(">QQ", CLUSTER, number)
    return bytes(8) + struct.pack(">Q", number) + blake2b(purpose, digest_size=16, key=SECRET).digest()


def write(name: str, told: str, data: bytes) -> None:
    """One file: what it is, and hexadecimal digits."""
    digits = data.hex()
    lines = [digits[at : at + 64] for at in range(0, len(digits), 64)]
    Path(__file__).with_name(f"{name}.hex").write_text("\n".join([f"# {told}", *lines, ""]))


if __name__ == "__main__":
    for number, (name, told, one) in enumerate(RECORDS, 1):
        quiet = name == "output"
        write(name, f"commit channel, datagram {number} of its sender: {told}", datagram(number, one, quiet))
    write("mirror-probe", "commit channel: a probe of the mirror, on its second way", probe())
