"""store_client.py ADDRESS: a client of redis and memcached with as many connections as it is told of.

Reads lines of JSON, [connection, port, request]: asks on that connection, which it opens if need be, and
says in a line what came. Without a request it hangs up.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import BinaryIO


def reply(stream: BinaryIO) -> str:
    """One reply, in whole."""
    first = line = stream.readline()
    if first.startswith(b"$") and first != b"$-1\r\n":
        line += stream.read(int(first[1:]) + 2)
    while first.startswith(b"VALUE") and not line.endswith(b"END\r\n"):
        line += stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError(f"cut short: {line!r}")
    return line.decode()


def main(address: str) -> None:
    open_ones: dict[str, tuple[socket.socket, BinaryIO]] = {}
    for order in sys.stdin:
        name, port, request = json.loads(order)
        try:
            if name not in open_ones:
                made = socket.create_connection((address, port), 20)
                open_ones[name] = made, made.makefile("rb")
            one, stream = open_ones[name]
            if request:
                one.sendall(request.encode())
                said = reply(stream)
            else:
                stream.close()
                one.close()
                del open_ones[name]
                said = "closed"
        except OSError as error:
            said = f"error: {error}"
        print(json.dumps(said), flush=True)


main(sys.argv[1])
