"""Rules of policy routing that come back at once when somebody else removes them.

`ip rule flush` takes everything but the local table's rule: without main's nothing reaches the other nodes,
and a tenth of a second of that is a lost peer. The kernel tells of each rule that goes, in the form in which
it takes one, so the same bytes put it back.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

from fttcp.network.kernel import KernelError
from fttcp.network.routing import Rule, rule_in
from fttcp.network.rtnetlink import CREATE, DELRULE, EXCLUSIVE, NEWRULE

_IPV4_RULE, _IPV6_RULE = 1 << 7, 1 << 18  # of RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE
_REQUEST = 1
_HEADER = struct.Struct("=IHHII")
_RECEIVED_MAX = 1 << 16
_AT_ONCE = 64
"""Datagrams; then it is the turn of others in the loop."""


class RuleKeeper:
    """Keeps some rules, in the loop that it was made in."""

    def __init__(self) -> None:
        """Raises KernelError."""
        self._wanted: frozenset[Rule] = frozenset()
        self._restored: list[Rule] = []
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self._socket.setblocking(False)
            self._socket.bind((0, _IPV4_RULE | _IPV6_RULE))
        except OSError as error:
            raise KernelError(f"cannot watch the rules of routing: {error.strerror}") from error
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._hear)

    def close(self) -> None:
        """Keep nothing any more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    @property
    def kept(self) -> frozenset[Rule]:
        """The rules that are kept."""
        return self._wanted

    def keep(self, rules: Iterable[Rule]) -> None:
        """These and no others, from now on."""
        self._wanted = frozenset(rules)

    def restored(self) -> list[Rule]:
        """What was put back since this was asked last."""
        restored, self._restored = self._restored, []
        return restored

    def _hear(self) -> None:
        """What an overrun (ENOBUFS) has taken, whoever looks at the rules mends. The reader fires again for
        what is left: somebody may remove rules as fast as they return."""
        for _ in range(_AT_ONCE):
            try:
                data = self._socket.recv(_RECEIVED_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            self._take(data)

    def _take(self, data: bytes) -> None:
        while len(data) >= _HEADER.size:
            length, kind, *_ = _HEADER.unpack_from(data)
            body = data[_HEADER.size : length]
            rule = rule_in(body) if kind == DELRULE else None
            if rule in self._wanted:
                flags = _REQUEST | CREATE | EXCLUSIVE
                with suppress(OSError):  # whoever looks at the rules mends
                    self._socket.send(_HEADER.pack(_HEADER.size + len(body), NEWRULE, flags, 0, 0) + body)
                    self._restored.append(rule)
            data = data[(length + 3) & ~3 :]
