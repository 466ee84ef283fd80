"""A server that answers each line with many bytes, and keeps silent about `wait`.

Where a file `early` is in its directory it ends instead, like one whose keys differ: with a word, or, if the
file says `reset`, without.

early_server.py PORT
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from pathlib import Path

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


def main() -> None:
    """Serve each client in a process of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            serve(client)
            os._exit(0)
        client.close()


if __name__ == "__main__":
    main()
