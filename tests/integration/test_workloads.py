"""The clients find what they are there to find: wrong bytes, resets, early ends, stalls."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

import pytest

from lab.capture import Emission, Span, out_of_turn, spans, speaks_for_service
from lab.workloads import stream
from lab.workloads.base import Session, run
from lab.workloads.ramp import PERIOD, Ramp

COUNT = 3_000_000


def serve_once(body: Callable[[socket.socket], None]) -> int:
    """Serve one connection on a loopback port after its first line; returns the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as sock:
            sock.makefile("rb", buffering=0).readline()
            with contextlib.suppress(ConnectionError):  # a client that has seen enough hangs up
                body(sock)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def download(body: Callable[[socket.socket], None], bound_s: float = 2.0) -> tuple[str, str]:
    """Run the download client against a server; returns the kind of failure and its words."""
    session = Session("127.0.0.1", serve_once(body), seed=5, size=COUNT, rate=0, bound_s=bound_s)
    result = run(session, stream.bulk_down)
    assert result.ok == (result.kind == "")
    return result.kind, result.why


STREAM = Ramp(5).span(0, COUNT)


def test_right_bytes() -> None:
    """All is well."""
    assert download(lambda sock: sock.sendall(STREAM)) == ("", "")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (STREAM[:777_777] + STREAM[777_778:] + b"x", "1 bytes are missing"),
        (STREAM[:1448] + STREAM[1448 * 3 :] + STREAM[:2896], "2896 bytes are missing"),
        (STREAM[: 1 << 20] + STREAM[(1 << 20) - 65536 : -65536], "65536 bytes are repeated"),
        (STREAM[:999_999] + b"\0" * 100 + STREAM[1_000_099:], "not of this stream"),
        (STREAM[: PERIOD - 1] + bytes([STREAM[PERIOD - 1] ^ 1]) + STREAM[PERIOD:], f"byte {PERIOD - 1} "),
        (STREAM + b"x", "beyond the end"),
    ],
)
def test_wrong_bytes(data: bytes, told: str) -> None:
    """Missing, repeated, foreign, flipped, and superfluous bytes."""
    kind, why = download(lambda sock: sock.sendall(data))
    assert kind == "wrong"
    assert told in why


def test_early_end() -> None:
    """A FIN before the last byte."""
    assert download(lambda sock: sock.sendall(STREAM[:-1]))[0] == "closed"


def test_reset() -> None:
    """A RST in mid-stream."""

    def body(sock: socket.socket) -> None:
        sock.sendall(STREAM[:100])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert download(body)[0] == "reset"


def test_stall() -> None:
    """Silence beyond the bound."""
    stop = threading.Event()

    def body(sock: socket.socket) -> None:
        sock.sendall(STREAM[:100])
        stop.wait(10)

    assert download(body, bound_s=0.2)[0] == "stall"
    stop.set()


def frame(ethertype: int, payload: bytes) -> bytes:
    """An Ethernet frame."""
    return bytes(12) + struct.pack("!H", ethertype) + payload.ljust(80, b"\0")


def test_who_speaks_for_the_service() -> None:
    """IPv4, IPv6, ARP and neighbour advertisements of the service address, and nothing else."""
    service4, service6 = socket.inet_aton("10.77.0.100"), socket.inet_pton(socket.AF_INET6, "fd77::100")
    other6 = socket.inet_pton(socket.AF_INET6, "fd77::2")
    advertisement = b"\x60" + bytes(5) + b"\x3a\xff" + other6 + bytes(16) + b"\x88" + bytes(7) + service6
    assert speaks_for_service(frame(0x0800, b"\x45" + bytes(11) + service4)) == "ip"
    assert speaks_for_service(frame(0x0800, b"\x45" + bytes(15) + service4)) == ""
    assert speaks_for_service(frame(0x0806, bytes(14) + service4)) == "arp"
    assert speaks_for_service(frame(0x0806, bytes(24) + service4)) == ""
    assert speaks_for_service(frame(0x86DD, b"\x60" + bytes(7) + service6)) == "ip6"
    assert speaks_for_service(frame(0x86DD, advertisement)) == "na"
    assert speaks_for_service(b"short") == ""


def test_out_of_turn() -> None:
    """One takeover is two spans; the old one must not come back, and a host may have had nothing to say."""

    def found(hosts: str) -> list[Span]:
        return list(spans(Emission(float(i), host, "ip") for i, host in enumerate(hosts)))

    assert [(s.host, s.frames) for s in spans(Emission(1.0, h, "ip") for h in "aabbb")] == [
        ("a", 2),
        ("b", 3),
    ]
    assert out_of_turn(found("aab"), ["a", "b"]) == ""
    assert out_of_turn(found("b"), ["a", "b"]) == ""
    assert out_of_turn([], ["a", "b"]) == ""
    assert "expected: a then b" in out_of_turn(found("aba"), ["a", "b"])
    assert "expected: a" in out_of_turn(found("ab"), ["a"])
