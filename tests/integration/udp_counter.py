"""A server by UDP that must do nothing twice, and its client, which asks again until it is answered.

serve FILE PORT ADDRESS...: for each datagram a line in FILE; its first eight bytes and a token are the reply
ask STOP PORT ADDRESS...: until the file STOP is there; prints what came of it as JSON
"""

from __future__ import annotations

import json
import os
import secrets
import select
import socket
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

_WAIT_S = 0.1
_TRIES = 40


def _sockets(addresses: list[str]) -> list[socket.socket]:
    families = (socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses)
    return [socket.socket(family, socket.SOCK_DGRAM) for family in families]


def serve(path: str, port: int, addresses: list[str]) -> None:
    """Run until it is killed."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    sockets = _sockets(addresses)
    for one, address in zip(sockets, addresses, strict=True):
        one.bind((address, port))
    while True:
        for one in select.select(sockets, [], [])[0]:
            request, client = one.recvfrom(2048)
            os.write(file, request[:8] + b"\n")
            one.sendto(request[:8] + secrets.token_bytes(24), client)


@dataclass
class Told:
    """What came of all requests: by their ids those that were answered, and those that were not; replies to
    a request that differ, and replies to requests that had been answered before."""

    answered: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    again: int = 0


class Client:
    """One port for each address."""

    def __init__(self, port: int, addresses: list[str]) -> None:
        """Connect to the service."""
        self._sockets = _sockets(addresses)
        for one, address in zip(self._sockets, addresses, strict=True):
            one.connect((address, port))
            one.settimeout(_WAIT_S)
        self._replies: dict[int, bytes] = {}
        self.told = Told()

    def ask(self, number: int) -> bytes | None:
        """Send it until there is a reply; each that comes is compared with what came before."""
        one, name = self._sockets[number % len(self._sockets)], f"{number:08}"
        for _ in range(_TRIES):
            try:
                one.send(name.encode() + b" once")
                while True:
                    reply = one.recv(2048)
                    if self._replies.setdefault(int(reply[:8]), reply) != reply:
                        self.told.differing.append(name)
                    if reply[:8] == name.encode():
                        return reply
            except OSError:  # none in time, or nobody there
                continue
        return None

    def run(self, stop: Path) -> None:
        """One request after the other, each with an old one again; at the end all old ones once more."""
        number = 0
        while not stop.exists():
            answered = self.ask(number) is not None
            (self.told.answered if answered else self.told.unanswered).append(f"{number:08}")
            number += 1
            if self.told.answered:
                self._again(secrets.choice(self.told.answered))
        for name in self.told.answered:
            self._again(name)

    def _again(self, name: str) -> None:
        self.told.again += self.ask(int(name)) is not None


def main(act: str, path: str, port: str, *addresses: str) -> None:
    """See above."""
    if act == "serve":
        serve(path, int(port), list(addresses))
    client = Client(int(port), list(addresses))
    client.run(Path(path))
    print(json.dumps(asdict(client.told)))


if __name__ == "__main__":
    main(*sys.argv[1:])
