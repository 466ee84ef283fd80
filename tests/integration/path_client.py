"""path_client.py ADDRESS PORT: a client of an echo server that plays the router on its way, too.

For each MTU that it reads it has a line echoed, then sends the server the ICMP error of a router whose
next hop takes no more, quoting the segment that follows; then it prints the MTU.
"""

from __future__ import annotations

import socket
import struct
import sys

ETH_P_ALL = 3


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def last_segment(sniffer: socket.socket, ports: tuple[int, int]) -> bytes:
    """The next packet with data from the server, from its IP header on."""
    while True:
        frame, origin = sniffer.recvfrom(65536)
        if origin[2] == socket.PACKET_OUTGOING:
            continue
        ip = frame[14:]
        start = 20 if ip[0] >> 4 == 4 else 40
        tcp = ip[start:]
        if len(tcp) < 20 or ip[9 if start == 20 else 6] != socket.IPPROTO_TCP:
            continue
        length = struct.unpack_from(">H", ip, 2 if start == 20 else 4)[0]
        data = length - (start if start == 20 else 0) - (tcp[12] >> 4) * 4
        if struct.unpack_from(">HH", tcp) == ports and data > 0:
            seq = struct.unpack_from(">I", tcp, 4)[0]
            return ip[: start + 4] + struct.pack(">I", (seq + data) & 0xFFFFFFFF) + ip[start + 8 : start + 20]


def too_big(router: socket.socket, quoted: bytes, mtu: int, server: str) -> None:
    """Tell the server that what would come next does not fit."""
    kind, code = (3, 4) if quoted[0] >> 4 == 4 else (2, 0)
    message = struct.pack(">BBHI", kind, code, 0, mtu) + quoted  # the kernel sums ICMPv6 itself
    if kind == 3:
        message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
    router.sendto(message, (server, 0))


def main() -> None:
    """Serve the MTUs on standard input."""
    address, port = sys.argv[1], int(sys.argv[2])
    v6 = ":" in address
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    router = (
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        if v6
        else socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    )
    client = socket.create_connection((address, port), 10)
    stream = client.makefile("rwb")
    ports = (port, client.getsockname()[1])
    for line in sys.stdin:
        stream.write(line.encode())
        stream.flush()
        quoted = last_segment(sniffer, ports)
        assert stream.readline() == line.encode()
        too_big(router, quoted, int(line), address)
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
