"""How connections end: resets from either side, the server first, both at once, many short ones."""

from __future__ import annotations

import socket
import time

from lab.workloads.base import Connection, Failure, Session
from lab.workloads.stream import RECORD


def short(session: Session) -> None:
    """Many short connections, one after the other: connect, ask, verify, close."""
    for _ in session.until_end():
        start, length = session.random.randrange(1_000_000), session.random.randrange(1, 30_000)
        with session.gap.request(), session.connect() as connection:
            connection.line("down", session.seed, start, length, 0)
            connection.take_ramp(session.ramp(start), length)
            connection.expect_end()
        session.result.requests += 1
        session.started()
        time.sleep(0.003)


def server_closes_first(session: Session) -> None:
    """The server sends its last bytes and FIN together; the client closes a moment later."""
    for _ in session.until_end():
        length = session.random.randrange(1, 300_000)
        with session.gap.request(), session.connect() as connection:
            connection.line("down", session.seed, 0, length, 0)
            connection.take_ramp(session.ramp(), length)
            connection.expect_end()
            time.sleep(session.random.uniform(0, 0.02))
        session.result.requests += 1
        session.started()


def simultaneous_close(session: Session) -> None:
    """Both FINs cross: the client closes while the server's last byte and FIN are on their way."""
    for round_, _ in enumerate(session.until_end()):
        length, tag = session.random.randrange(1, 50_000), _tag(session, round_)
        with session.gap.request(), session.connect() as connection:
            connection.line(f"tag={tag}", "last", session.seed, length)
            connection.take_ramp(session.ramp(), length)
            connection.send(b"!")
            time.sleep(session.random.uniform(0, 0.0005))
            connection.sock.shutdown(socket.SHUT_WR)
            if (last := connection.exactly(1, "waiting for the last byte")) != b".":
                raise Failure("wrong", f"{connection.label}: the last byte is {last!r}")
            connection.expect_end()
        _expect_how(session, tag, ("fin",))
        session.result.requests += 1
        session.started()


def rst_client(session: Session) -> None:
    """The client resets connections in mid-download; the server must learn of each."""
    for round_, _ in enumerate(session.until_end()):
        tag = _tag(session, round_)
        connection = session.connect()
        connection.line(f"tag={tag}", "down", session.seed, 0, 50_000_000, 0)
        connection.take_ramp(session.ramp(), session.random.randrange(1, 500_000))
        connection.reset()
        _expect_how(session, tag, ("reset",))
        session.result.requests += 1
        session.started()
        time.sleep(0.02)


def rst_server(session: Session) -> None:
    """The server resets connections; the client must see all bytes before it, and then the reset."""
    for _ in session.until_end():
        length = session.random.randrange(1, 300_000)
        with session.gap.request(), session.connect() as connection:
            connection.line("reset", session.seed, length)
            connection.take_ramp(session.ramp(), length)
            connection.send(b"!")
            _expect_reset(connection, session.bound_s)
        session.result.requests += 1
        session.started()
        time.sleep(0.02)


def _tag(session: Session, round_: int) -> str:
    return f"t-{session.seed}-{time.time_ns()}-{round_}"


def _expect_how(session: Session, tag: str, allowed: tuple[str, ...]) -> None:
    """Ask on another connection how the one with this tag ended."""
    with session.gap.request(), session.connect() as other:
        other.line("wait", tag)
        how = other.exactly(RECORD, f"asking how {tag} ended").decode().strip()
    if how not in allowed:
        raise Failure("answer", f"the server saw {tag} end with {how!r}, not {' or '.join(allowed)}")


def _expect_reset(connection: Connection, bound_s: float) -> None:
    """Wait for a RST. It is sent once: when it is lost, our next segment is answered by another."""
    deadline = time.monotonic() + bound_s
    connection.sock.settimeout(0.5)
    while time.monotonic() < deadline:
        try:
            data = connection.sock.recv(64)
        except TimeoutError:
            try:
                connection.sock.send(b"?")
            except (ConnectionResetError, BrokenPipeError):
                return
            continue
        except ConnectionResetError:
            return
        what = f"{len(data)} bytes" if data else "a FIN"
        raise Failure("wrong", f"{connection.label}: {what} where the server resets the connection")
    raise Failure("stall", f"{connection.label}: no reset within {bound_s} s")
