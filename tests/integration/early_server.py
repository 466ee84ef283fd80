"""A server that answers each line with many bytes, and keeps silent about `wait`.

Where a file `early` is in its directory it ends instead, like one whose keys differ: with a word, or, if the
file says `reset`, without.

early_server.py PORT
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

from forking import serve_each

EARLY = Path("early")
ANSWER = b"x" * 1000 + b"\n"


def serve(client: socket.socket) -> None:
    """Answer one client until it goes."""
    for line in client.makefile("rb"):
        if EARLY.exists():
            if EARLY.read_text() == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                client.sendall(b"no\n")
            return
        if line != b"wait\n":
            client.sendall(ANSWER)


if __name__ == "__main__":
    serve_each(int(sys.argv[1]), serve)
