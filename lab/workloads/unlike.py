"""Clients of a server whose copies do not agree. What such a client may see: right bytes, or a reset.

A reset is counted, and the client connects anew; whether one was due, the run's judge knows. Bytes that
no copy sends, an early end and silence are failures.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from lab.workloads.base import CHUNK, Connection, Failure, Session
from lab.workloads.records import Plan, Reader, WrongStreamError

SIZES = (10, 60, 700, 3000, 20_000)
OFTEN = (3, 20, 100)
AHEAD = 3
"""Requests of a busy client that are under way."""
LONGEST_IDLE_S = 1.2


def unlike(kind: str, busy: bool) -> Callable[[Session], None]:
    """A client whose server's copies differ in `kind`, length or content; a busy one never rests."""
    talk = _busy if busy else _idle

    def body(session: Session) -> None:
        begin_s = time.monotonic()
        while session.duration_s > time.monotonic() - begin_s:
            draw = session.random
            plan = Plan(draw.randrange(1 << 30), kind, draw.choice(OFTEN), draw.choice(SIZES))
            with session.connect() as connection:
                try:
                    connection.line(plan.line())
                    talk(session, connection, Reader(plan, session.failures), begin_s + session.duration_s)
                    connection.expect_end()
                except Failure as failure:
                    if failure.kind != "reset":
                        raise
                    session.result.resets += 1
                    session.gap.pause()

    return body


def _idle(session: Session, connection: Connection, reader: Reader, end_s: float) -> None:
    """Ask, take the answer, rest."""
    while time.monotonic() < end_s:
        count = session.random.choice((1, 2, 10, 40))
        with session.gap.request():
            connection.line(count)
            _take(connection, reader, reader.number + count)
        _rested(session, connection, reader)
        time.sleep(session.random.choice((0.01, 0.1, LONGEST_IDLE_S)) * session.random.random())
    connection.sock.shutdown(socket.SHUT_WR)


def _busy(session: Session, connection: Connection, reader: Reader, end_s: float) -> None:
    """Ask before the answer to what was asked before is there."""
    count, done = max(1, 60_000 // (reader.plan.size + 10)), 0
    for _ in range(AHEAD):
        connection.line(count)
    session.gap.start()
    while time.monotonic() < end_s:
        done += 1
        _take(connection, reader, done * count)
        session.started()
        session.result.requests += 1
        connection.line(count)
    connection.sock.shutdown(socket.SHUT_WR)
    _take(connection, reader, (done + AHEAD) * count)
    session.gap.pause()
    _rested(session, connection, reader)


def _take(connection: Connection, reader: Reader, number: int) -> None:
    """Receive until so many records are complete."""
    while reader.number < number:
        data = connection.some(CHUNK, f"receiving record {reader.number}")
        try:
            reader.take(data)
        except WrongStreamError as error:
            raise Failure("wrong", f"{connection.label}: {error}, of plan {reader.plan.line()}") from error


def _rested(session: Session, connection: Connection, reader: Reader) -> None:
    """All that was asked for is there, and nothing else."""
    if not reader.between:
        raise Failure("wrong", f"{connection.label}: bytes beyond record {reader.number}")
    session.started()
    session.result.requests += 1
