"""The client of the measurements, which runs by its path in its host: ``client.py MODE ADDRESS PORT AMOUNT``.

Modes: ``download SECONDS``, ``upload SECONDS`` (as fast as it goes), ``progress SECONDS`` (an upload in which
the server tells how far it is after every STEP_BYTES), ``echo COUNT`` (round trips of ECHO_BYTES bytes).

Writes ``started PORT`` (its own port) on stderr when the traffic flows, and one JSON object on stdout at the
end: ``bytes, seconds, arrivals_s`` (when something arrived: CLOCK_MONOTONIC), ``round_trips_us``, and
``error``, which is empty when the connection lived to its end.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Any

STEP_BYTES = 1 << 16
ECHO_BYTES = 64
WARM_UP = 200
"""Round trips that are not counted."""
BUFFER_BYTES = 1 << 18
PATIENCE_S = 10.0
"""A connection on which nothing moves for so long is lost."""

Report = dict[str, Any]


def started(sock: socket.socket) -> None:
    """Tell the parent process that the traffic flows, and from which port."""
    print("started", sock.getsockname()[1], file=sys.stderr, flush=True)


def download(sock: socket.socket, seconds: float, report: Report) -> None:
    """Receive for `seconds` from the first byte on, then close (with a RST, as data is still under way)."""
    sock.sendall(b"down\n")
    buffer, arrivals, received = bytearray(BUFFER_BYTES), report["arrivals_s"], 0
    sock.recv(1)
    begin = time.monotonic()
    started(sock)
    while time.monotonic() < begin + seconds:
        count = sock.recv_into(buffer)
        if count == 0:
            raise ConnectionError("the server closed the connection")
        arrivals.append(time.monotonic())
        received += count
    report |= {"bytes": received, "seconds": arrivals[-1] - begin}


def upload(sock: socket.socket, seconds: float, report: Report, step: int = 0) -> None:
    """Send for `seconds`, then FIN; the clock stops at the server's FIN, when it has read everything."""
    sock.sendall(f"up {step}\n".encode())
    data, arrivals, sent, answer = bytes(BUFFER_BYTES), report["arrivals_s"], 0, b""
    sock.setblocking(False)
    begin = time.monotonic()
    started(sock)
    ending = False
    while True:
        readable, writable, _ = select.select([sock], [] if ending else [sock], [], PATIENCE_S)
        if readable:
            told = sock.recv(BUFFER_BYTES)
            if not told:
                break
            arrivals.append(time.monotonic())
            answer = (answer + told)[-8:]
        if writable:
            sent += sock.send(data)
        if not readable and not writable:
            raise TimeoutError(f"nothing moved for {PATIENCE_S:g} s")
        if not ending and time.monotonic() >= begin + seconds:
            ending = True
            sock.shutdown(socket.SHUT_WR)
    report |= {"bytes": sent, "seconds": time.monotonic() - begin}
    counted = int.from_bytes(answer, "big")
    if not ending or counted != sent:
        raise ConnectionError(f"the server closed the connection at byte {counted} of {sent}")


def progress(sock: socket.socket, seconds: float, report: Report) -> None:
    """Upload, and be told by the server how far it is: what arrives shows whether it goes on."""
    upload(sock, seconds, report, STEP_BYTES)


def echo(sock: socket.socket, count: float, report: Report) -> None:
    """Make `count` round trips, one after the other."""
    sock.sendall(b"echo\n")
    message, trips = bytes(ECHO_BYTES), report["round_trips_us"]
    for number in range(-WARM_UP, int(count)):
        if number == 0:
            started(sock)
        begin = time.perf_counter_ns()
        sock.sendall(message)
        left = ECHO_BYTES
        while left:
            data = sock.recv(left)
            if not data:
                raise ConnectionError("the server closed the connection")
            left -= len(data)
        if number >= 0:
            trips.append((time.perf_counter_ns() - begin) / 1000)


MODES = {"download": download, "upload": upload, "progress": progress, "echo": echo}


def main() -> None:
    """Run one measurement and report."""
    mode, address, port, amount = sys.argv[1:]
    report: Report = {"bytes": 0, "seconds": 0.0, "arrivals_s": [], "round_trips_us": [], "error": ""}
    try:
        with socket.create_connection((address, int(port)), PATIENCE_S) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            MODES[mode](sock, float(amount), report)
    except OSError as error:
        report["error"] = f"{mode} {address}:{port}: {error}"
    print(json.dumps(report))


if __name__ == "__main__":
    main()
