"""The client of long connections, run by its path in its host: ``client.py MODE ADDRESS PORT SECONDS``.

As fast as it goes, until it is over or the connection is lost:

    download        receive
    upload          send; the clock stops when the server has said that it has read everything
    stand           receive SECONDS bytes; then stand still until stdin ends, and receive some more

What somebody notices who connects again when the connection is lost, or when nothing came for GIVE_UP_S:

    watch-download  receive
    watch-upload    send; the server tells how far it is after every STEP_BYTES
    watch-request   a question, its answer, a pause of PAUSE_S, the next question
    watch-idle      say nothing for SECONDS, then ask once
    watch-https     receive the page /large over TLS, whoever the server is

Writes ``started`` on stderr when the traffic flows, and one JSON object on stdout at the end: ``bytes,
seconds, arrivals_s`` (when something arrived: CLOCK_MONOTONIC), ``asked_s`` (watch-idle: when it asked),
``breaks`` (lost connections), and ``error``, empty unless a connection was lost that is not opened again.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

STEP_BYTES = 1 << 16
MESSAGE = bytes(64)
BUFFER_BYTES = 1 << 18
PATIENCE_S = 10.0
"""A connection on which nothing moves for so long is lost."""
GIVE_UP_S = 1.0
"""The same, for a client that connects again then."""
CONNECT_S = 0.2
RETRY_S = 0.005
PAUSE_S = 0.001

Report = dict[str, Any]


class Client:
    """What all modes share: the server's address, when the time is over, and the report."""

    def __init__(self, address: str, port: int, seconds: float) -> None:
        self.address, self.seconds = (address, port), seconds
        self.report: Report = {"bytes": 0, "seconds": 0.0, "arrivals_s": [], "asked_s": None, "breaks": 0}
        self.buffer = bytearray(BUFFER_BYTES)
        self.begin_s = 0.0

    def started(self) -> None:
        """Tell the parent process that the traffic flows (once), and begin to count the time."""
        if not self.begin_s:
            self.begin_s = time.monotonic()
            print("started", file=sys.stderr, flush=True)

    def over(self) -> bool:
        """Whether the time is over, which begins with the traffic."""
        return bool(self.begin_s) and time.monotonic() >= self.begin_s + self.seconds

    def connect(self, timeout_s: float) -> socket.socket:
        """Open a connection on which every call gives up after `timeout_s`."""
        sock = socket.create_connection(self.address, timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def receive(self, sock: socket.socket) -> int:
        """Receive something, note when, and return how much; raises OSError at the end of the connection."""
        count = sock.recv_into(self.buffer)
        if not count:
            raise ConnectionError("the server closed the connection")
        self.report["arrivals_s"].append(time.monotonic())
        return count

    # ---- once

    def download(self, sock: socket.socket) -> None:
        """Receive from the first byte on until the time is over."""
        sock.sendall(b"down\n")
        self.receive(sock)
        self.started()
        received = 0
        while not self.over():
            received += self.receive(sock)
        self.report |= {"bytes": received, "seconds": time.monotonic() - self.begin_s}

    def stand(self, sock: socket.socket) -> None:
        """Receive as many bytes as were given for the time, stand still, and go on at the end of stdin."""
        wanted, begin_s = int(self.seconds), time.monotonic()
        sock.sendall(b"down\n")
        for part in (wanted, BUFFER_BYTES):
            left = part
            while left:
                count = sock.recv_into(self.buffer, min(left, BUFFER_BYTES))
                if not count:
                    raise ConnectionError("the server closed the connection")
                left -= count
            if not self.begin_s:
                self.report |= {"bytes": wanted, "seconds": time.monotonic() - begin_s}
                self.started()
                sys.stdin.read()

    def upload(self, sock: socket.socket) -> None:
        """Send until the time is over, then FIN; the clock stops when the server says that it has all."""
        sock.sendall(b"up 0\n")
        self.started()
        sent = 0
        while not self.over():
            sent += sock.send(self.buffer)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while told := sock.recv(64):
            answer += told
        if int.from_bytes(answer, "big") != sent:
            raise ConnectionError(f"the server says {answer!r} for {sent} bytes")
        self.report |= {"bytes": sent, "seconds": time.monotonic() - self.begin_s}

    # ---- again and again

    def watch(self, body: Callable[[socket.socket], None]) -> None:
        """Let `body` have a connection until the time is over, a new one whenever it loses one."""
        while not self.over():
            self.once(body)

    def once(self, body: Callable[[socket.socket], None]) -> bool:
        """Let `body` have a connection. False: it got none, or lost it."""
        try:
            with self.connect(CONNECT_S) as sock:
                try:
                    sock.settimeout(GIVE_UP_S)
                    body(sock)
                    return True
                except OSError:
                    self.report["breaks"] += 1
        except OSError:
            if not self.begin_s:
                raise
            time.sleep(RETRY_S)
        return False

    def watch_download(self, sock: socket.socket) -> None:
        """Receive."""
        sock.sendall(b"down\n")
        while not self.over():
            self.receive(sock)
            self.started()

    def watch_https(self, sock: socket.socket) -> None:
        """Receive."""
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: bench\r\n\r\n")
        while not self.over():
            self.receive(sock)
            self.started()

    def watch_upload(self, sock: socket.socket) -> None:
        """Send, and be told how far the server is."""
        sock.sendall(f"up {STEP_BYTES}\n".encode())
        sock.setblocking(False)
        last_s = time.monotonic()
        while not self.over():
            readable, writable, _ = select.select([sock], [sock], [], GIVE_UP_S)
            if readable:
                self.receive(sock)
                self.started()
                last_s = time.monotonic()
            if writable:
                sock.send(self.buffer)
            if time.monotonic() - last_s > GIVE_UP_S:
                raise TimeoutError

    def watch_request(self, sock: socket.socket) -> None:
        """One question after the other."""
        sock.sendall(b"echo\n")
        while not self.over():
            self.ask(sock)
            self.started()
            time.sleep(PAUSE_S)

    def watch_idle(self, sock: socket.socket) -> None:
        """One round trip, silence, one round trip."""
        sock.sendall(b"echo\n")
        if not self.begin_s:
            self.ask(sock)
            self.started()
            time.sleep(self.seconds)
            self.report["asked_s"] = time.monotonic()
        self.ask(sock)

    def idle(self) -> None:
        """Be idle, then ask, on a new connection if need be, for PATIENCE_S at most."""
        while not self.once(self.watch_idle):
            if time.monotonic() > self.begin_s + self.seconds + PATIENCE_S:
                return

    def ask(self, sock: socket.socket) -> None:
        """One round trip."""
        sock.sendall(MESSAGE)
        left = len(MESSAGE)
        while left:
            left -= self.receive(sock)


class TlsClient(Client):
    """One whose connections are of TLS."""

    def connect(self, timeout_s: float) -> socket.socket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = super().connect(timeout_s)
        try:
            return context.wrap_socket(sock)
        except BaseException:
            sock.close()
            raise


def main() -> None:
    """Run one measurement and report."""
    mode, address, port, seconds = sys.argv[1:]
    kind = TlsClient if mode.endswith("-https") else Client
    client = kind(address, int(port), float(seconds))
    error = ""
    try:
        if mode == "watch-idle":
            client.idle()
        elif mode.startswith("watch-"):
            client.watch(getattr(client, mode.replace("-", "_")))
        else:
            with client.connect(PATIENCE_S) as sock:
                {"download": client.download, "upload": client.upload, "stand": client.stand}[mode](sock)
    except OSError as problem:
        error = f"{mode} {address}:{port}: {problem}"
        client.started()
    print(json.dumps(client.report | {"error": error}))


if __name__ == "__main__":
    main()
