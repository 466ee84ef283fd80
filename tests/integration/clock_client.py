"""Asks an HTTPS server what time it is: clock_client.py ADDRESS PORT.

Each line on standard input is a word, and answered by a line of JSON:

    anew      those that are open end; a connection of each version, which stays open
    ask       a request on each of them: what the answer said, and our own clock before and after
    resume    a connection of each version that takes up the session of the last one: was it taken?
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import time
from email.utils import parsedate_to_datetime
from typing import Any

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def context(version: ssl.TLSVersion) -> ssl.SSLContext:
    """One that speaks this version, and believes anybody."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    return made


class Connection(http.client.HTTPSConnection):
    """One that may take up a session, and never connects again."""

    auto_open = 0

    def begin(self, session: ssl.SSLSession | None) -> Connection:
        """Connect."""
        super(http.client.HTTPSConnection, self).connect()
        self.sock = self._context.wrap_socket(self.sock, session=session)  # type: ignore[attr-defined]
        return self

    def ask(self) -> dict[str, Any]:
        """What the server says of the time."""
        began = time.time()
        self.request("GET", "/clock")
        answer = self.getresponse()
        answer.read()
        when = {name: answer.headers[name] for name in ("Date", "Expires")}
        dates = {name: parsedate_to_datetime(text).timestamp() for name, text in when.items()}
        return {**dates, "Clock": float(answer.headers["X-Clock"]), "began": began, "ended": time.time()}


class Client:
    """Its connections and sessions."""

    def __init__(self, address: str, port: int) -> None:
        self._contexts = [context(version) for version in VERSIONS]
        self._where = (address, port)
        self._open: list[Connection] = []
        self._sessions: list[ssl.SSLSession | None] = [None for _ in VERSIONS]

    def _connect(self, i: int, session: ssl.SSLSession | None = None) -> Connection:
        address, port = self._where
        return Connection(address, port, timeout=20, context=self._contexts[i]).begin(session)

    def anew(self) -> int:
        """One of each version."""
        for connection in self._open:
            connection.close()
        self._open = [self._connect(i) for i in range(len(VERSIONS))]
        return len(self._open)

    def ask(self) -> list[dict[str, Any]]:
        """Each of them."""
        return [connection.ask() for connection in self._open]

    def resume(self) -> list[bool]:
        """One of each version."""
        taken = []
        for i in range(len(VERSIONS)):
            connection = self._connect(i, self._sessions[i])
            connection.ask()
            taken.append(bool(connection.sock.session_reused))
            self._sessions[i] = connection.sock.session
            connection.close()
        return taken


def main() -> None:
    client = Client(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(getattr(client, line.strip())()), flush=True)


if __name__ == "__main__":
    main()
