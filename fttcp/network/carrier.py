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

    def __init__(
        self,
        interface: str,
        on_change: Callable[[bool], None],
        obstacle: Callable[[str], str] = lambda interface: "",
    ) -> None:
        """`on_change(carrier)` is called in the loop, for changes after `start`; also when there is another
        `obstacle` (why the interface cannot be used, '' if it can): with one it counts as without carrier."""
        self._interface = interface
        self._on_change = on_change
        self._notices: Notices | None = None
        self._obstacle = obstacle
        self.why = ""
        """The obstacle."""
        self.carrier = False

    def start(self) -> bool:
        """Begins to watch in the running loop; returns the state at this moment. Raises OSError."""
        if self._notices is not None:
            raise RuntimeError(f"the carrier of {self._interface} is watched already")
        self._notices = Notices(socket.NETLINK_ROUTE, _RTMGRP_LINK, self._look)
        self.carrier, self.why = self._seen()
        return self.carrier

    def close(self) -> None:
        """Ends it; harmless when it was not started."""
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    def _look(self) -> None:
        seen = self._seen()
        if seen != (self.carrier, self.why):
            self.carrier, self.why = seen
            self._on_change(self.carrier)

    def _seen(self) -> tuple[bool, str]:
        why = self._obstacle(self._interface)
        return not why and has_carrier(self._interface), why
