"""Run in the client host: connections, many at once, each of which its client ends in another way.

ends_client.py ADDRESS PORT THREADS SECONDS. The server is line_server.py. Prints how many connections
ended in which way. Its pauses are what it tries: at what moment the client says its last word.
"""

from __future__ import annotations

import errno
import json
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GONE = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """The server may have reset the connection meanwhile."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise


def _ask(sock: socket.socket, rng: random.Random) -> None:
    line = b"x" * rng.randrange(1, 3000) + b"\n"
    sock.sendall(line)
    got = b""
    while not got.endswith(b"\n"):
        more = sock.recv(1 << 16)
        assert more, f"{len(got)} of {len(line)} bytes, then the end"
        got += more
    assert got == line


def _rest(sock: socket.socket) -> None:
    with _unless_gone():
        while sock.recv(1 << 16):
            pass


def quietly(sock: socket.socket, _rng: random.Random) -> None:
    """FIN of the client first."""
    sock.shutdown(socket.SHUT_WR)
    assert not sock.recv(1)


def by_reset(sock: socket.socket, _rng: random.Random) -> None:
    """A RST in the middle."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def unread(sock: socket.socket, rng: random.Random) -> None:
    """Closes while an answer is on its way, which resets the connection."""
    sock.sendall(b"y" * rng.randrange(1, 3000) + b"\n")
    time.sleep(rng.choice((0, 0, 0.0005, 0.002)))


def last_word(sock: socket.socket, rng: random.Random) -> None:
    """Has the server close, and says something at the same time, which that may read or not."""
    sock.sendall(b"\n")
    time.sleep(rng.choice((0, 0, 0.0002, 0.001)))
    with _unless_gone():
        sock.sendall(b"z" * rng.randrange(1, 100))
        sock.shutdown(socket.SHUT_WR)
        _rest(sock)


def last_word_and_gone(sock: socket.socket, rng: random.Random) -> None:
    """As clients of TLS: the server closes, the client says its last word, and closes without reading."""
    sock.sendall(b"\n")
    time.sleep(rng.choice((0, 0, 0.0002, 0.001)))
    with _unless_gone():
        sock.sendall(b"z" * rng.randrange(1, 100))


WAYS: tuple[Callable[[socket.socket, random.Random], None], ...] = (
    quietly, by_reset, unread, last_word, last_word_and_gone,
)  # fmt: skip


def main() -> None:
    """End connections until the time is over."""
    address, port, threads, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    ended: Counter[str] = Counter()
    wrong: list[str] = []
    deadline = time.monotonic() + seconds

    def run(seed: int) -> None:
        rng = random.Random(seed)
        try:
            while time.monotonic() < deadline:
                way = rng.choice(WAYS)
                with socket.create_connection((address, port), 10) as sock:
                    for _ in range(rng.randrange(3)):
                        _ask(sock, rng)
                    way(sock, rng)
                ended[way.__name__] += 1
        except Exception as error:  # told to who runs this
            wrong.append(f"{way.__name__}: {error!r}")

    running = [threading.Thread(target=run, args=(seed,)) for seed in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    print(json.dumps({"ended": ended, "wrong": wrong}))


if __name__ == "__main__":
    main()
