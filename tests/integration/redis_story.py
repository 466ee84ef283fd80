"""redis_story.py ADDRESS PORT: a client of redis that compares what it is told with what it was told before.

For each line that it is given it takes a turn, and says "turn"; or it says what was wrong, and ends.
What one turn is told binds the next one: members that were popped are gone, a scan ends with every key.
"""

from __future__ import annotations

import socket
import sys
from typing import Any


class Redis:
    """One connection."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), 60)
        self._file = self._socket.makefile("rb")

    def ask(self, *words: object) -> Any:
        """One command, and its answer."""
        self.say(*words)
        return self.hear()

    def say(self, *words: object) -> None:
        """Only the command."""
        parts = [str(word).encode() for word in words]
        text = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), text))

    def hear(self) -> Any:
        """Only the answer."""
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"cut short: {line!r}")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"*":
            return [self.hear() for _ in range(int(rest))] if int(rest) >= 0 else None
        if kind == b"$":
            return self._file.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
        if kind == b":":
            return int(rest)
        assert kind == b"+", line
        return rest


class Story:
    """All connections, and what is known."""

    def __init__(self, address: str, port: int) -> None:
        self._asks, self._waits, self._hears, self._tells = (Redis(address, port) for _ in range(4))
        self._left = {str(i) for i in range(500)}
        self._last_id = "0-0"
        self._cursor, self._seen = "0", set[str]()
        self._keys = {f"key{i}" for i in range(300)}
        for key in sorted(self._keys):
            self._asks.ask("SET", key, key)
        self._asks.ask("SADD", "pool", *sorted(self._left))
        self._hears.ask("SUBSCRIBE", "news")
        self._last_ms = 0

    @staticmethod
    def _same(what: str, said: object, wanted: object) -> None:
        if said != wanted:
            raise AssertionError(f"{what}: {said!r}, not {wanted!r}")

    def turn(self, number: int) -> None:
        """What follows from chance, time and order."""
        popped = set(self._asks.ask("SPOP", "pool", 2))
        assert popped <= self._left, "a member was popped twice, or never was there"
        self._left -= popped
        self._asks.ask("SADD", "pool", f"new{number}", f"more{number}")
        self._left |= {f"new{number}", f"more{number}"}
        self._same("left in the pool", self._asks.ask("SCARD", "pool"), len(self._left))
        assert self._asks.ask("SRANDMEMBER", "pool") in self._left, "a member that was popped"
        assert self._asks.ask("RANDOMKEY"), "no key"
        self._cursor, found = self._asks.ask("SCAN", self._cursor, "MATCH", "key*", "COUNT", 9)
        self._seen |= set(found)
        if self._cursor == "0":
            assert self._seen == self._keys, "a scan told of fewer keys, or of more"
            self._seen = set()
        self._clock(number)
        self._order(number)

    def _clock(self, number: int) -> None:
        self._asks.ask("SET", "brief", number, "PX", 100_000)
        left = self._asks.ask("PTTL", "brief")
        assert 0 < left <= 100_000, left
        name = self._asks.ask("XADD", "stream", "*", "turn", number)
        assert tuple(map(int, name.split("-"))) > tuple(map(int, self._last_id.split("-"))), (
            name,
            self._last_id,
        )
        self._last_id = name
        seconds, microseconds = map(int, self._asks.ask("TIME"))
        now_ms = seconds * 1000 + microseconds // 1000
        assert now_ms >= self._last_ms, "time ran back"
        self._last_ms = now_ms

    def _order(self, number: int) -> None:
        self._same("who hears", self._tells.ask("PUBLISH", "news", number), 1)
        self._same("heard", self._hears.hear(), ["message", "news", str(number)])
        self._waits.say("BLPOP", "queue", 30)
        self._same("in the queue", self._tells.ask("RPUSH", "queue", number), 1)
        self._same("popped", self._waits.hear(), ["queue", str(number)])


def main(address: str, port: int) -> None:
    story = Story(address, port)
    for number, _ in enumerate(sys.stdin):
        try:
            story.turn(number)
        except (AssertionError, OSError) as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            return
        print("turn", flush=True)


main(sys.argv[1], int(sys.argv[2]))
