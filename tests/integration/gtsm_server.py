"""gtsm_server.py PORT: echoes to clients whose packets have crossed no router (GTSM, RFC 5082), as BGP
servers do."""

from __future__ import annotations

import socket
import sys
import threading

IP_MINTTL, IPV6_MINHOPCOUNT = 21, 73
NEAREST = 255


def near(one: socket.socket) -> None:
    """Take only packets that no router has forwarded, and send such as the other side can take likewise."""
    one.setsockopt(socket.IPPROTO_IP, IP_MINTTL, NEAREST)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, NEAREST)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, NEAREST)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, NEAREST)


def serve(client: socket.socket) -> None:
    """Echo until the client goes."""
    while said := client.recv(65536):
        client.sendall(said)


def main() -> None:
    """Serve each client in a thread of its own."""
    listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
    near(listener)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
