"""The client of a probe: says what is generated, or was recorded, to the service. Run in the client's host.

    python -m lab.probe.client ADDRESS PORT [--tls] [--connections N] [--at-once N] [--replay FILE]

It judges nothing: what was answered is looked at on the nodes. It prints how many connections had an answer,
and its exit status is 1 if none had.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import ssl
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from lab.probe.scripts import turns

FIRST_S, QUIET_S, END_S = 1.5, 0.05, 10.0
"""How long an answer is waited for; how long it has to be silent to be over; how long for the end of all."""


def open_stream(address: str, port: int, context: ssl.SSLContext | None, session: Any) -> socket.socket:
    """Connect; with TLS, and the session of an earlier connection, if these are given."""
    plain = socket.create_connection((address, port), END_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return plain
    return context.wrap_socket(plain, server_hostname="probe.test", session=session)


def answer(stream: socket.socket) -> tuple[int, bool]:
    """Read until it is silent; returns how much came, and whether it has ended."""
    got = 0
    while True:
        stream.settimeout(QUIET_S if got else FIRST_S)
        try:
            piece = stream.recv(1 << 16)
        except TimeoutError:
            return got, False
        if not piece:
            return got, True
        got += len(piece)


def converse(stream: socket.socket, said: list[bytes], greets: bool) -> int:
    """Say one thing after the other, and hear the end; returns how much was answered."""
    got, ended = answer(stream) if greets else (0, False)
    for words in said:
        if not ended:
            stream.settimeout(END_S)
            stream.sendall(words)
            more, ended = answer(stream)
            got += more
    if not ended:
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_WR)
        stream.settimeout(END_S)
        while piece := stream.recv(1 << 16):
            got += len(piece)
    return got


def generated(options: argparse.Namespace) -> Counter[str]:
    """Make the connections, some at once; returns what became of them."""
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    numbers, lock, outcomes = iter(range(options.connections)), threading.Lock(), Counter[str]()

    def work() -> None:
        session = None
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            got, word = 0, "answered"
            try:
                with open_stream(options.address, options.port, context, session) as stream:
                    got = converse(stream, turns(options.port, number), options.port in GREETING)
                    session = getattr(stream, "session", None)
            except OSError as error:
                word = f"failed: {error.strerror or error}"
            with lock:
                outcomes[word if got or word != "answered" else "silent"] += 1

    threads = [threading.Thread(target=work) for _ in range(options.at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


GREETING = frozenset({21, 22, 25, 110, 143, 465, 587, 990, 993, 995})
"""Ports at which the server speaks first."""


class Replay:
    """Says what was recorded, in the order of the recording: of each piece when that connection has had as
    much as it had then, or when no more comes."""

    def __init__(self, address: str, port: int) -> None:
        self._place, self._streams = (address, port), dict[int, socket.socket]()
        self._got, self._ended = Counter[int](), set[int]()
        self._selector = selectors.DefaultSelector()

    def play(self, steps: list[list[Any]]) -> Counter[str]:
        """Go through the steps: connection; "open", "say" or "end"; how much it had heard; text in hex."""
        outcomes = Counter[str]()
        for number, act, heard, text in steps:
            try:
                self._step(number, act, heard, bytes.fromhex(text))
            except OSError as error:
                outcomes[f"failed: {error.strerror or error}"] += 1
                self._forget(number)
        with contextlib.suppress(OSError):
            while self._streams.keys() - self._ended and self._hear(END_S):
                pass
        outcomes["answered"] += sum(1 for got in self._got.values() if got)
        for number in list(self._streams):
            self._forget(number)
        return outcomes

    def _step(self, number: int, act: str, heard: int, text: bytes) -> None:
        if act == "open":
            self._streams[number] = stream = socket.create_connection(self._place, END_S)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(stream, selectors.EVENT_READ, number)
        elif number in self._streams:
            while self._got[number] < heard and number not in self._ended and self._hear(FIRST_S):
                pass
            if act == "say":
                self._streams[number].sendall(text)
            else:
                self._streams[number].shutdown(socket.SHUT_WR)

    def _hear(self, patience_s: float) -> bool:
        """Take what has come; False if nothing came in that time."""
        ready = self._selector.select(patience_s)
        for entry, _ in ready:
            assert isinstance(entry.fileobj, socket.socket)
            try:
                piece = entry.fileobj.recv(1 << 16)
            except OSError:
                piece = b""
            self._got[entry.data] += len(piece)
            if not piece:
                self._selector.unregister(entry.fileobj)
                self._ended.add(entry.data)
        return bool(ready)

    def _forget(self, number: int) -> None:
        if (stream := self._streams.pop(number, None)) is not None:
            if number not in self._ended:
                self._selector.unregister(stream)
            stream.close()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    if options.replay is not None:
        outcomes = Replay(options.address, options.port).play(json.loads(options.replay.read_text()))
    else:
        outcomes = generated(options)
    print(json.dumps(outcomes))
    sys.exit(0 if outcomes["answered"] else 1)


if __name__ == "__main__":
    main()
