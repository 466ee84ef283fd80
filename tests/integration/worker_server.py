"""A server that forks for each connection, and leaves the pid of the n-th child in /run/worker.n.

worker_server.py PORT
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from forking import serve_each


def echo(client: socket.socket) -> None:
    """Echo lines."""
    for line in client.makefile("rb"):
        if line == b"exit\n":
            os._exit(0)
        client.sendall(line)


if __name__ == "__main__":
    serve_each(int(sys.argv[1]), echo, lambda number, pid: Path(f"/run/worker.{number}").write_text(str(pid)))
