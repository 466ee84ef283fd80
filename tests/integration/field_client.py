"""field_client.py PROTOCOL ADDRESS PORT: a client of one connection that knows what right answers look like.

For each line that it reads, `WHAT COUNT`, it asks so often, each time after the answer to the last. It prints
`right` after that, or once and for all how its connection ended: `reset`, or what must not be: `wrong` with
the bytes, `closed`, `silence`.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
from collections.abc import Callable

PATIENCE_S = 20.0


class WrongError(Exception):
    """Bytes that no server would send."""


class Client:
    """Subclasses begin a conversation, and ask."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = socket.create_connection((address, port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.number = 0
        self.begin()

    def begin(self) -> None:
        """What comes before the first question."""

    def send(self, data: bytes) -> None:
        """Say it."""
        self.socket.sendall(data)

    def line(self) -> bytes:
        """A line of the server."""
        said = self.stream.readline()
        if not said.endswith(b"\r\n"):
            raise EOFError(said)
        return said[:-2]

    def exactly(self, size: int) -> bytes:
        """So many bytes of the server."""
        said = self.stream.read(size)
        if len(said) < size:
            raise EOFError(said)
        return said


def expect(said: bytes, wanted: bytes) -> None:
    """Compare with a pattern."""
    if not re.fullmatch(wanted, said):
        raise WrongError(f"{said[:200]!r}, not {wanted!r}")


class Smtp(Client):
    """Sends mails, and waits for each answer as RFC 5321 wants it."""

    def begin(self) -> None:
        """Greet."""
        expect(self.line(), rb"220 mail\.example ESMTP Exim .*")
        self.send(b"EHLO client.example\r\n")
        expect(self.line(), rb"250-mail\.example Hello .*")
        while (said := self.line()).startswith(b"250-"):
            expect(said, rb"250-[A-Z0-9]+( [0-9]+)?")
        expect(said, rb"250 HELP")

    def mail(self) -> None:
        """One mail."""
        for said, wanted in (
            (b"MAIL FROM:<a@example>", rb"250 OK"),
            (b"RCPT TO:<b@example>", rb"250 Accepted"),
            (b"DATA", rb"354 Enter message, .*"),
            (b"Subject: %d\r\n\r\nhello\r\n." % self.number, rb"250 OK id=[0-9A-Za-z-]+"),
        ):
            self.send(said + b"\r\n")
            expect(self.line(), wanted)


class Mqtt(Client):
    """Publishes to itself, with quality of service 2 (MQTT 3.1.1, section 4.3.3)."""

    keep_alive_s = 0

    def begin(self) -> None:
        """Connect and subscribe, under a name and to a topic of its own."""
        self.topic = b"\0\5%05d" % self.socket.getsockname()[1]
        self.packet(0x10, b"\0\4MQTT\4\2" + struct.pack(">H", self.keep_alive_s) + self.topic)
        self.wait({0x20: b"\0\0"})
        self.packet(0x82, b"\0\1" + self.topic + b"\2")
        self.wait({0x90: b"\0\1\2"})

    def packet(self, kind: int, body: bytes) -> None:
        """Send one of less than 128 bytes."""
        self.send(bytes([kind, len(body)]) + body)

    def receive(self) -> tuple[int, bytes]:
        """Take one of less than 128 bytes."""
        kind, size = self.exactly(2)
        return kind, self.exactly(size)

    def wait(self, wanted: dict[int, bytes]) -> None:
        """Until each of these has come, in any order."""
        left = dict(wanted)
        while left:
            kind, body = self.receive()
            if left.pop(kind, None) != body:
                raise WrongError(f"{kind:#x} {body!r}, not {wanted!r}")

    def publish(self) -> None:
        """A message there and back."""
        there = struct.pack(">H", self.number % 0xFFFF + 1)
        text = b"message %d" % self.number
        self.packet(0x34, self.topic + there + text)
        self.wait({0x50: there})
        self.packet(0x62, there)
        self.wait_publish(there, text)

    def wait_publish(self, there: bytes, text: bytes) -> None:
        """The broker's own delivery may come before or after it has confirmed ours."""
        confirmed, back = False, b""
        while not (confirmed and back):
            kind, body = self.receive()
            if kind == 0x70 and body == there and not confirmed:
                confirmed = True
            elif kind == 0x34 and not back and body[:7] == self.topic and body[9:] == text:
                back = body[7:9]
                self.packet(0x50, back)
            else:
                raise WrongError(f"{kind:#x} {body!r} for {text!r}")
        self.wait({0x62: back})
        self.packet(0x70, back)


class IdleMqtt(Mqtt):
    """Is disconnected if it says nothing for a second and a half (section 3.1.2.10)."""

    keep_alive_s = 1

    def idle(self) -> None:
        """Nothing but a PINGREQ in a second."""
        time.sleep(self.keep_alive_s)
        self.packet(0xC0, b"")
        self.wait({0xD0: b""})


class Redis(Client):
    """Counts, and asks how the server is."""

    def incr(self) -> None:
        """One more."""
        self.send(b"INCR judge%d\r\n" % self.socket.getsockname()[1])
        expect(self.line(), b":%d" % self.number)

    def info(self) -> None:
        """A text whose length depends on the numbers in it."""
        self.send(b"INFO\r\n")
        head = self.line()
        expect(head, rb"\$[0-9]+")
        text = self.exactly(int(head[1:]) + 2)
        if not text.startswith(b"# Server\r\nredis_version:") or not text.endswith(b"\r\n\r\n"):
            raise WrongError(repr(text))


class Postgres(Client):
    """The protocol of PostgreSQL, version 3, simple queries."""

    def begin(self) -> None:
        """Log in."""
        body = struct.pack(">I", 3 << 16) + b"user\0test\0database\0postgres\0\0"
        self.send(struct.pack(">I", 4 + len(body)) + body)
        while (kind := self.message()[0]) != b"Z":
            if kind not in (b"R", b"S", b"K"):
                raise WrongError(f"{kind!r} at the log-in")

    def message(self) -> tuple[bytes, bytes]:
        """One of the server's."""
        kind = self.exactly(1)
        size = struct.unpack(">I", self.exactly(4))[0]
        if kind not in b"RSKZTDCEN" or not 4 <= size < 10_000:
            raise WrongError(f"{kind!r} of {size} bytes")
        return kind, self.exactly(size - 4)

    def query(self, text: bytes) -> bytes:
        """Ask; the one value of the one row."""
        self.send(b"Q" + struct.pack(">I", 5 + len(text)) + text + b"\0")
        said = [self.message() for _ in range(4)]
        if [kind for kind, _ in said] != [b"T", b"D", b"C", b"Z"]:
            raise WrongError(repr(said))
        return said[1][1][6:]

    def same(self) -> None:
        """A value that is the same on both."""
        expect(self.query(b"SELECT %d + 1" % self.number), b"%d" % (self.number + 1))

    def clock(self) -> None:
        """The time, without zeros at its end."""
        expect(self.query(b"SELECT clock_timestamp()"), rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\+00")


CLIENTS: dict[str, type[Client]] = {
    "smtp": Smtp, "mqtt": Mqtt, "idle": IdleMqtt, "redis": Redis, "postgres": Postgres,
}  # fmt: skip


def attempt(what: Callable[[], object]) -> str:
    """Do it; '' or how it went wrong."""
    try:
        what()
    except ConnectionResetError:
        return "reset"
    except EOFError as error:
        return f"closed {error}"
    except TimeoutError:
        return "silence"
    except WrongError as error:
        return f"wrong {error}"
    return ""


def main() -> None:
    """Serve the lines on standard input."""
    protocol, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    found: list[Client] = []
    ended = attempt(lambda: found.append(CLIENTS[protocol](address, port)))
    for line in sys.stdin:
        what, count = line.split()
        for _ in range(int(count)):
            if not ended:
                found[0].number += 1
                ended = attempt(getattr(found[0], what))
        print(ended or "right", flush=True)


if __name__ == "__main__":
    main()
