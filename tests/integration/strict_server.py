"""A server like SMTP's: an answer for each line, and who speaks before it has the answer is thrown out.

strict_server.py PORT: the file `slow` in its directory, if there is one, holds the seconds that an answer
takes.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from pathlib import Path

from forking import serve_each

SLOW = Path("slow")


def serve(client: socket.socket) -> None:
    """Answer one client until it goes."""
    pending = b""
    client.sendall(b"220 hello\n")
    while True:
        while b"\n" not in pending:
            got = client.recv(4096)
            if not got:
                return
            pending += got
        line, pending = pending.split(b"\n", 1)
        time.sleep(float(SLOW.read_text()) if SLOW.exists() else 0)
        if pending or select.select([client], [], [], 0)[0]:
            print("synchronization error: input before the answer to", line, flush=True)
            client.sendall(b"554 synchronization error\n")
            return
        client.sendall(b"250 " + line + b"\n")


if __name__ == "__main__":
    serve_each(int(sys.argv[1]), serve)
