"""gtsm_client.py ADDRESS PORT: has each line that it reads echoed, long ones too; as strict about hop
limits as gtsm_server.py."""

from __future__ import annotations

import socket
import sys

from gtsm_server import near

PATIENCE_S = 20
LONG = 200_000


def main() -> None:
    """Serve the lines on standard input."""
    address, port = sys.argv[1], int(sys.argv[2])
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(PATIENCE_S)
    near(client)
    client.connect((address, port))
    stream = client.makefile("rwb")
    for line in sys.stdin:
        for said in (line.encode(), line.strip().encode() * LONG + b"\n"):
            stream.write(said)
            stream.flush()
            assert stream.readline() == said
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
