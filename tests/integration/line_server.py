"""A server of lines: each comes back, an empty one ends the connection at once, whatever was not read."""

from __future__ import annotations

import socket
import socketserver
import sys
from typing import Any


class _Lines(socketserver.StreamRequestHandler):
    rbufsize = 0

    def handle(self) -> None:
        pending = b""
        try:
            while more := self.request.recv(1 << 16):
                *lines, pending = (pending + more).split(b"\n")
                for line in lines:
                    if not line:
                        return
                    self.request.sendall(line + b"\n")
        except OSError:
            return


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        """Every second client gets a FIN first, the others what the kernel says of itself."""
        if request.getpeername()[1] % 2:
            super().shutdown_request(request)
        else:
            self.close_request(request)


if __name__ == "__main__":
    with _Server(("::", int(sys.argv[1])), _Lines) as server:
        server.serve_forever()
