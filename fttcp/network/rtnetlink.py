"""Rtnetlink, as far as it is needed here: ask for one thing, or for a list that the kernel has filtered.

A host may have a hundred thousand routes. So nothing here is for the thread of an asyncio loop, which
decides who serves; and of a list only what was asked for leaves the kernel (strict checking, Linux 4.20).
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from fttcp.network.nft import parsed

NEWLINK, GETLINK = 16, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
NEWRULE, DELRULE, GETRULE = 32, 33, 34
EXCLUSIVE, REPLACE, CREATE = 0x200, 0x100, 0x400

_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_SOL_NETLINK, _STRICT, _CAP_ACK = 270, 12, 10
_RECEIVED_MAX = 1 << 18
_AT_ONCE = 64
"""Requests in one message to the kernel."""
_ANSWER_S = 10
_INTERRUPTED, _DUMPS = 0x10, 5


class Request(NamedTuple):
    """What the kernel is to do. `body`: header of the family, and attributes."""

    kind: int
    flags: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    """One attribute that is a number of 32 bits."""
    return attribute(kind, struct.pack("=I", value))


def attributes(body: bytes, header: int) -> dict[int, bytes]:
    """Those behind a family's header."""
    return dict(parsed(body[header:]))


def as_number(value: bytes | None) -> int:
    """Of an attribute; 0 if it is not there."""
    return int(struct.unpack_from("=I", value)[0]) if value else 0


class Netlink:
    """A socket to the kernel of this network namespace. What the kernel refuses raises OSError."""

    def __init__(self) -> None:
        """Raises RuntimeError in a thread whose loop runs: its answers may take long."""
        if _in_a_loop():
            raise RuntimeError("rtnetlink is asked in the thread of an asyncio loop: use a thread for it")
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._number = 0
        self._interrupted = False
        self.received = 0
        """Messages that came."""
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _ANSWER_S, 0))
            self._strict()
        except OSError:
            self.close()
            raise

    def _strict(self) -> None:
        """An old kernel sends everything, and whoever asked leaves out what was not meant."""
        try:
            self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def do_all(self, requests: Iterable[Request]) -> list[int]:
        """Have many things done; returns an errno for each, 0 for what was done."""
        waiting, results = list(requests), []
        while waiting:
            some, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            results += self._do_some(some)
        return results

    def _do_some(self, requests: Sequence[Request]) -> list[int]:
        first = self._number + 1
        self._socket.send(b"".join(self._encoded(one, _ACK) for one in requests))
        results: dict[int, int] = {}
        while len(results) < len(requests):
            for kind, told, body in self._received():
                if kind == _ERROR and told >= first:
                    results[told] = -struct.unpack_from("=i", body)[0]
        return [results[told] for told in sorted(results)]

    def get(self, kind: int, body: bytes) -> bytes:
        """The one thing that is asked for."""
        self._socket.send(self._encoded(Request(kind, 0, body), 0))
        while True:
            for what, told, answer in self._received():
                if told != self._number:
                    continue
                if what == _ERROR:
                    error = -struct.unpack_from("=i", answer)[0]
                    raise OSError(error, os.strerror(error))
                return answer

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All that the filter in `body` lets through; nothing if there is no such table or interface. While
        something changes the kernel may pass over what did not: it says so, and is asked again; if that never
        ends, the last answer counts."""
        for _ in range(_DUMPS):
            self._interrupted = False
            found = self._dump(kind, body)
            if not self._interrupted:
                break
        return found

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        self._socket.send(self._encoded(Request(kind, 0, body), _DUMP))
        found: list[bytes] = []
        while True:
            for what, told, answer in self._received():
                if told != self._number:
                    continue
                if what in (_DONE, _ERROR):
                    error = -struct.unpack_from("=i", answer)[0] if answer else 0
                    if error not in (0, errno.ENOENT, errno.ENODEV):
                        raise OSError(error, os.strerror(error))
                    return found
                found.append(answer)

    def _encoded(self, request: Request, flags: int) -> bytes:
        self._number += 1
        length = _HEADER.size + len(request.body)
        header = _HEADER.pack(length, request.kind, _REQUEST | flags | request.flags, self._number, 0)
        return header + request.body + bytes(-length % 4)

    def _received(self) -> Iterator[tuple[int, int, bytes]]:
        data, at = self._socket.recv(_RECEIVED_MAX), 0
        while len(data) - at >= _HEADER.size:
            length, kind, flags, told, _ = _HEADER.unpack_from(data, at)
            self.received += 1
            self._interrupted = self._interrupted or bool(flags & _INTERRUPTED)
            yield kind, told, data[at + _HEADER.size : at + length]
            at += (length + 3) & ~3


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
