"""counting_client.py ADDRESS PORT: eight clients of redis, which count at once for each line of the input.

Some stay, some hang up after each word. Each knows what its own counter must be; then it is said how often
they have counted, and what went wrong: a wrong count, or a connection that broke. An answer that is no number
ends the program, with the answer.
"""

from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

CLIENTS = 8
PATIENCE = 20.0
"""Seconds for one answer."""


class Client:
    """One of them, with a counter of its own."""

    def __init__(self, name: str, stays: bool) -> None:
        self.name = name
        self.counted = 0
        """What the counter was last said to be."""
        self._stays = stays
        self._stream: socket.socket | None = None

    def count(self) -> str:
        """Count once: what is wrong with the answer, if anything is."""
        try:
            if self._stream is None:
                self._stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), PATIENCE)
            value = self._ask()
        except OSError as error:
            self._hang_up()
            return f"{self.name} after {self.counted}: {error!r}"
        told = "" if value == self.counted + 1 else f"{self.name} is {value} after {self.counted}"
        self.counted = value
        if not self._stays:
            self._hang_up()
        return told

    def _ask(self) -> int:
        """What the counter is after one more."""
        assert self._stream
        self._stream.sendall(f"INCR {self.name}\r\n".encode())
        said = b""
        while not said.endswith(b"\r\n"):
            more = self._stream.recv(4096)
            if not more:
                raise ConnectionError("closed")
            said += more
        if not said.startswith(b":"):
            raise ValueError(f"{self.name}: the server said {said!r}")
        return int(said[1:])

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None


def main() -> None:
    """A line for each line of the input."""
    clients = [Client(f"c{i}", i % 2 == 0) for i in range(CLIENTS)]
    wrong: list[str] = []
    with ThreadPoolExecutor(CLIENTS) as side_by_side:
        for _ in sys.stdin:
            wrong += filter(None, side_by_side.map(Client.count, clients))
            print(sum(each.counted for each in clients), "; ".join(wrong), flush=True)


main()
