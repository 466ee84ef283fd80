"""fallback_server.py PORT: echoes; it speaks Multipath TCP with clients that ask for it, as Go servers do."""

from __future__ import annotations

import socket
import sys
import threading


def serve(client: socket.socket) -> None:
    """Echo until the client goes."""
    while said := client.recv(65536):
        client.sendall(said)


def main() -> None:
    """Serve each client in a thread of its own."""
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", int(sys.argv[1])))
    listener.listen()
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
