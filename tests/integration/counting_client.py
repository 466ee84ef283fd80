"""counting_client.py ADDRESS PORT: eight clients of redis, which count at once for each line of the input.

Some stay, some hang up after each word. Each knows what its own counter must be; then it is said how often
they have counted, and what went wrong. A count whose connection broke may have been done, or not.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections import Counter

CLIENTS = 8
together = threading.Barrier(CLIENTS + 1)
counts: Counter[str] = Counter()
wrong: list[str] = []


def ask(stream: socket.socket, words: str) -> int:
    """What a counter is after that."""
    stream.sendall(words.encode())
    said = b""
    while not said.endswith(b"\r\n"):
        more = stream.recv(4096)
        if not more:
            raise ConnectionError("closed")
        said += more
    return int(said[1:])


def client(name: str, stays: bool) -> None:
    """One of them."""
    stream: socket.socket | None = None
    broken = 0
    while True:
        together.wait()
        try:
            stream = stream or socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
            broken += 1
            value = ask(stream, f"INCR {name}\r\n")
        except OSError:
            stream = None
            together.wait()
            continue
        if not counts[name] < value <= counts[name] + broken:
            wrong.append(f"{name} is {value} after {counts[name]} and {broken}")
        counts[name], broken = value, 0
        if not stays:
            stream.close()
            stream = None
        together.wait()


def main() -> None:
    for i in range(CLIENTS):
        threading.Thread(target=client, args=(f"c{i}", i % 2 == 0), daemon=True).start()
    for _ in sys.stdin:
        together.wait()
        together.wait()
        print(sum(counts.values()), "; ".join(wrong), flush=True)


main()
