"""HTTP clients: kept-alive downloads, uploads that are read back, a hundred at once, http.server."""

from __future__ import annotations

import dataclasses
import threading
import time

from lab.workloads.base import CHUNK, Connection, Failure, Gap, Pace, Result, Session, upload
from lab.workloads.ramp import Ramp
from lab.workloads.servers.launch import CONTENT_SEED, HTTPD_SIZE, WEB_SIZE

PARALLEL = 100


def read_head(connection: Connection, wanted: tuple[int, ...]) -> dict[str, str]:
    """Read a response's status line and header fields.

    Raises:
        Failure: of kind *answer*, when the status is not one of ``wanted``.
    """
    status = connection.readline()
    code = int(status.split()[1]) if status.startswith("HTTP/1.") else 0
    if code not in wanted:
        raise Failure("answer", f"{connection.label}: status line {status!r}, wanted {wanted}")
    fields = {}
    while line := connection.readline():
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return fields


def get(connection: Connection, path: str, ramp: Ramp, start: int, count: int) -> None:
    """GET a range of a file that holds ``ramp``, and verify it."""
    last = start + count - 1
    connection.send(f"GET {path} HTTP/1.1\r\nHost: lab\r\nRange: bytes={start}-{last}\r\n\r\n".encode())
    fields = read_head(connection, (206,))
    if fields.get("content-length") != str(count):
        raise Failure("wrong", f"{connection.label}: length {fields.get('content-length')}, wanted {count}")
    connection.take_ramp(ramp, count, start)


def http(session: Session) -> None:
    """nginx: small downloads, a long paced one, and small ones again, all on one connection."""
    ramp, count = Ramp(CONTENT_SEED), min(session.count, WEB_SIZE - 1)
    with session.connect() as connection:
        for _ in range(3):
            get_small(session, connection)
        session.started()
        session.gap.start()
        get(connection, f"/paced/ramp.bin?rate={session.rate}", ramp, 0, count)
        session.gap.pause()
        for _ in range(3):
            get_small(session, connection)


def get_small(session: Session, connection: Connection) -> None:
    """GET a small part of nginx's file."""
    start = session.random.randrange(WEB_SIZE - 200_000)
    with session.gap.request():
        get(connection, "/ramp.bin", Ramp(CONTENT_SEED), start, session.random.randrange(1, 200_000))
    session.result.requests += 1


def http_keepalive(session: Session) -> None:
    """nginx: one small download after the other on one connection."""
    with session.connect() as connection:
        for _ in session.until_end():
            get_small(session, connection)
            session.started()
            time.sleep(0.01)


def put(session: Session) -> None:
    """nginx: a long PUT, then a GET of what was stored, on one connection."""
    with session.connect() as connection:
        put_and_get(session, connection)


def put_and_get(session: Session, connection: Connection) -> None:
    """PUT the session's stream in a file of its own, read that back, and remove it."""
    path, count = f"/put/{session.seed}-{time.time_ns()}.bin", session.count
    connection.send(f"PUT {path} HTTP/1.1\r\nHost: lab\r\nContent-Length: {count}\r\n\r\n".encode())
    upload(session, connection.send)
    connection.await_answer("waiting for the end of the upload")
    read_head(connection, (201,))
    session.gap.pause()
    get(connection, path, session.ramp(), 0, count)
    connection.send(f"DELETE {path} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    read_head(connection, (204,))


def http100(session: Session) -> None:
    """nginx: a hundred paced downloads at once."""
    members = [
        dataclasses.replace(
            session,
            seed=session.seed + i,
            rate=session.rate // PARALLEL,
            result=Result(),
            gap=Gap(),
            on_started=lambda: None,
        )
        for i in range(PARALLEL)
    ]
    all_open = threading.Barrier(PARALLEL, action=session.started)
    failures: list[Failure] = []

    def download(member: Session) -> None:
        try:
            with member.connect() as connection:
                all_open.wait()
                member.gap.start()
                start = member.random.randrange(WEB_SIZE - member.count)
                get(connection, f"/slow/ramp.bin?rate={member.rate}", Ramp(CONTENT_SEED), start, member.count)
        except Failure as failure:
            all_open.abort()
            failures.append(failure)
        except threading.BrokenBarrierError:
            failures.append(
                Failure("stall", "gave up: another connection of the hundred could not be opened")
            )

    threads = [threading.Thread(target=download, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for member in members:
        session.result.bytes_down += member.result.bytes_down
        session.gap.largest_s = max(session.gap.largest_s, member.gap.largest_s)
    if failures:
        raise Failure(failures[0].kind, f"{len(failures)} of {PARALLEL}: {failures[0]}")


def http_server(session: Session) -> None:
    """Python's http.server: one download, read at the client's pace; the server closes at its end."""
    ramp, pace = Ramp(CONTENT_SEED), Pace(HTTPD_SIZE / session.duration_s)
    with session.connect(receive_buffer=1 << 18) as connection:
        connection.send(b"GET /ramp.bin HTTP/1.0\r\n\r\n")
        fields = read_head(connection, (200,))
        if fields.get("content-length") != str(HTTPD_SIZE):
            raise Failure(
                "wrong", f"{connection.label}: length {fields.get('content-length')}, wanted {HTTPD_SIZE}"
            )
        session.started()
        session.gap.start()
        for at in range(0, HTTPD_SIZE, CHUNK):
            pace.wait(at)
            connection.take_ramp(ramp, CHUNK, at)
        session.gap.pause()
        connection.expect_end()
