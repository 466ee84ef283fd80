"""A server whose connections share what they know: what one of them sets, any other one gets.

shared_server.py PORT: `set KEY VALUE` is answered with `ok`, `get KEY` with the value. The file `slow` in its
directory, if there is one, holds the seconds that a `set` takes before it is done.
"""

from __future__ import annotations

import socketserver
import sys
import time
from pathlib import Path
from socket import AF_INET6

SLOW = Path("slow")
KNOWN: dict[bytes, bytes] = {}


class Client(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Answer each line."""
        for line in self.rfile:
            word, key, *value = line.split()
            if word == b"get":
                self.wfile.write(KNOWN.get(key, b"-") + b"\n")
                continue
            time.sleep(float(SLOW.read_text()) if SLOW.exists() else 0)
            KNOWN[key] = value[0]
            self.wfile.write(b"ok\n")


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection."""

    address_family = AF_INET6
    allow_reuse_address = daemon_threads = True


def main() -> None:
    """Serve."""
    with Server(("::", int(sys.argv[1])), Client) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
