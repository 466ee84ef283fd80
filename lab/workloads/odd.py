"""A peer that sends what Linux refuses, beside a conversation that must go on as if it had not.

Each of these segments is forged from the connection's true numbers, its payload is none that the client ever
sends, and the server's kernel discards it (RFC 5961, RFC 7323 5, RFC 9293 3.10.7.4). Needs CAP_NET_ADMIN and
CAP_NET_RAW.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from lab.workloads.base import SEND_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR, TCP_REPAIR_QUEUE, Session
from lab.workloads.flood import checksum

RECEIVE_QUEUE = 1
REPAIR_ENDS = -1
"""... without a window probe."""
TCP_TIMESTAMP = 24
TCP_INFO_OPTIONS = 5
TIMESTAMPS = 1
SYN, RST, PSH, ACK, URG = 2, 4, 8, 16, 32
PAYLOAD = b"FORGED! "
FAR = 1 << 26
"""Beyond any window of the lab."""
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Numbers:
    """Where a connection stands: what it sends next, what it awaits, its clock (None: no timestamps)."""

    snd_nxt: int
    rcv_nxt: int
    tsval: int | None


def _number(sock: socket.socket, queue: int) -> int:
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
    return sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF


def numbers(sock: socket.socket) -> Numbers:
    """Ask the kernel; everything sent must be acknowledged, for it sends nothing meanwhile."""
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    try:
        snd_nxt, rcv_nxt = (_number(sock, queue) for queue in (SEND_QUEUE, RECEIVE_QUEUE))
    finally:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ENDS)
    options = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 16)[TCP_INFO_OPTIONS]
    clock = sock.getsockopt(socket.IPPROTO_TCP, TCP_TIMESTAMP) & 0xFFFFFFFF
    return Numbers(snd_nxt, rcv_nxt, clock if options & TIMESTAMPS else None)


@dataclass(frozen=True)
class Segment:
    """What a forged segment differs in from the next true one."""

    flags: int = ACK | PSH
    seq: int = 0
    ack: int = 0
    older_ms: int = 0
    payload: bytes = PAYLOAD


FORGED: dict[str, Callable[[int], Segment]] = {
    "acknowledges what was not sent": lambda n: Segment(ack=1 + n),
    "acknowledges far more": lambda n: Segment(ack=FAR + n),
    "acknowledges what is long ago": lambda n: Segment(ack=-FAR - n),
    "resets within the window": lambda n: Segment(RST, seq=1 + n % 1000, payload=b""),
    "resets beyond the window": lambda n: Segment(RST, seq=FAR + n, payload=b""),
    "begins anew": lambda n: Segment(SYN, seq=n, payload=b""),
    "data beyond the window": lambda n: Segment(seq=FAR + n),
    "data of long ago": lambda n: Segment(seq=-len(PAYLOAD) - n % 1000),
    "an old timestamp": lambda n: Segment(older_ms=DAY_MS + n),
    "data without an acknowledgement": lambda n: Segment(PSH),
    "urgent beyond the window": lambda n: Segment(ACK | URG, seq=FAR + n),
}


def build(kind: Segment, at: Numbers, source: tuple[str, int], target: tuple[str, int]) -> bytes:
    """The whole packet, with its IP header."""
    version = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    ends = socket.inet_pton(version, source[0]) + socket.inet_pton(version, target[0])
    options = b""
    if at.tsval is not None:
        options = struct.pack("!BBBBII", 1, 1, 8, 10, (at.tsval - kind.older_ms) & 0xFFFFFFFF, 0)
    seq, ack = (at.snd_nxt + kind.seq) & 0xFFFFFFFF, (at.rcv_nxt + kind.ack) & 0xFFFFFFFF
    urgent = len(kind.payload) if kind.flags & URG else 0
    words = (
        source[1],
        target[1],
        seq,
        ack if kind.flags & ACK else 0,
        (20 + len(options)) << 2,
        kind.flags,
        500,
    )
    length = 20 + len(options) + len(kind.payload)
    if version == socket.AF_INET6:
        pseudo = ends + struct.pack("!II", length, socket.IPPROTO_TCP)
        head = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_TCP, 64) + ends
    else:
        pseudo = ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, length)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, socket.IPPROTO_TCP, 0) + ends
    rest = struct.pack("!H", urgent) + options + kind.payload
    start = struct.pack("!HHIIBBH", *words)
    total = checksum((pseudo + start + b"\0\0" + rest).ljust((len(pseudo) + length + 1) // 2 * 2, b"\0"))
    return head + start + struct.pack("!H", total) + rest


def odd_peer(session: Session) -> None:
    """Lines come back, one after the other, and before each some segments are forged."""
    ramp, offset = session.ramp(), 0
    with (
        session.connect() as connection,
        socket.socket(session.family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
    ):
        ends = [end[:2] for end in (connection.sock.getsockname(), connection.sock.getpeername())]
        for _ in session.until_end():
            at = numbers(connection.sock)
            # until data came back a stack may still shake hands, which a SYN within the window ends
            for name in session.random.sample(sorted(FORGED), 2 if offset else 0):
                kind = FORGED[name](session.random.randrange(10_000))
                if kind.older_ms and at.tsval is None:
                    continue  # without timestamps nothing tells that it is old
                packet = build(kind, at, *ends)
                raw.sendto(packet, (session.address, 0))
            length = session.random.choice((1, 5, 64, 200, 1400, 8000))
            with session.gap.request():
                connection.send(ramp.chunk(offset, length))
                connection.take_ramp(ramp, length, offset)
            offset += length
            session.started()
            session.result.requests += 1
