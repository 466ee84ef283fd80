"""The plain TCP server of the measurements; it runs by its path and needs the standard library only.

The first line of a connection says what to do. What it answers depends on nothing but what it received, so
two copies of it agree:

    down       send pseudo-random bytes without end, until the client closes
    up STEP    read to the client's FIN; after every STEP bytes (0: never) and at the end send the number of
               bytes so far, as 8 bytes in network order
    echo       send back what comes
"""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
from collections.abc import Callable

CONTENT_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18


def content_file() -> int:
    """Return a file descriptor in memory with CONTENT_BYTES bytes, the same ones in every copy."""
    descriptor = os.memfd_create("content")
    os.write(descriptor, random.Random(1).randbytes(CONTENT_BYTES))
    return descriptor


def down(sock: socket.socket, content: int) -> None:
    """Send the content for ever; the client's end comes as a BrokenPipeError or ConnectionResetError."""
    at = 0
    while True:
        at = (at + os.sendfile(sock.fileno(), content, at, CONTENT_BYTES - at)) % CONTENT_BYTES


def up(sock: socket.socket, step: int) -> None:
    """Read to the end, and tell how far we are after every `step` bytes and at the end."""
    buffer, total, told = bytearray(BUFFER_BYTES), 0, 0
    while count := sock.recv_into(buffer):
        total += count
        while step and total - told >= step:
            told += step
            sock.sendall(told.to_bytes(8, "big"))
    sock.sendall(total.to_bytes(8, "big"))


def echo(sock: socket.socket) -> None:
    """Send back what comes, to the client's FIN."""
    while data := sock.recv(BUFFER_BYTES):
        sock.sendall(data)


def serve(sock: socket.socket, content: int) -> None:
    """Do what the first line says."""
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        words = read_line(sock).split()
        verbs: dict[str, Callable[..., None]] = {
            "down": lambda sock: down(sock, content),
            "up": up,
            "echo": echo,
        }
        try:
            verbs[words[0]](sock, *map(int, words[1:]))
        except (BrokenPipeError, ConnectionResetError):
            return  # the client has seen enough: the end of every "down"


def read_line(sock: socket.socket) -> str:
    """Take the first line from `sock`, and nothing that is behind it; raises EOFError when it ends before."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        if not byte:
            raise EOFError(f"the client closed after {bytes(line)!r}, before the end of its first line")
        line += byte
    return line.decode()


def main() -> None:
    """Serve on the port that the command line names, on every address."""
    content = content_file()
    with socket.create_server(
        ("::", int(sys.argv[1])), family=socket.AF_INET6, backlog=64, dualstack_ipv6=True
    ) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, content), daemon=True).start()


if __name__ == "__main__":
    main()
