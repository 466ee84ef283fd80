"""Gives back what it is sent, connection by connection: python echo_server.py PORT

Returns when it listens, and serves in the background.
"""

import os
import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Until its end."""
        while said := self.request.recv(65536):
            self.request.sendall(said)


if __name__ == "__main__":
    socketserver.ThreadingTCPServer.daemon_threads = True
    server = socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Echo)
    if os.fork() == 0:
        server.serve_forever()
