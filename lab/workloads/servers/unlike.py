"""A TCP server whose copies do not agree: ``unlike.py PORT [COPY]``; see lab.workloads.records.

The first line of a connection is its plan; for each further line with a number it sends so many records more.
They leave in pieces of random sizes, with short pauses: each copy at its own pace. COPY is the node's
name; in a host of the lab the working directory tells it.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from pathlib import Path

from lab.workloads.records import COPIES, Plan

LONGEST_PAUSE_S = 0.002


def serve(sock: socket.socket, copy: str) -> None:
    """Serve one connection to its end."""
    number = 0
    with sock, sock.makefile("r") as lines:
        try:
            plan = Plan.parse(lines.readline())
            for line in lines:
                wanted = number + int(line)
                send(sock, b"".join(plan.record(one, copy) for one in range(number, wanted)))
                number = wanted
        except OSError:
            return  # the client is gone


def send(sock: socket.socket, data: bytes) -> None:
    """Send `data` in pieces."""
    at = 0
    while at < len(data):
        size = random.choice((1, 100, 1448, 5000, 50_000))
        sock.sendall(data[at : at + size])
        at += size
        if random.random() < 0.2:
            time.sleep(random.uniform(0, LONGEST_PAUSE_S))


def main() -> None:
    """Serve for ever."""
    port, copy, *_ = *sys.argv[1:], Path.cwd().parent.name
    if copy not in COPIES:
        sys.exit(f"{copy}: no copy is called that; wanted: {', '.join(COPIES)}")
    with socket.create_server(
        ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128
    ) as listener:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(sock, copy), daemon=True).start()


if __name__ == "__main__":
    main()
