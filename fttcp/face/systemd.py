"""What a service of Type=notify tells systemd (sd_notify(3)); nothing without $NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Tells the service manager how the daemon is. A manager that does not listen is no error."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """``environment``: of the process; $NOTIFY_SOCKET and $WATCHDOG_USEC are looked at."""
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "") if meant else ""
        self.watchdog_s: float | None = int(usec) / 1e6 if usec.isdecimal() and int(usec) else None
        """How often the manager wants to hear from us, at least; None if it does not."""
        self._status = ""

    def ready(self, status: str = "running") -> None:
        """The start, or a reload, is complete."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; ``ready`` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows, in one line; sent if it changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """The loop turns: the watchdog need not bite."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            try:
                channel.sendto(text.encode(), self._address)
            except OSError:  # a full or vanished socket of the manager must not end the service
                return
