"""Connections that last as long as they are asked for: steady_client.py PORT ADDRESS...

To each address a download, a connection that is typed on now and then, and one that is silent. Each line on
standard input is a word, and answered by a line: `ok`, or what is wrong with each that failed.

    more    the downloads go on, and what is typed comes back
    silent  what is typed on the silent ones comes back, too
"""

from __future__ import annotations

import sys
import threading

from lab.workloads.base import Connection, Failure, Session, verify
from lab.workloads.ramp import Ramp

FOR_EVER = 1 << 40
MORE = 1 << 18
RATE = 2_000_000
BOUND_S = 6.0
MORE_S = 30.0


class Download:
    """Takes and verifies what comes, in a thread of its own."""

    def __init__(self, session: Session) -> None:
        self._session, self._ramp, self._connection = session, session.ramp(), session.connect()
        self._connection.line("down", session.seed, 0, FOR_EVER, RATE)
        self._changed = threading.Condition()
        self._taken = 0
        self._failure: Failure | None = None
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        try:
            while True:
                self._connection.take_ramp(self._ramp, MORE, self._taken)
                with self._changed:
                    self._taken += MORE
                    self._changed.notify()
        except Failure as failure:
            with self._changed:
                self._failure = failure
                self._changed.notify()

    def more(self) -> None:
        """Wait for some more. Raises Failure; the connection has a bound of its own for silence."""
        with self._changed:
            wanted = self._taken + 2 * MORE
            came = self._changed.wait_for(lambda: self._taken >= wanted or self._failure, MORE_S)
            if self._failure:
                raise self._failure
            if not came:
                raise Failure("stall", f"{self._connection.label}: not {2 * MORE} bytes in {MORE_S:g} s")


class Typed:
    """What is sent must come back."""

    def __init__(self, session: Session) -> None:
        self._ramp: Ramp = session.ramp()
        self._connection: Connection = session.connect()
        self._connection.line("echo")
        self._typed = 0
        self.more()

    def more(self) -> None:
        """Type a line. Raises Failure."""
        self._connection.send(self._ramp.chunk(self._typed, 100))
        verify(self._ramp, self._typed, self._connection.exactly(100), self._connection.label)
        self._typed += 100


def main() -> None:
    port, addresses = int(sys.argv[1]), sys.argv[2:]

    def session(address: str, seed: int) -> Session:
        return Session(address, port, seed, bound_s=BOUND_S)

    silent = [Typed(session(address, 3)) for address in addresses]
    lively = [
        one for address in addresses for one in (Download(session(address, 1)), Typed(session(address, 2)))
    ]
    for line in sys.stdin:
        failures = []
        for one in [*lively, *(silent if line == "silent\n" else [])]:
            try:
                one.more()
            except Failure as failure:
                failures.append(f"{failure.kind}: {failure}")
        print("; ".join(failures) or "ok", flush=True)


if __name__ == "__main__":
    main()
