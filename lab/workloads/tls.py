"""HTTPS clients of an nginx that ends TLS: right bytes, or a reset, after which they connect anew.

A reset is counted; whether one was due, the run's judge knows. A record that does not fit its key is a wrong
byte.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from lab.keys import TLS_CERTIFICATE
from lab.workloads.base import CHUNK, Connection, Failure, Pace, Result, Session
from lab.workloads.ramp import Ramp
from lab.workloads.servers.launch import CONTENT_SEED, WEB_SIZE
from lab.workloads.web import get, get_small, put_and_get, read_head

MOST_RESETS = 3
"""Connections of a client that one fault may cost; it has one at a time, and some more are made meanwhile."""
RECEIVE_BUFFER = 1 << 18
"""Of a paced reader: what a server sends at once depends on the reader then, not on the server's clock."""
PART_S = 2.0
"""Each part of a download takes so long: a client that is told that it is enough ends with that one."""

CERTIFICATE = ssl.PEM_cert_to_DER_cert(TLS_CERTIFICATE)

Body = Callable[[Session], None]
T = TypeVar("T")


class TlsConnection(Connection):
    """A connection over TLS, whose handshake is done; `resume` is a session of before, if any.

    It reads and writes the socket itself: CPython before 3.11.9 tells of a reset as of an end.
    """

    def __init__(
        self,
        plain: Connection,
        session: Session,
        context: ssl.SSLContext,
        resume: ssl.SSLSession | None,
    ) -> None:
        super().__init__(plain.sock, session)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, session=resume)
        try:
            self._shake_hands(session.result)
        except Failure:
            self.sock.close()
            raise

    def _shake_hands(self, result: Result) -> None:
        self._do(self.tls.do_handshake, "shaking hands")
        resumed = bool(self.tls.session_reused)
        if not resumed and self.tls.getpeercert(True) != CERTIFICATE:
            raise Failure("wrong", f"{self.label}: another certificate than the server's")
        result.handshakes += 1
        result.resumed += resumed

    def _do(self, step: Callable[[], T], doing: str) -> T:
        """Take a step of TLS, with what it needs of the socket."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush(doing)
                self._fill(doing)
            except ssl.SSLZeroReturnError as error:
                raise Failure("closed", f"{self.label}: closed by the server while {doing}") from error
            except ssl.SSLError as error:
                raise Failure("wrong", f"{self.label}: {error} while {doing}") from error
            else:
                self._flush(doing)
                return done

    def _fill(self, doing: str) -> None:
        with self._promise(doing):
            data = self.sock.recv(CHUNK)
        if not data:
            raise Failure("closed", f"{self.label}: closed by the server while {doing}")
        self._incoming.write(data)

    def _flush(self, doing: str) -> None:
        with self._promise(doing):
            self.sock.sendall(self._outgoing.read())

    def send(self, data: bytes | memoryview) -> None:
        """Send all of ``data``."""
        view = memoryview(data)
        while view:
            sent = self._do(partial(self.tls.write, view), f"sending (byte {self._result.bytes_up})")
            view = view[sent:]
            self._result.bytes_up += sent

    def _receive(self, at_most: int, doing: str) -> int:
        n: Any = self._do(lambda: self.tls.read(at_most, self._buffer), doing)
        return int(n)


class Client:
    """Makes connections of one version of TLS, one after the other."""

    def __init__(self, session: Session, version: ssl.TLSVersion) -> None:
        self._session = session
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE  # there is but one certificate, which is compared
        self._context.minimum_version = self._context.maximum_version = version
        self.ticket: ssl.SSLSession | None = None

    def connect(self, receive_buffer: int = 0) -> TlsConnection:
        """Open a connection, with the ticket, if there is one."""
        plain = self._session.connect(receive_buffer)
        return TlsConnection(plain, self._session, self._context, self.ticket)


def or_reset(session: Session, part: Callable[[], None]) -> None:
    """Do a part; once more when its connection is reset, which may be if another node takes over."""
    while True:
        try:
            return part()
        except Failure as failure:
            if failure.kind != "reset" or session.result.resets == MOST_RESETS:
                raise
            session.result.resets += 1
            session.result.errors.append(str(failure))
            session.gap.pause()


def parts(session: Session) -> Iterator[tuple[int, int]]:
    """Where what is asked for begins, and how long it is: the file from end to end, again and again until it
    is enough."""
    at, left, most = 0, session.count, int(session.rate * PART_S) or WEB_SIZE
    while left and not session.over:
        size = min(left, most, WEB_SIZE - at)
        yield at, size
        at, left = (at + size) % WEB_SIZE, left - size


def down(version: ssl.TLSVersion) -> Body:
    """Long downloads, read at the client's pace, with small ones before and after, on one connection."""

    def body(session: Session) -> None:
        ramp, client = Ramp(CONTENT_SEED), Client(session, version)

        def part(connection: TlsConnection, first: int, count: int) -> None:
            last = first + count - 1
            session.gap.start()
            connection.send(
                f"GET /ramp.bin HTTP/1.1\r\nHost: lab\r\nRange: bytes={first}-{last}\r\n\r\n".encode()
            )
            read_head(connection, (206,))
            session.started()
            pace = Pace(session.rate)
            for at in range(0, count, CHUNK):
                pace.wait(at)
                connection.take_ramp(ramp, min(CHUNK, count - at), first + at)

        def download() -> None:
            with client.connect(RECEIVE_BUFFER) as connection:
                get_small(session, connection)
                for first, count in parts(session):
                    part(connection, first, count)
                session.gap.pause()
                get_small(session, connection)

        or_reset(session, download)

    return body


def keepalive(version: ssl.TLSVersion) -> Body:
    """One small download after the other on one connection."""

    def body(session: Session) -> None:
        client, passed = Client(session, version), session.until_end()

        def downloads() -> None:
            with client.connect() as connection:
                for _ in passed:
                    get_small(session, connection)
                    session.started()
                    time.sleep(0.01)

        or_reset(session, downloads)

    return body


def each(version: ssl.TLSVersion, resume: bool) -> Body:
    """A connection for each small download, with a full handshake, or a session that is resumed."""

    def body(session: Session) -> None:
        client = Client(session, version)

        def download() -> None:
            start, length = session.random.randrange(WEB_SIZE - 200_000), session.random.randrange(1, 100_000)
            with session.gap.request(), client.connect() as connection:
                get(connection, "/ramp.bin", Ramp(CONTENT_SEED), start, length)
                if resume:
                    client.ticket = connection.tls.session
            session.result.requests += 1

        for _ in session.until_end():
            or_reset(session, download)
            session.started()
            time.sleep(0.003)
        if resume and not session.result.resumed:
            raise Failure("answer", f"none of {session.result.handshakes} handshakes resumed a session")

    return body


def put(version: ssl.TLSVersion) -> Body:
    """A long PUT, then a GET of what was stored, on one connection."""

    def body(session: Session) -> None:
        client = Client(session, version)

        def stored() -> None:
            with client.connect() as connection:
                put_and_get(session, connection)

        or_reset(session, stored)

    return body
