"""Run in the client host: lines that come back, and among them segments that every kernel refuses.

odd_client.py ADDRESS PORT SEED. Reads counts from its standard input: so many lines, each behind three forged
segments of random kinds, and says when they are answered. With "anew" before the count they go over a new
connection.
"""

from __future__ import annotations

import random
import socket
import sys

from lab.workloads.odd import Segment, build, numbers

PSH, ACK, SYN, RST, FIN = 8, 16, 2, 4, 1
FORGED = b"FORGED! "
DAY_MS = 86_400_000


def choose(rng: random.Random, received: int, times: bool) -> Segment:
    """A segment that no kernel takes, in an established connection that has `received` bytes."""
    payload = FORGED * rng.choice((0, 1, 1, 20))
    flags = ACK | rng.choice((0, PSH, FIN))
    some = rng.choice((1, 2, rng.randrange(1, 200), rng.randrange(1, 2**16), rng.randrange(1, 2**30)))
    seq = rng.choice((0, 0, 1, len(payload), rng.randrange(20_000), -rng.randrange(20_000)))
    kind = rng.randrange(8)
    if kind < 3:  # acknowledges what was not sent, wherever it is
        return Segment(flags, seq, some, payload=payload)
    if kind == 3:  # ... what was never sent
        return Segment(flags, seq, -received - some, payload=payload)
    if kind == 4:  # beyond every window
        return Segment(flags, 2**26 + some, payload=payload)
    if kind == 5:
        return Segment(rng.choice((SYN, SYN | ACK, PSH, FIN, 0)), seq, payload=payload)
    if kind == 6 and times:
        return Segment(flags, seq, older_ms=DAY_MS + some, payload=payload or FORGED)
    return Segment(rng.choice((RST, RST | ACK)), rng.randrange(1, 20_000), payload=b"")


class Conversation:
    """One connection."""

    def __init__(self, address: str, port: int, rng: random.Random) -> None:
        self._sock = socket.create_connection((address, port), 10)
        self._raw = socket.socket(self._sock.family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._ends = [end[:2] for end in (self._sock.getsockname(), self._sock.getpeername())]
        self._stream = self._sock.makefile("rb")
        self._rng = rng
        self.lines = self.total = 0

    def line(self) -> None:
        """Forge three segments, and have a line answered."""
        at = numbers(self._sock)
        for _ in range(3):
            segment = choose(self._rng, self.total, at.tsval is not None)
            self._raw.sendto(build(segment, at, *self._ends), (self._ends[1][0], 0))
        text = b"line %d %s\n" % (self.lines, b"x" * self._rng.randrange(300))
        self._sock.sendall(text)
        answer = self._stream.readline()
        assert answer == text, (self.lines, answer[:60])
        self.lines, self.total = self.lines + 1, self.total + len(text)

    def close(self) -> None:
        """End it."""
        for thing in (self._stream, self._sock, self._raw):
            thing.close()


def main() -> None:
    """Converse as told."""
    address, port, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    talk = Conversation(address, port, rng)
    for command in sys.stdin:
        *anew, count = command.split()
        if anew:
            talk.close()
            talk = Conversation(address, port, rng)
        for _ in range(int(count)):
            talk.line()
        print("answered", talk.lines, talk.total, flush=True)


if __name__ == "__main__":
    main()
