"""Gives back what it is sent, connection by connection: python echo_server.py PORT"""

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
    socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
