"""UDP clients: echo, and a strict TFTP client (RFC 1350, 2347, 2348, 2349)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Any, TypeVar

from lab.workloads.base import Failure, Pace, Session, verify
from lab.workloads.ramp import Ramp
from lab.workloads.servers.launch import CONTENT_SEED

RETRY_S = 0.25
Answer = TypeVar("Answer")
Sender = tuple[Any, ...]
RRQ, WRQ, DATA, ACK, ERROR, OACK = 1, 2, 3, 4, 5, 6


class Datagrams:
    """A UDP socket that asks and waits for an acceptable answer; again every 250 ms until the bound."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.sock = socket.socket(session.family, socket.SOCK_DGRAM)
        self.to: Sender = (session.address, session.port)

    def __enter__(self) -> Datagrams:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send one datagram to the present peer."""
        self.sock.sendto(data, self.to)
        self._session.result.bytes_up += len(data)

    def ask(self, question: bytes, accept: Callable[[bytes, Sender], Answer | None], doing: str) -> Answer:
        """Send ``question`` until ``accept(data, sender)`` returns something, and return that.

        Raises:
            Failure: of kind *stall*, when no acceptable answer came within the bound.
        """
        deadline = time.monotonic() + self._session.bound_s
        self.send(question)
        again_at = time.monotonic() + RETRY_S
        while (now := time.monotonic()) < deadline:
            if now >= again_at:
                self.send(question)
                self._session.result.retried += 1
                again_at = now + RETRY_S
            self.sock.settimeout(max(0.001, again_at - now))
            try:
                data, sender = self.sock.recvfrom(65535)
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                continue
            answer = accept(data, sender)
            if answer is not None:
                self._session.result.bytes_down += len(data)
                self._session.gap.progress()
                return answer
        raise Failure("stall", f"no answer within {self._session.bound_s} s while {doing}")


def udp_echo(session: Session) -> None:
    """Datagrams of many sizes come back unchanged; a lost one is sent again, a repeated answer is fine."""
    _udp_echo(session, (1, 16, 64, 512, 1400, 1472 - 20))


def udp_echo_large(session: Session) -> None:
    """The same with datagrams that travel as fragments."""
    _udp_echo(session, (64, 1400, 3000, 8192))


def _udp_echo(session: Session, sizes: tuple[int, ...]) -> None:
    ramp = session.ramp()
    sent: dict[int, int] = {}
    with Datagrams(session) as link:
        for number, _ in enumerate(session.until_end()):
            size = session.random.choice(sizes)
            question = struct.pack("!I", number) + ramp.span(number * 101, size)
            sent[number] = size

            def accept(data: bytes, sender: Sender, number: int = number) -> bool | None:
                if sender[:2] != (session.address, session.port):
                    raise Failure("wrong", f"an answer from {sender}, which is not the service")
                answered: list[int] = []
                while data or not answered:  # socat's EXEC reads behind a pipe: it may join what came at once
                    which = struct.unpack("!I", data[:4])[0] if len(data) >= 4 else -1
                    if which not in sent or len(data) < 4 + sent[which]:
                        raise Failure("wrong", f"datagram {number}: {len(data)} bytes answer nothing we sent")
                    verify(ramp, which * 101, data[4 : 4 + sent[which]], f"datagram {which}")
                    answered.append(which)
                    data = data[4 + sent[which] :]
                return True if number in answered else None

            with session.gap.request():
                link.ask(question, accept, f"waiting for the echo of datagram {number}")
            session.result.requests += 1
            session.started()
            time.sleep(session.random.uniform(0, 0.01))


class Tftp:
    """One TFTP transfer; the server's port is learnt from its first answer (RFC 1350, section 4)."""

    def __init__(self, session: Session, link: Datagrams, block_size: int) -> None:
        self._session = session
        self._link = link
        self._block_size = block_size
        self._peer: Sender | None = None
        self._asked_again = False

    def _accept(self, data: bytes, sender: Sender) -> tuple[int, int, bytes] | None:
        """Return (opcode, block, rest) of a packet of this transfer; None for a stray second transfer's."""
        if sender[0] != self._session.address:
            raise Failure("wrong", f"an answer from {sender[0]}, which is not the service's address")
        if self._peer is None:
            self._peer = sender
        if sender != self._peer:
            if self._session.result.retried:
                return None
            raise Failure(
                "wrong", f"an answer from port {sender[1]}, the transfer is with port {self._peer[1]}"
            )
        opcode, block = struct.unpack("!HH", data[:4])
        if opcode == ERROR:
            raise Failure("answer", f"the server's error {block}: {data[4:-1].decode(errors='replace')}")
        return (OACK, 0, data[2:]) if opcode == OACK else (opcode, block, data[4:])

    def open(self, opcode: int, name: str, size: int) -> None:
        """Send the request with options, and take the server's OACK."""
        options = {"blksize": str(self._block_size), "tsize": str(size if opcode == WRQ else 0)}
        words = [name, "octet"] + [word for pair in options.items() for word in pair]
        packet = struct.pack("!H", opcode) + b"".join(word.encode() + b"\0" for word in words)

        def accept(data: bytes, sender: Sender) -> bytes | None:
            answer = self._accept(data, sender)
            if answer is None:
                return None
            if answer[0] != OACK:
                raise Failure("answer", f"opcode {answer[0]} where an OACK was due")
            return answer[2]

        oack = self._link.ask(packet, accept, f"requesting {name}").split(b"\0")
        taken = dict(
            zip((k.decode().lower() for k in oack[::2]), (v.decode() for v in oack[1::2]), strict=False)
        )
        if taken.get("blksize") != str(self._block_size) or (taken.get("tsize") != str(size)):
            raise Failure(
                "answer",
                f"the server's options are {taken}, wanted block size {self._block_size}, size {size}",
            )
        assert self._peer is not None
        self._link.to = self._peer

    def get(self, name: str, ramp: Ramp, size: int) -> None:
        """Read a file and verify each block."""
        self.open(RRQ, name, size)
        blocks = size // self._block_size + 1
        pace = Pace(size / self._session.duration_s)
        for number in range(1, blocks + 1):
            offset = (number - 1) * self._block_size
            if not self._session.over:  # the rest as fast as it goes
                pace.wait(offset)
            question = struct.pack("!HH", ACK, (number - 1) & 0xFFFF)
            data = self._link.ask(question, self._block(number), f"reading block {number}")
            if len(data) != min(self._block_size, size - offset):
                raise Failure("wrong", f"block {number} has {len(data)} bytes")
            verify(ramp, offset, data, f"block {number}")
            self._session.started()
        self._link.send(struct.pack("!HH", ACK, blocks & 0xFFFF))

    def _block(self, number: int) -> Callable[[bytes, Sender], bytes | None]:
        def accept(data: bytes, sender: Sender) -> bytes | None:
            answer = self._accept(data, sender)
            if answer is None:
                return None
            if answer[0] == OACK and number == 1:
                self._link.send(struct.pack("!HH", ACK, 0))
                return None
            if answer[0] != DATA or ahead(answer[1], number):
                raise Failure("wrong", f"opcode {answer[0]}, block {answer[1]} where block {number} was due")
            if answer[1] == (number - 1) & 0xFFFF:  # the server lacks our answer (RFC 1350, section 2)
                self._link.send(struct.pack("!HH", ACK, answer[1]))
            return answer[2] if answer[1] == number & 0xFFFF else None

        return accept

    def put(self, name: str, ramp: Ramp, size: int) -> None:
        """Write a file."""
        self.open(WRQ, name, size)
        pace = Pace(size / self._session.duration_s)
        for number in range(1, size // self._block_size + 2):
            offset = (number - 1) * self._block_size
            if not self._session.over:  # the rest as fast as it goes
                pace.wait(offset)
            data = ramp.span(offset, min(self._block_size, size - offset))

            self._link.ask(
                struct.pack("!HH", DATA, number & 0xFFFF) + data, self._ack(number), f"writing block {number}"
            )
            self._session.started()

    def _ack(self, number: int) -> Callable[[bytes, Sender], bool | None]:
        def accept(data: bytes, sender: Sender) -> bool | None:
            answer = self._accept(data, sender)
            if answer is None or (answer[0] == OACK and number == 1):
                return None
            if answer[0] != ACK or ahead(answer[1], number):
                raise Failure("wrong", f"opcode {answer[0]}, block {answer[1]} where ACK {number} was due")
            return True if answer[1] == number & 0xFFFF else None

        return accept


def ahead(block: int, number: int) -> bool:
    """Whether `block` (of 16 bits) comes after `number`; an earlier one may come twice (RFC 1123 4.2.3.1)."""
    return 0 < (block - number) & 0xFFFF < 0x8000


def tftp_get(block_size: int, default_size: int) -> Callable[[Session], None]:
    """A client that reads a file in blocks of this size."""

    def body(session: Session) -> None:
        size = session.size or default_size
        with Datagrams(session) as link:
            session.gap.start()
            Tftp(session, link, block_size).get(f"ramp-{size}.bin", Ramp(CONTENT_SEED), size)
            session.gap.pause()

    return body


def tftp_put(block_size: int, default_size: int) -> Callable[[Session], None]:
    """A client that writes a file in blocks of this size, and reads it back."""

    def body(session: Session) -> None:
        size, name = session.size or default_size, f"put-{session.seed}-{time.time_ns()}.bin"
        with Datagrams(session) as link:
            session.gap.start()
            Tftp(session, link, block_size).put(name, session.ramp(), size)
            session.gap.pause()
        session.duration_s = 0.001
        with Datagrams(session) as link:
            Tftp(session, link, block_size).get(name, session.ramp(), size)

    return body
