"""The Internet checksum."""

import struct


def checksum(data: bytes | bytearray) -> int:
    """Return that of some bytes; an odd one is followed by a zero (RFC 1071)."""
    even = bytes(data) + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
