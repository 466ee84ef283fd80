"""Uploads that stand still, run by its path in the lab's client: ``uploads.py ADDRESS PORT SEED SIZE...``.

Opens a connection to the plain server for each SIZE, sends so many bytes but for the last few, says ``sent``,
and waits for a line. Then it sends the rest of each, and prints a line for each: the server's verdict, or
``lost``.
"""

import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab.workloads.ramp import Ramp

REST, CHUNK = 100, 1 << 16
WAIT_S = 20.0
VERDICT = 16


def main() -> None:
    """Do what the command line says."""
    address, port, seed, *sizes = sys.argv[1:]
    ramp = Ramp(int(seed))
    uploads = []
    for size in map(int, sizes):
        sock = socket.create_connection((address, int(port)), WAIT_S)
        sock.sendall(f"drain {seed} {size} 0 0\n".encode())
        for at in range(0, size - REST, CHUNK):
            sock.sendall(ramp.chunk(at, min(CHUNK, size - REST - at)))
        uploads.append((sock, size))
    print("sent", flush=True)
    sys.stdin.readline()
    for sock, size in uploads:
        try:
            sock.sendall(ramp.chunk(size - REST, REST))
            sock.shutdown(socket.SHUT_WR)
            print(sock.recv(VERDICT).decode().strip())
        except OSError:  # which one depends on when the reset came
            print("lost")


if __name__ == "__main__":
    main()
