"""Holds TLS connections at every point of their handshakes, and goes on with all of them when it is told to:
`python handshake_client.py ADDRESS COUNT PORT...`. Tells, as JSON, how each of them ended."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

PATIENCE_S = 20.0
PACE_S = 0.02
"""Between two steps: so the handshakes are under way while a pair changes its roles."""
REQUEST = b"GET /hello HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
VERSIONS = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)


class Told(NamedTuple):
    """How a connection ended: `end` is "well", "failed" (by a reset or an end), or what was wrong."""

    held: str
    version: str
    port: int
    end: str
    why: str = ""


class Handshake:
    """One connection, step by step."""

    def __init__(self, address: str, port: int, version: ssl.TLSVersion) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        self._into, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._into, self._out)
        self._there = (address, port)
        self._socket = socket.socket()
        self._socket.settimeout(PATIENCE_S)
        self._rest = b""
        self.steps: dict[str, Callable[[], None]] = {
            "nothing": self._connect,
            "connected": self._half_hello,
            "half a hello": self._send_rest,
            "a hello": self._read_flight,
            "the server's flight": self._half_finished,
            "half a finished": self._send_rest,
            "finished": self._half_request,
            "half a request": self._send_rest,
        }
        """By what has been done before."""

    def _connect(self) -> None:
        self._socket.connect(self._there)

    def _advance(self) -> bool:
        """Handshake as far as it goes with what has come; whether it is complete."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _half(self) -> None:
        said = self._out.read()
        self._socket.sendall(said[: len(said) // 2])
        self._rest = said[len(said) // 2 :]

    def _send_rest(self) -> None:
        self._socket.sendall(self._rest)

    def _half_hello(self) -> None:
        self._advance()
        self._half()

    def _read_some(self) -> None:
        came = self._socket.recv(65536)
        if not came:
            raise ConnectionError("the server has closed")
        self._into.write(came)

    def _read_flight(self) -> None:
        """... until there is something to answer."""
        while not self._out.pending:
            self._read_some()
            self._advance()

    def _half_finished(self) -> None:
        self._half()

    def _half_request(self) -> None:
        while not self._advance():
            self._read_some()
        self._tls.write(REQUEST)
        self._half()

    def answer(self) -> bytes:
        """All that the server says."""
        said = b""
        while True:
            try:
                part = self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._read_some()
            except ssl.SSLZeroReturnError:
                return said
            else:
                if not part:
                    return said
                said += part


class Held:
    """One that has been brought to a point, and waits there."""

    def __init__(self, one: Handshake, told: Told, go: threading.Event) -> None:
        self._one, self._told, self._go = one, told, go
        self.there = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def told(self) -> Told:
        """How it ended."""
        self._thread.join()
        return self._told

    def _run(self) -> None:
        try:
            for done, step in self._one.steps.items():
                if done == self._told.held:
                    self.there.set()
                    self._go.wait()
                elif self.there.is_set():
                    threading.Event().wait(PACE_S)
                step()
            said = self._one.answer()
            right = said.startswith(b"HTTP/1.1 200 ") and said.endswith(b"\r\n\r\nhello\n")
            self._told = self._told._replace(end="well" if right else f"wrong: {said!r}")
        except ConnectionError as error:
            self._told = self._told._replace(end="failed", why=str(error))
        except OSError as error:  # ssl.SSLError is one: bytes that are not the server's; and so is a timeout
            self._told = self._told._replace(end=f"{type(error).__name__}: {error}")
        finally:
            self.there.set()


def main(address: str, count: int, ports: list[int]) -> None:
    """Hold as many, say so, go on when told, and tell."""
    go = threading.Event()
    points = list(Handshake(address, ports[0], VERSIONS[0]).steps)
    kinds = itertools.cycle(itertools.product(points, VERSIONS, ports))
    held = [
        Held(Handshake(address, port, version), Told(at, version.name, port, ""), go)
        for at, version, port in itertools.islice(kinds, count)
    ]
    for one in held:
        one.there.wait()
    print("held", flush=True)
    sys.stdin.readline()
    go.set()
    json.dump([one.told()._asdict() for one in held], sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [int(port) for port in sys.argv[3:]])
