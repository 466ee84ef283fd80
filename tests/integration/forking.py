"""Servers of tests that have a process for each client. They run as programs, so this lies beside them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from itertools import count


def serve_each(
    port: int,
    serve: Callable[[socket.socket], None],
    forked: Callable[[int, int], None] = lambda number, pid: None,
) -> None:
    """Serve each client in a process of its own, for ever. ``forked(number, pid)``: the n-th was made."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    for number in count():
        client, _ = listener.accept()
        pid = os.fork()
        if pid == 0:
            listener.close()
            serve(client)
            os._exit(0)
        forked(number, pid)
        client.close()
