"""A plain UDP echo server with one socket. It knows nothing of fttcp."""

from __future__ import annotations

import argparse
import socket


def main() -> None:
    """Serve for ever."""
    parser = argparse.ArgumentParser(description="plain UDP echo server")
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((options.address, options.port))
        while True:
            data, sender = sock.recvfrom(65535)
            sock.sendto(data, sender)


if __name__ == "__main__":
    main()
