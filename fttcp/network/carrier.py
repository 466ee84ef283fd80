"""Tells when an interface gains or loses its carrier."""

import socket
from collections.abc import Callable

from fttcp.network.interface import has_carrier
from fttcp.network.notices import Notices

_RTMGRP_LINK = 1


class CarrierMonitor:
    """Watches one interface of this network namespace from an asyncio loop.

    rtnetlink only says *when* to look: the state itself is asked of the kernel, so that a lost or
    unknown notification cannot mislead. An interface that is down or gone has no carrier.
    """

    def __init__(self, interface: str, on_change: Callable[[bool], None]) -> None:
        """`on_change(carrier)` is called in the loop, for changes after `start`."""
        self._interface = interface
        self._on_change = on_change
        self._notices: Notices | None = None
        self.carrier = False

    def start(self) -> bool:
        """Begins to watch in the running loop; returns the state at this moment. Raises OSError."""
        if self._notices is not None:
            raise RuntimeError(f"the carrier of {self._interface} is watched already")
        self._notices = Notices(socket.NETLINK_ROUTE, _RTMGRP_LINK, self._look)
        self.carrier = has_carrier(self._interface)
        return self.carrier

    def close(self) -> None:
        """Ends it; harmless when it was not started."""
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    def _look(self) -> None:
        carrier = has_carrier(self._interface)
        if carrier != self.carrier:
            self.carrier = carrier
            self._on_change(carrier)
