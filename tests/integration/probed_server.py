"""A server for a probe, ``probed_server.py PORT KIND``: for each line it gives one back, and of that

same: all is the line's; token: 8 random characters follow, which OpenSSL draws (in a server that accepts,
what the kernel draws belongs to no connection); length: 1 to 9999 follows, as it is."""

import secrets
import socketserver
import ssl
import sys


class Lines(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Answer until the client has no more."""
        for line in self.rfile:
            more = {"token": ssl.RAND_bytes(4).hex(), "length": str(10 ** secrets.randbelow(4))}.get(KIND, "")
            self.wfile.write(b"you said %s %s\n" % (line.strip(), more.encode()))
            if line.strip() == b"quit":
                return


class Server(socketserver.ThreadingTCPServer):
    """On all addresses."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


KIND = sys.argv[2]
Server(("", int(sys.argv[1])), Lines).serve_forever()
