"""A server whose children outlive it: each answers one client, and says a last word when the parent is dead.

Like backends of PostgreSQL, they learn of it by a pipe whose other end only the parent has.
One child answers all UDP clients.

last_words_server.py PORT [PID_FILE]
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.workloads.registry import SERVICE

LAST_WORD = b"FATAL: terminating connection\n"
LINGER_S = 0.2
IP_FREEBIND = 15


def answer(line: bytes) -> bytes:
    """What is said to a line."""
    return line.strip() + b":" + b"x" * 500 + b"\n"


def live(life: int, source: socket.socket, react: Callable[[], bool]) -> bool:
    """Let ``react`` read until it is False; return True when the parent died before that."""
    while True:
        ready, _, _ = select.select([life, source], [], [])
        if life in ready:
            return True
        if not react():
            return False


def serve(client: socket.socket, life: int) -> None:
    """Answer one client."""
    lines = bytearray()

    def react() -> bool:
        more = client.recv(65536)
        lines.extend(more)
        while b"\n" in lines:
            line, _, rest = bytes(lines).partition(b"\n")
            lines[:] = rest
            client.sendall(answer(line))
        return bool(more)

    if live(life, client, react):
        client.sendall(LAST_WORD)
        client.shutdown(socket.SHUT_WR)
        time.sleep(LINGER_S)


def serve_datagrams(service: socket.socket, life: int) -> None:
    """Answer all clients."""
    known: dict[object, None] = {}

    def react() -> bool:
        datagram, client = service.recvfrom(65536)
        known[client] = None
        service.sendto(answer(datagram), client)
        return True

    if live(life, service, react):
        for client in known:
            service.sendto(LAST_WORD, client)  # type: ignore[arg-type]
        time.sleep(LINGER_S)


def main() -> None:
    """Fork for each client; each child leads a session of its own, so it is not killed with the parent."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    port = int(sys.argv[1])
    life, _held = os.pipe()
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # the address may come later
    datagrams.bind((SERVICE[4], port))
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(f"{os.getpid()}\n")
    if os.fork() == 0:
        os.setsid()
        os.close(_held)
        listener.close()
        serve_datagrams(datagrams, life)
        os._exit(0)
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            os.setsid()
            os.close(_held)
            listener.close()
            serve(client, life)
            os._exit(0)
        client.close()


if __name__ == "__main__":
    main()
