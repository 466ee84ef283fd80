"""errors_client.py ADDRESS PORT: has each line that it reads echoed, and prints it with the number
of ICMP errors that have come in meanwhile about packets to ADDRESS."""

from __future__ import annotations

import ipaddress
import select
import socket
import sys

ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
QUOTED_DESTINATION = {
    4: slice(20 + 8 + 16, 20 + 8 + 20),
    6: slice(8 + 24, 8 + 40),
}  # IPv4 gives its own header


def waiting(errors: socket.socket, server: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    """Take what has come in; say how many of it are such errors."""
    found = 0
    while select.select([errors], [], [], 0)[0]:
        message = errors.recv(65536)
        kind = message[20 if server.version == 4 else 0]
        found += (
            kind in ERRORS[server.version] and message[QUOTED_DESTINATION[server.version]] == server.packed
        )
    return found


def main() -> None:
    """Serve the lines on standard input."""
    server = ipaddress.ip_address(sys.argv[1])
    errors = (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        if server.version == 4
        else socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    )
    stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).makefile("rwb")
    for line in sys.stdin:
        stream.write(line.encode())
        stream.flush()
        assert stream.readline() == line.encode()
        print(line.strip(), waiting(errors, server), flush=True)


if __name__ == "__main__":
    main()
