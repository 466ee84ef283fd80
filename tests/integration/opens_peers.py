"""Two ends of connections that a server opens.

opens_peers.py serve PORT             serves lines `ADDRESS PORT SEED BYTES`: connects there from the service
                                      address, exchanges streams, answers `ok` or what went wrong. With
                                      `tls` at the end: over TLS, first the one stream, then the other one
opens_peers.py echo PORT              says each line again
opens_peers.py hear PORT SEED BYTES   what it connects to: takes one connection, says how far it is each time
                                      another MiB has come, and then `ok`
opens_peers.py hear-tls PORT SEED BYTES PEM
                                      the same over TLS
                                      All of them sign with the key in MD5_KEY, if there is one, what they
                                      exchange with the addresses in MD5_PEERS (TCP-MD5, RFC 2385)
opens_peers.py mail PORT              a mail server of one client: the same of a message, and then its digest
"""

from __future__ import annotations

import hashlib
import os
import selectors
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from typing import IO

from lab.workloads.ramp import Ramp

CHUNK = 1 << 16
PATIENCE_S = 25
TCP_MD5SIG = 14


def sign(at: socket.socket) -> socket.socket:
    """Have the kernel sign, and insist on signatures; struct tcp_md5sig of linux/tcp.h."""
    key = os.environ.get("MD5_KEY", "").encode()
    for peer in os.environ.get("MD5_PEERS", "").split():
        if at.family == socket.AF_INET6:
            address = socket.inet_pton(socket.AF_INET6, peer if ":" in peer else f"::ffff:{peer}")
            place = struct.pack("=HHI16s", socket.AF_INET6, 0, 0, address)
        elif ":" not in peer:
            place = struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(peer))
        else:
            continue
        at.setsockopt(
            socket.IPPROTO_TCP,
            TCP_MD5SIG,
            place.ljust(128, b"\0") + struct.pack("=BBHi80s", 0, 0, len(key), 0, key),
        )
    return at


def connect(address: str, port: int, local: str | None = None) -> socket.socket:
    """Connect there."""
    at = sign(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
    at.settimeout(PATIENCE_S)
    if local is not None:
        at.bind((local, 0))
    at.connect((address, port))
    return at


def listen(port: int) -> socket.socket:
    """Wait for connections there."""
    return sign(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))


def exchange(
    at: socket.socket, said: Ramp, heard: Ramp, count: int, progress: Callable[[int], None] = lambda _: None
) -> str:
    """Send one stream, have the other one; return "ok" or what is wrong."""
    at.setblocking(False)
    sent = got = 0
    with selectors.DefaultSelector() as ready:
        ready.register(at, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while got < count or sent < count:
            events = ready.select(PATIENCE_S)
            if not events:
                return f"stands still: {sent} sent, {got} received"
            if events[0][1] & selectors.EVENT_READ:
                data = at.recv(CHUNK)
                if not data:
                    return f"closed behind {got} bytes"
                if (wrong := heard.mismatch(got, data)) is not None:
                    return f"wrong byte at {wrong}"
                got += len(data)
                progress(got)
            if events[0][1] & selectors.EVENT_WRITE and sent < count:
                sent += at.send(said.chunk(sent, min(CHUNK, count - sent)))
                if sent == count:
                    ready.modify(at, selectors.EVENT_READ)
    at.setblocking(True)
    at.settimeout(PATIENCE_S)
    at.shutdown(socket.SHUT_WR)
    return "ok" if not at.recv(1) else "more than all"


def receive(
    at: socket.socket, heard: Ramp, count: int, progress: Callable[[int], None] = lambda _: None
) -> str:
    """Have a stream; return "ok" or what is wrong."""
    got = 0
    while got < count:
        data = at.recv(CHUNK)
        if not data:
            return f"closed behind {got} bytes"
        if (wrong := heard.mismatch(got, data)) is not None:
            return f"wrong byte at {wrong}"
        got += len(data)
        progress(got)
    return "ok"


def send(at: socket.socket, said: Ramp, count: int) -> None:
    """Send a stream, in the same pieces each time."""
    for offset in range(0, count, CHUNK):
        at.sendall(said.chunk(offset, min(CHUNK, count - offset)))


def call(local: str, address: str, port: int, seed: int, count: int, tls: bool) -> str:
    """Connect out of the service, and exchange."""
    try:
        with connect(address, port, local) as out:
            if not tls:
                return exchange(out, Ramp(seed), Ramp(seed + 1), count)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(out) as inside:
                send(inside, Ramp(seed), count)
                return receive(inside, Ramp(seed + 1), count)
    except OSError as error:
        return type(error).__name__


def attend(stream: socket.socket) -> None:
    """Do what a client says."""
    local = stream.getsockname()[0].removeprefix("::ffff:")
    with stream, stream.makefile("rw") as lines:
        for line in lines:
            address, port, seed, count, *how = line.split()
            lines.write(call(local, address, int(port), int(seed), int(count), how == ["tls"]) + "\n")
            lines.flush()


def serve(port: int) -> None:
    """Serve clients."""
    with listen(port) as door:
        while True:
            threading.Thread(target=attend, args=[door.accept()[0]], daemon=True).start()


def echo(port: int) -> None:
    """Say each line again, to one client after the other."""
    with listen(port) as door:
        while True:
            stream = door.accept()[0]
            with stream, stream.makefile("rw") as lines:
                for line in lines:
                    lines.write(line)
                    lines.flush()


class Progress:
    """Tells each MiB."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self, got: int) -> None:
        """So many bytes have come."""
        if got >> 20 > self.told:
            self.told = got >> 20
            print(self.told, flush=True)


def take_one(port: int) -> socket.socket:
    """A connection that comes there."""
    with listen(port) as door:
        print("hears", flush=True)
        return door.accept()[0]


def hear(port: int, seed: int, count: int) -> None:
    """Be what a server connects to."""
    with take_one(port) as stream:
        print(exchange(stream, Ramp(seed + 1), Ramp(seed), count, Progress()), flush=True)


def hear_tls(port: int, seed: int, count: int, pem: str) -> None:
    """... over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with take_one(port) as stream, context.wrap_socket(stream, server_side=True) as inside:
        told = receive(inside, Ramp(seed), count, Progress())
        send(inside, Ramp(seed + 1), count)
        print(told, flush=True)


def mail(port: int) -> None:
    """Take mail (RFC 5321); each message is told by the digest of what stands behind its header."""
    with listen(port) as door:
        print("hears", flush=True)
        stream, _ = door.accept()
        with stream, stream.makefile("rwb") as lines:
            say = lambda words: (lines.write(words + b"\r\n"), lines.flush())  # noqa: E731
            say(b"220 sink.example ESMTP")
            for line in lines:
                word = line[:4].upper()
                say({b"DATA": b"354 go on", b"QUIT": b"221 bye"}.get(word, b"250 ok"))
                if word == b"DATA":
                    print(message(lines), flush=True)
                    say(b"250 taken")


def message(lines: IO[bytes]) -> str:
    """Read one; say each time another MiB of it has come. Return the digest of its body."""
    body, got, told, digest = False, 0, 0, hashlib.sha256()
    for line in iter(lines.readline, b".\r\n"):
        if body:
            digest.update(line)
        body, got = body or line == b"\r\n", got + len(line)
        if got >> 20 > told:
            told = got >> 20
            print(told, flush=True)
    return digest.hexdigest()


if __name__ == "__main__":
    what: dict[str, Callable[..., None]] = {
        "serve": serve,
        "echo": echo,
        "hear": hear,
        "hear-tls": hear_tls,
        "mail": mail,
    }
    what[sys.argv[1]](*(int(word) if word.isdigit() else word for word in sys.argv[2:]))
