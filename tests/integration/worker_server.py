"""A server that forks for each connection, and leaves the pid of the n-th child in /run/worker.n.

worker_server.py PORT
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from itertools import count
from pathlib import Path


def main() -> None:
    """Echo lines."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
    for number in count():
        client, _ = listener.accept()
        pid = os.fork()
        if pid == 0:
            listener.close()
            for line in client.makefile("rb"):
                if line == b"exit\n":
                    os._exit(0)
                client.sendall(line)
            os._exit(0)
        Path(f"/run/worker.{number}").write_text(str(pid))
        client.close()


if __name__ == "__main__":
    main()
