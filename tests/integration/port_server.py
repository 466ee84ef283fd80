"""Listens on every port of a range at the service addresses, and says which port each connection came to."""

from __future__ import annotations

import selectors
import socket
import sys


def main(first: int, last: int) -> None:
    waiting = selectors.DefaultSelector()
    for port in range(first, last + 1):
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        waiting.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in waiting.select():
            at = key.fileobj
            assert isinstance(at, socket.socket)
            if key.data is None:
                stream, _ = at.accept()
                waiting.register(stream, selectors.EVENT_READ, at.getsockname()[1])
                continue
            try:
                asked = at.recv(4096)
            except ConnectionError:
                asked = b""
            if asked:
                at.sendall(b"%d " % key.data + asked)
            else:
                waiting.unregister(at)
                at.close()


main(int(sys.argv[1]), int(sys.argv[2]))
