"""nf_tables by its own messages (linux/netfilter/nf_tables.h): tables that a socket of this process owns.

A table with an owner survives a flush of the ruleset by anybody else, and nobody else can change it
(Linux 5.12); with PERSIST it stays when the owner dies, and a next one may replace it (Linux 6.9). Neither
nft nor iptables can make such a table for longer than they run, so the messages are written here. What an
expression consists of is shown by `nft --debug=netlink`.
"""

import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fttcp.network.rules import RulesError

IPV4, IPV6, ARP, INET, NETDEV = 2, 10, 3, 1, 5
OWNER, PERSIST = 2, 4

EQUAL, UNEQUAL = 0, 1
DROP, ACCEPT = 0, 1
LINK, NETWORK, TRANSPORT = 0, 1, 2
LENGTH, PROTOCOL, PRIORITY, MARK, IIFNAME, OIFNAME, L4PROTO, PACKET_TYPE = 0, 1, 2, 3, 6, 7, 16, 19

_NETLINK_NETFILTER, _SOL_NETLINK, _CAP_ACK = 12, 270, 10
_SUBSYSTEM = 10
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN = 0, 1, 2, 3
_NEWRULE, _GETRULE, _DELRULE, _NEWSET, _NEWELEMENT = 6, 7, 8, 9, 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_REQUEST, _ACK, _DUMP, _CREATE, _APPEND = 1, 4, 0x300, 0x400, 0x800
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_REGISTER = 1
_RECEIVED_MAX = 1 << 16
_ANSWER_S = 5
_INTERRUPTED, _DUMPS = 0x10, 5
_COUNTER_PACKETS = 2
_TABLE_OWNER = 7
_CHECKSUM_INTERNET = 1
_MAP, _INTERVAL, _INTERVAL_END = 8, 4, 1
_INTEGER = 4
_KEY_TYPES = {1: 14, 2: 13, 4: 7, 16: 8}  # nft: icmp_type, inet_service, ipv4_addr, ipv6_addr


class NftError(RulesError):
    """The kernel refused a change, and nothing of it was carried out; ``errno`` says why."""

    def __init__(self, what: str, errno: int) -> None:
        super().__init__(f"nf_tables: {what}: {os.strerror(errno)}")
        self.errno = errno


class Message(NamedTuple):
    """One step of a change; `what` is for people."""

    kind: int
    family: int
    attributes: bytes
    what: str


class Table(NamedTuple):
    """A table's place."""

    family: int
    name: str


# attributes


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _nest(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(attributes))


# expressions; each works on one register


def _expression(name: str, *attributes: bytes) -> bytes:
    return _nest(1, _text(1, name), _nest(2, *attributes))


def meta(key: int) -> bytes:
    """Load what belongs to a packet."""
    return _expression("meta", _number(1, _REGISTER), _number(2, key))


def set_meta(key: int) -> bytes:
    """Store it."""
    return _expression("meta", _number(2, key), _number(3, _REGISTER))


def payload(base: int, offset: int, length: int) -> bytes:
    """Load bytes of a header; a packet without them does not match."""
    return _expression(
        "payload", _number(1, _REGISTER), _number(2, base), _number(3, offset), _number(4, length)
    )


def write(base: int, offset: int, length: int, checksum_at: int | None = None) -> bytes:
    """Store bytes in a header; its Internet checksum, if it has one, follows."""
    place = [_number(5, _REGISTER), _number(2, base), _number(3, offset), _number(4, length)]
    if checksum_at is not None:
        place += [_number(6, _CHECKSUM_INTERNET), _number(7, checksum_at)]
    return _expression("payload", *place)


def constant(value: bytes) -> bytes:
    """Load some bytes."""
    return _expression("immediate", _number(1, _REGISTER), _nest(2, _attribute(1, value)))


def compare(value: bytes, operator: int = EQUAL) -> bytes:
    """Go on with the rule only if it is so."""
    return _expression("cmp", _number(1, _REGISTER), _number(2, operator), _nest(3, _attribute(1, value)))


def bits(mask: bytes, flip: bytes) -> bytes:
    """(x & mask) ^ flip."""
    return _expression(
        "bitwise",
        _number(1, _REGISTER),
        _number(2, _REGISTER),
        _number(3, len(mask)),
        _nest(4, _attribute(1, mask)),
        _nest(5, _attribute(1, flip)),
    )


def within(name: str, inverted: bool = False) -> bytes:
    """Go on only if it is (not) in a set of the table."""
    return _expression("lookup", _text(1, name), _number(2, _REGISTER), _number(5, inverted))


def mapped(name: str) -> bytes:
    """Load what a map of the table has for it; what it does not have does not match."""
    return _expression("lookup", _text(1, name), _number(2, _REGISTER), _number(3, _REGISTER))


def verdict(code: int) -> bytes:
    """The packet's fate at this hook, as far as this table goes."""
    return _expression("immediate", _number(1, 0), _nest(2, _nest(2, _number(1, code))))


def counter() -> bytes:
    """Count."""
    return _expression("counter", _attribute(1, bytes(8)), _attribute(2, bytes(8)))


def notrack() -> bytes:
    """Keep conntrack away."""
    return _nest(1, _text(1, "notrack"))


def target(name: str, revision: int, info: bytes) -> bytes:
    """A target of iptables, with its struct."""
    return _expression("target", _text(1, name), _number(2, revision), _attribute(3, _aligned(info)))


def match(name: str, revision: int, info: bytes) -> bytes:
    """A match of iptables."""
    return _expression("match", _text(1, name), _number(2, revision), _attribute(3, _aligned(info)))


def _aligned(info: bytes) -> bytes:
    """As XT_ALIGN does."""
    return info + bytes(-len(info) % 8)


# changes


def make_table(table: Table, flags: int) -> Message:
    """Make it, or take it over when its owner has died."""
    attributes = _text(1, table.name) + _number(2, flags)
    return Message(_NEWTABLE, table.family, attributes, f"make table {table.name}")


def drop_table(table: Table) -> Message:
    """Remove it with all that is in it."""
    return Message(_DELTABLE, table.family, _text(1, table.name), f"remove table {table.name}")


def make_set(table: Table, name: str, number: int, elements: Iterable[bytes]) -> list[Message]:
    """A set of values of one length. `number`: of the set within the change."""
    keys = list(elements)
    kind = _number(4, _KEY_TYPES[len(keys[0])])
    members = [_nest(1, _nest(1, _attribute(1, key))) for key in keys]
    return _make_set(table, name, number, 0, kind + _number(5, len(keys[0])), members)


def make_ranges(
    table: Table, name: str, number: int, length: int, ranges: Sequence[tuple[int, int]]
) -> list[Message]:
    """A set of numbers of ``length`` bytes, given by first and last of each range, ascending and apart. The
    kernel is told where each begins, and which number is the first behind it."""
    if all(first == last for first, last in ranges):
        return make_set(table, name, number, (first.to_bytes(length, "big") for first, _ in ranges))
    kind = _number(4, _KEY_TYPES[length]) + _number(5, length)
    members = []
    for first, last in ranges:
        members.append(_nest(1, _nest(1, _attribute(1, first.to_bytes(length, "big")))))
        if last + 1 < 1 << 8 * length:
            end = _nest(1, _attribute(1, (last + 1).to_bytes(length, "big")))
            members.append(_nest(1, end, _number(3, _INTERVAL_END)))
    return _make_set(table, name, number, _INTERVAL, kind, members)


def make_map(table: Table, name: str, number: int, elements: Mapping[bytes, bytes]) -> list[Message]:
    """Numbers to numbers, each of one length. `number`: of the set within the change."""
    ((key, value), *_) = elements.items()
    kind = _number(4, _INTEGER) + _number(5, len(key)) + _number(6, _INTEGER) + _number(7, len(value))
    members = [
        _nest(1, _nest(1, _attribute(1, key)), _nest(2, _attribute(1, value)))
        for key, value in elements.items()
    ]
    return _make_set(table, name, number, _MAP, kind, members)


def _make_set(
    table: Table, name: str, number: int, flags: int, kind: bytes, members: list[bytes]
) -> list[Message]:
    names, size = _text(1, table.name) + _text(2, name), _nest(9, _number(1, len(members)))
    attributes = names + _number(3, flags) + kind + size + _number(10, number)
    what = f"make set {name} in table {table.name}"
    return [
        Message(_NEWSET, table.family, attributes, what),
        Message(_NEWELEMENT, table.family, names + _number(4, number) + _nest(3, *members), what),
    ]


def make_chain(table: Table, name: str, hook: int, priority: int, device: str = "") -> Message:
    """A chain that the kernel calls at a hook, of NETDEV at one of an interface; of several in the order of
    priorities."""
    attributes = _text(1, table.name) + _text(3, name) + _text(7, "filter")
    place = [_number(1, hook), _number(2, priority), *([_text(3, device)] if device else [])]
    attributes += _nest(4, *place)
    return Message(_NEWCHAIN, table.family, attributes, f"make chain {name} in table {table.name}")


def add_rule(table: Table, chain: str, *expressions: bytes) -> Message:
    """One at the end of the chain."""
    attributes = _text(1, table.name) + _text(2, chain) + _nest(4, *expressions)
    return Message(_NEWRULE, table.family, attributes, f"add a rule to {chain} of table {table.name}")


def empty_chain(table: Table, chain: str) -> Message:
    """Remove its rules."""
    attributes = _text(1, table.name) + _text(2, chain)
    return Message(_DELRULE, table.family, attributes, f"empty {chain} of table {table.name}")


class Rules(NamedTuple):
    """What the kernel has of a table: chain -> how many rules, chain -> packets that its counters saw."""

    lengths: Counter[str]
    counted: Counter[str]


class Socket:
    """The owner of tables: those without PERSIST live as long as it does. Raises NftError when the kernel
    has no nf_tables."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _ANSWER_S, 0))
        except OSError as error:
            raise NftError("open a netlink socket", error.errno or 0) from error
        self._number = 0
        self._interrupted = False

    def close(self) -> None:
        """The owner is gone."""
        self._socket.close()

    def change(self, messages: Iterable[Message]) -> None:
        """Carry everything out, or nothing. Raises NftError."""
        steps = list(messages)
        flags = _REQUEST | _ACK | _CREATE | _APPEND
        begin = self._encode(_BATCH_BEGIN, _REQUEST, 0, b"", _SUBSYSTEM)
        asked = self._number
        bodies = [
            self._encode(_SUBSYSTEM << 8 | step.kind, flags, step.family, step.attributes) for step in steps
        ]
        end = self._encode(_BATCH_END, _REQUEST, 0, b"", _SUBSYSTEM)
        self._send(b"".join([begin, *bodies, end]))
        for kind, number, body in self._answers(asked, socket.MSG_DONTWAIT):  # all are there after send()
            error = -struct.unpack_from("=i", body)[0] if kind == _ERROR else 0
            if error:
                index = number - asked - 1
                raise NftError(steps[index].what if 0 <= index < len(steps) else "change the rules", error)

    @property
    def port(self) -> int:
        """By which the kernel knows the socket as an owner."""
        port: int = self._socket.getsockname()[0]
        return port

    def fileno(self) -> int:
        """Of the socket."""
        return self._socket.fileno()

    def exists(self, table: Table) -> bool:
        """Whether somebody has made a table of that name. Raises NftError."""
        return self.owner(table) is not None

    def tables(self) -> dict[Table, int]:
        """All that there are, and the ports of their owners; 0: it has none. Raises NftError."""
        found = {}
        for body in self._dump(_GETTABLE, 0, b"", "list the tables"):
            attributes = dict(parsed(body[4:]))
            name = attributes[1].rstrip(b"\0").decode()
            found[Table(body[0], name)] = int.from_bytes(attributes.get(_TABLE_OWNER, b""), "big")
        return found

    def owner(self, table: Table) -> int | None:
        """The port of the socket that owns a table: 0 if it has no owner; None if there is no such table.
        Raises NftError."""
        self._send(
            self._encode(_SUBSYSTEM << 8 | _GETTABLE, _REQUEST | _ACK, table.family, _text(1, table.name))
        )
        found = None
        for kind, _, body in self._answers(self._number, socket.MSG_DONTWAIT):  # an acknowledgement follows
            if kind != _ERROR:
                attributes = dict(parsed(body[4:]))
                found = int.from_bytes(attributes.get(_TABLE_OWNER, b""), "big")
                continue
            error = -struct.unpack_from("=i", body)[0]
            if error not in (0, errno.ENOENT):
                raise NftError(f"look for table {table.name}", error)
        return found

    def rules(self, table: Table) -> Rules:
        """What is in a table; nothing when there is none. Raises NftError."""
        found = Rules(Counter(), Counter())
        what = f"look into table {table.name}"
        for body in self._dump(_GETRULE, table.family, _text(1, table.name), what):
            attributes = dict(parsed(body[4:]))
            if attributes[1].rstrip(b"\0").decode() == table.name:
                chain = attributes[2].rstrip(b"\0").decode()
                found.lengths[chain] += 1
                found.counted[chain] += sum(map(_packets, _members(attributes.get(4, b""))))
        return found

    def _dump(self, kind: int, family: int, attributes: bytes, what: str) -> list[bytes]:
        """While something changes the kernel may pass over what did not: it says so, and is asked again. If
        that never ends, the last answer counts. Raises NftError."""
        for _ in range(_DUMPS):
            self._interrupted, found = False, []
            self._send(self._encode(_SUBSYSTEM << 8 | kind, _REQUEST | _DUMP, family, attributes))
            for told, _, body in self._answers(self._number, 0):
                if told == _ERROR:
                    raise NftError(what, -struct.unpack_from("=i", body)[0])
                found.append(body)
            if not self._interrupted:
                break
        return found

    def _encode(self, kind: int, flags: int, family: int, attributes: bytes, resource: int = 0) -> bytes:
        self._number += 1
        body = struct.pack(">BBH", family, 0, resource) + attributes
        return struct.pack("=IHHII", 16 + len(body), kind, flags, self._number, 0) + body

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise NftError("send to the kernel", error.errno or 0) from error

    def _answers(self, asked: int, flags: int) -> Iterator[tuple[int, int, bytes]]:
        """(kind, number, body) of each message until the last, or until there is none. ``asked``: the number
        of the question; what is left of an earlier one, after a failure, is no answer to it."""
        while True:
            try:
                data = self._socket.recv(_RECEIVED_MAX, flags)
            except BlockingIOError:
                if flags & socket.MSG_DONTWAIT:
                    return
                raise NftError("wait for the kernel's answer", errno.ETIMEDOUT) from None
            except OSError as error:
                raise NftError("hear the kernel", error.errno or 0) from error
            while len(data) >= 16:
                length, kind, told, number = struct.unpack_from("=IHHI", data)
                if number >= asked:
                    self._interrupted = self._interrupted or bool(told & _INTERRUPTED)
                    if kind == _DONE:
                        return
                    yield kind, number, data[16:length]
                data = data[(length + 3) & ~3 :]


def parsed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a netlink message."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def _members(expressions: bytes) -> Iterator[dict[int, bytes]]:
    for _, element in parsed(expressions):
        yield dict(parsed(element))


def _packets(expression: dict[int, bytes]) -> int:
    if expression.get(1) != b"counter\0":
        return 0
    return int.from_bytes(dict(parsed(expression[2]))[_COUNTER_PACKETS], "big")
