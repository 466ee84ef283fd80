"""Tells when an interface gains or loses its carrier."""

import asyncio
import errno
import socket
from collections.abc import Callable

from fttcp.address.interface import has_carrier

_RTMGRP_LINK = 1
_DATAGRAM_MAX = 65536


class CarrierMonitor:
    """Watches one interface of this network namespace from an asyncio loop.

    rtnetlink only says *when* to look: the state itself is asked of the kernel, so that a lost or
    unknown notification cannot mislead. An interface that is down or gone has no carrier.
    """

    def __init__(self, interface: str, on_change: Callable[[bool], None]) -> None:
        """`on_change(carrier)` is called in the loop, for changes after `start`."""
        self._interface = interface
        self._on_change = on_change
        self._socket: socket.socket | None = None
        self.carrier = False

    def start(self) -> bool:
        """Begins to watch in the running loop; returns the state at this moment. Raises OSError."""
        if self._socket is not None:
            raise RuntimeError(f"the carrier of {self._interface} is watched already")
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _RTMGRP_LINK))
        asyncio.get_running_loop().add_reader(self._socket, self._look, self._socket)
        self.carrier = has_carrier(self._interface)
        return self.carrier

    def close(self) -> None:
        """Ends it; harmless when it was not started."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _look(self, notifications: socket.socket) -> None:
        _drain(notifications)
        carrier = has_carrier(self._interface)
        if carrier != self.carrier:
            self.carrier = carrier
            self._on_change(carrier)


def _drain(notifications: socket.socket) -> None:
    """Reads all that has come. An overrun (ENOBUFS) means more news: it is as good as news."""
    while True:
        try:
            notifications.recv(_DATAGRAM_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
