"""Run in the client host: lines that come back, and among them segments that every kernel refuses.

odd_client.py ADDRESS PORT SEED. Reads counts from its standard input: so many lines, each before three forged
segments of random kinds, and says when they are answered.
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


def main() -> None:
    """Converse as told."""
    address, port, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    sock = socket.create_connection((address, port), 10)
    raw = socket.socket(sock.family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    ends = [end[:2] for end in (sock.getsockname(), sock.getpeername())]
    line, total, stream = 0, 0, sock.makefile("rb")
    for count in sys.stdin:
        for _ in range(int(count)):
            at = numbers(sock)
            for _ in range(3):
                packet = build(choose(rng, total, at.tsval is not None), at, ends[0], ends[1])
                raw.sendto(packet, (address, 0))
            text = b"line %d %s\n" % (line, b"x" * rng.randrange(300))
            sock.sendall(text)
            answer = stream.readline()
            assert answer == text, (line, answer[:60])
            line, total = line + 1, total + len(text)
        print("answered", line, total, flush=True)


if __name__ == "__main__":
    main()
