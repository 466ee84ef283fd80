"""Long-lived connections: bulk, echo, requests, idle times, half-close, a window of zero, urgent data."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable

from lab.workloads.base import CHUNK, Connection, Failure, Pace, Session, upload, verify
from lab.workloads.ramp import Ramp

STEP = 1 << 16
RECORD = 16


def expect_verdict(connection: Connection, wanted: str) -> None:
    """Receive the server's verdict on what it was sent, and insist on ``wanted``."""
    connection.await_answer("waiting for the verdict")
    verdict = connection.exactly(RECORD, "waiting for the verdict").decode().strip()
    if verdict != wanted:
        raise Failure("wrong", f"{connection.label}: the server says {verdict!r}, not {wanted!r}")


def bulk_down(session: Session) -> None:
    """One long download."""
    ramp, count = session.ramp(), session.count
    with session.connect() as connection:
        connection.line("down", session.seed, 0, count, session.rate)
        connection.take_ramp(ramp, 1)
        session.started()
        session.gap.start()
        connection.take_ramp(ramp, count - 1, 1)
        session.gap.pause()
        connection.expect_end()


def paced_down(session: Session) -> None:
    """One long download at the client's pace: the server could say all of it sooner, as a new copy has to."""
    ramp, count = session.ramp(), session.count
    with session.connect(receive_buffer=1 << 18) as connection:
        connection.line("down", session.seed, 0, count, 0)
        connection.take_ramp(ramp, 1)
        session.started()
        session.gap.start()
        pace = Pace(session.rate)
        for at in range(1, count, CHUNK):
            if session.over:
                return
            pace.wait(at)
            connection.take_ramp(ramp, min(CHUNK, count - at), at)
        session.gap.pause()
        connection.expect_end()


def bulk_up(session: Session) -> None:
    """One long upload; the server's progress records give the gap."""
    ramp, count = session.ramp(), session.count
    with session.connect() as connection:
        connection.line("up", session.seed, 0, count, STEP)
        with Sender(connection, lambda: connection.send_ramp(ramp, count)) as failed:
            for at in range(STEP, count, STEP):
                record = (
                    connection.exactly(RECORD, f"waiting for the server to have {at} bytes").decode().strip()
                )
                if record != f"at {at}":
                    raise Failure("wrong", f"{connection.label}: the server says {record!r}, not 'at {at}'")
                session.started()
            expect_verdict(connection, f"good {count}")
        session.gap.pause()
        _raise_first(failed)
        connection.expect_end()


def both(session: Session) -> None:
    """Upload and download at once on one connection."""
    ramp, count = session.ramp(), session.count
    with session.connect() as connection:
        connection.line("both", session.seed, 0, count, session.rate)
        with Sender(connection, lambda: connection.send_ramp(ramp, count)) as failed:
            connection.take_ramp(ramp, 1)
            session.started()
            session.gap.start()
            connection.take_ramp(ramp, count - 1, 1)
            expect_verdict(connection, f"good {count}")
        session.gap.pause()
        _raise_first(failed)
        connection.expect_end()


class Sender:
    """Runs ``body`` in a thread; yields the list that gets its failure, if any. Leaving waits for it."""

    def __init__(self, connection: Connection, body: Callable[[], None]) -> None:
        self._connection = connection
        self._body = body
        self._failed: list[Failure] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._body()
        except Failure as failure:
            self._failed.append(failure)

    def _stop(self) -> bool:
        """Make the thread's sending fail; False: the connection was gone already."""
        try:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            return False
        return True

    def __enter__(self) -> list[Failure]:
        self._thread.start()
        return self._failed

    def __exit__(self, kind: object, *rest: object) -> None:
        """The kernel tells a reset to one of both threads; the other one sees an end. The reset counts."""
        gone = kind is not None and not self._stop()
        self._thread.join()
        if gone:
            _raise_first(self._failed)


def _raise_first(failed: list[Failure]) -> None:
    if failed:
        raise failed[0]


def echo(session: Session) -> None:
    """An interactive user: a line every 20 ms or so, each must come back before the next is typed."""
    _echo_lines(session, greet=False)


def echo_plain(session: Session) -> None:
    """The same against the plain server, which does not fork."""
    _echo_lines(session, greet=True)


def _echo_lines(session: Session, greet: bool) -> None:
    ramp, offset = session.ramp(), 0
    with session.connect() as connection:
        if greet:
            connection.line("echo")
        for _ in session.until_end():
            length = session.random.choice((1, 5, 64, 64, 200, 1400))
            with session.gap.request():
                connection.send(ramp.chunk(offset, length))
                verify(
                    ramp,
                    offset,
                    connection.exactly(length, f"waiting for the echo of byte {offset}"),
                    connection.label,
                )
            offset += length
            session.result.requests += 1
            session.started()
            time.sleep(session.random.uniform(0, 0.04))
        connection.sock.shutdown(socket.SHUT_WR)
        connection.expect_end()


def request(session: Session) -> None:
    """One request a second on one connection."""
    with session.connect() as connection:
        connection.line("ask", session.seed)
        next_at = time.monotonic()
        for _ in session.until_end():
            _ask(session, connection)
            session.started()
            next_at += 1.0
            time.sleep(max(0.0, next_at - time.monotonic()))
        _ask(session, connection)
        connection.line("end")
        connection.expect_end()


def _ask(session: Session, connection: Connection, at_most: int = 100_000) -> None:
    start, length = session.random.randrange(1_000_000), session.random.randrange(1, at_most)
    with session.gap.request():
        connection.line("get", start, length)
        connection.take_ramp(session.ramp(start), length)
    session.result.requests += 1


def idle(session: Session) -> None:
    """Talk, be silent for the whole duration, talk again."""
    with session.connect() as connection:
        _idle(session, connection)


def keepalive_idle(session: Session) -> None:
    """The same with keep-alive probes of the client every second (the server has its own)."""
    with session.connect() as connection:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            connection.sock.setsockopt(socket.IPPROTO_TCP, option, 1)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        _idle(session, connection)


def _idle(session: Session, connection: Connection) -> None:
    connection.line("ask", session.seed)
    _ask(session, connection)
    session.started()
    time.sleep(session.duration_s)
    _ask(session, connection)
    connection.line("end")
    connection.expect_end()


def zero_window(session: Session) -> None:
    """A download whose client stops to read for most of the duration, so that its window closes."""
    ramp, count = session.ramp(), max(4 << 20, session.size)
    with session.connect(receive_buffer=1 << 16) as connection:
        connection.line("down", session.seed, 0, count, 0)
        connection.take_ramp(ramp, CHUNK)
        session.started()
        time.sleep(session.duration_s)
        session.gap.start()
        connection.take_ramp(ramp, count - CHUNK, CHUNK)
        session.gap.pause()
        connection.expect_end()


def zero_window_up(session: Session) -> None:
    """Many requests whose answers are not read: the client's window closes, then the server's as well."""
    requests = [(session.random.randrange(1_000_000), 64_000) for _ in range(100)]
    with session.connect(receive_buffer=1 << 16) as connection:
        connection.line("ask", session.seed)
        for start, length in requests:
            connection.line("get", start, length)
        connection.take_ramp(session.ramp(requests[0][0]), 1000)
        session.started()
        time.sleep(session.duration_s)
        session.gap.start()
        connection.take_ramp(session.ramp(requests[0][0]), 63_000, 1000)
        for start, length in requests[1:]:
            connection.take_ramp(session.ramp(start), length)
            session.result.requests += 1
        session.gap.pause()
        connection.line("end")
        connection.expect_end()


def half_close(session: Session) -> None:
    """Upload, FIN, and only then a long download on the connection that is half closed."""
    ramp, up = session.ramp(), 1_000_000
    with session.connect() as connection:
        connection.line("drain", session.seed, up, session.count, session.rate)
        for at in range(0, up, CHUNK):
            connection.send(ramp.chunk(at, min(CHUNK, up - at)))
        connection.sock.shutdown(socket.SHUT_WR)
        expect_verdict(connection, f"good {up}")
        session.started()
        session.gap.start()
        connection.take_ramp(ramp, session.count)
        session.gap.pause()
        connection.expect_end()


def half_close_server(session: Session) -> None:
    """The server sends its FIN first; a long upload follows, whose verdict another connection asks for."""
    ramp, down, tag = session.ramp(), 1_000_000, f"tail-{session.seed}-{time.time_ns()}"
    with session.connect() as connection:
        connection.line(f"tag={tag}", "tail", session.seed, down, session.count)
        connection.take_ramp(ramp, down)
        connection.expect_end()
        session.started()
        upload(session, connection.send)
        session.gap.pause()
        connection.sock.shutdown(socket.SHUT_WR)
        with session.connect() as other:
            other.line("wait", tag)
            expect_verdict(other, f"good {session.count}")


def urgent(session: Session) -> None:
    """Urgent data both ways, in line: an echo with urgent bytes, and a server that sends some."""
    ramp, offset, size = session.ramp(), 0, 500
    with session.connect() as connection:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        connection.line("echo")
        for _ in session.until_end():
            data = ramp.span(offset, size)
            with session.gap.request():
                connection.send(data[:-1])
                connection.send_urgent(data[-1:])
                verify(
                    ramp,
                    offset,
                    connection.exactly(size, f"waiting for the echo of byte {offset}"),
                    connection.label,
                )
            offset += size
            session.result.requests += 1
            session.started()
            _urgent_down(session, ramp)
            time.sleep(0.02)
        connection.sock.shutdown(socket.SHUT_WR)
        connection.expect_end()


def _urgent_down(session: Session, ramp: Ramp) -> None:
    count = 20_000
    with session.connect() as connection:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        connection.line("urgent", session.seed, count)
        connection.take_ramp(ramp, count)
        connection.expect_end()
