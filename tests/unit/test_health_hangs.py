"""Real servers that stop making progress, and real ones that only look like it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fttcp.ownership.model import Cause
from fttcp.server.settings import HealthSection
from tests.health import Watched, free_port, looked_after, python, until

HEAD = """
import ctypes, os, socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4)
"""
ECHO = """
def serve(connection):
    while data := connection.recv(4096):
        connection.sendall(data)
"""
MUTEX = (
    HEAD
    + """
mutex = threading.Lock()
def holder():
    with mutex:
        other.acquire()
other = threading.Lock(); other.acquire()
threading.Thread(target=holder, daemon=True).start()
connection, _ = listener.accept()
connection.sendall(connection.recv(100))
with mutex:
    pass
"""
)
STOPS_READING = (
    HEAD
    + """
connection, _ = listener.accept()
connection.sendall(connection.recv(100))
threading.Event().wait()
"""
)
ONE_OF_MANY = (
    HEAD
    + ECHO
    + """
def stuck(connection):
    connection.sendall(connection.recv(100))
    threading.Event().wait()
first = True
while True:
    connection, _ = listener.accept()
    threading.Thread(target=stuck if first else serve, args=(connection,), daemon=True).start()
    first = False
"""
)
FORKS = (
    HEAD
    + ECHO
    + """
def stuck(connection):
    connection.sendall(connection.recv(100))
    threading.Event().wait()
first = True
while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        (stuck if first else serve)(connection)
        os._exit(0)
    connection.close()
    first = False
"""
)
SLOW = (
    HEAD
    + """
connection, _ = listener.accept()
connection.sendall(connection.recv(100))
while True:
    if sys.argv[2] == "sleep":
        time.sleep(3)
    else:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            sum(range(10000))
    connection.sendall(connection.recv(100))
"""
)
WRITES = (
    HEAD
    + """
connection, _ = listener.accept()
connection.sendall(connection.recv(100))
if sys.argv[2] == "block":
    connection.sendall(bytes(50_000_000))
else:
    connection.setblocking(False)
    try:
        while True:
            connection.send(bytes(65536))
    except BlockingIOError:
        threading.Event().wait()
"""
)
IDLE = (
    HEAD
    + """
connection, _ = listener.accept()
connection.sendall(connection.recv(100))
threading.Event().wait()
"""
)
CHILD = (
    HEAD
    + """
import subprocess
connection, _ = listener.accept()
connection.sendall(connection.recv(100))
subprocess.run(["sleep", "1000"])
"""
)
FILE_LOCK = (
    HEAD
    + """
import fcntl
connection, _ = listener.accept()
held = open(sys.argv[2], "w")
fcntl.flock(held, fcntl.LOCK_EX)
connection.sendall(connection.recv(100))
fcntl.flock(open(sys.argv[2], "w"), fcntl.LOCK_EX)
"""
)
DEAF = HEAD + "threading.Event().wait()\n"
HANG_MS = 200


def client(port: int) -> socket.socket:
    """A client that has had one answer."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(b"hello")
    assert sock.recv(5) == b"hello"
    return sock


def judge(
    directory: Path,
    code: str,
    *arguments: object,
    settings: HealthSection | None = None,
    follows: Callable[[], bool] = lambda: False,
    feed: Any,
) -> Any:
    """Run a server, let ``feed(server, client)`` do something with it, return what that returns."""

    async def body() -> Any:
        port = free_port()
        command = python(directory, code, port, *arguments)
        async with looked_after(
            directory,
            command,
            port,
            health=settings or HealthSection(),
            hang_after_ms=HANG_MS,
            follows=follows,
        ) as server:
            await until(lambda: server.healthy)
            with await asyncio.to_thread(client, port) as sock:
                return await feed(server, sock)

    return asyncio.run(body())


async def many_looks(server: Watched, looks: int = 20) -> None:
    """Until the server was looked at so many times more."""
    assert server.health is not None
    sampler, seen = server.health._sampler, 0
    sample = sampler.sample

    def counted(*arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        return sample(*arguments)

    sampler.sample = counted  # type: ignore[method-assign]
    await until(lambda: seen > looks, 30)
    sampler.sample = sample  # type: ignore[method-assign]


@pytest.mark.parametrize("code", [MUTEX, STOPS_READING], ids=["mutex", "stops-reading"])
def test_a_server_that_can_never_go_on_is_hung(tmp_path: Path, code: str) -> None:
    async def feed(server: Watched, sock: socket.socket) -> None:
        pid = server.pid
        await many_looks(server)
        assert server.healthy, "nothing waits to be read: idle, not hung"
        sent_s = time.monotonic()
        sock.sendall(b"is anybody there?")
        await until(lambda: server.failed(Cause.SERVER_HUNG))
        assert time.monotonic() - sent_s >= HANG_MS / 1000
        reason = server.changes[-1][2]
        assert "17 bytes from [127.0.0.1]:" in reason and f"process {pid}" in reason
        assert "waiting for another thread or process" in reason
        await until(lambda: server.healthy and server.pid != pid)

    judge(tmp_path, code, feed=feed)


def test_a_server_that_follows_another_one_is_not_hung_while_it_waits(tmp_path: Path) -> None:
    """It does nothing before the other one has: by itself again it is judged as any other."""
    part = list[str]()

    async def feed(server: Watched, sock: socket.socket) -> None:
        assert server.told("listens")
        part.append("follower")
        sock.sendall(b"is anybody there?")
        await many_looks(server)
        assert server.healthy and not server.doubts
        part.clear()
        await until(lambda: server.failed(Cause.SERVER_HUNG))

    judge(tmp_path, MUTEX, follows=lambda: bool(part), feed=feed)


def test_a_hang_is_found_though_the_server_cannot_be_weighed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel does not tell of listen queues says nothing of whether it hangs."""

    def broken() -> int:
        raise ValueError("no TcpExt")

    monkeypatch.setattr("fttcp.server.resources.listen_overflows", broken)

    async def feed(server: Watched, sock: socket.socket) -> None:
        sock.sendall(b"is anybody there?")
        await until(lambda: server.failed(Cause.SERVER_HUNG))
        assert {"why": "ValueError: no TcpExt"} in server.told("health-failed")

    weighs_at_each_look = HealthSection(resources_interval_ms=1)
    judge(tmp_path, MUTEX, settings=weighs_at_each_look, feed=feed)


def test_a_worker_process_that_hangs_is_found_among_others(tmp_path: Path) -> None:
    async def feed(server: Watched, sock: socket.socket) -> None:
        with await asyncio.to_thread(client, sock.getpeername()[1]) as other:
            sock.sendall(b"x")
            await until(lambda: server.failed(Cause.SERVER_HUNG))
            assert other.getpeername()

    judge(tmp_path, FORKS, feed=feed)


def test_one_stuck_thread_of_many_is_a_stall(tmp_path: Path) -> None:
    settings = HealthSection(stall_after_ms=600)

    async def feed(server: Watched, sock: socket.socket) -> None:
        sock.sendall(b"x")
        await until(lambda: server.check("stall")["state"] == "warning")
        assert server.healthy, "a stall is a warning unless the configuration says more"
        reason = server.told("health-warning")[0]["reason"]
        assert "have waited" in reason and "waiting for input or events" in reason
        assert server.check("hang")["state"] == "ok"

    judge(tmp_path, ONE_OF_MANY, settings=settings, feed=feed)


def test_a_stall_moves_the_role_when_so_configured(tmp_path: Path) -> None:
    settings = HealthSection(stall_after_ms=600, stall_action="failover")

    async def feed(server: Watched, sock: socket.socket) -> None:
        pid = server.pid
        sock.sendall(b"x")
        await until(lambda: server.failed(Cause.SERVER_HUNG))
        assert server.changes[-1][2].startswith("stall: ")
        assert server.pid == pid

    judge(tmp_path, ONE_OF_MANY, settings=settings, feed=feed)


@pytest.mark.parametrize("how", ["sleep", "compute"])
def test_a_slow_server_is_not_hung(tmp_path: Path, how: str) -> None:
    async def feed(server: Watched, sock: socket.socket) -> None:
        sock.sendall(b"more")
        await many_looks(server)
        assert server.healthy and not server.failed(Cause.SERVER_HUNG)

    judge(tmp_path, SLOW, how, feed=feed)


@pytest.mark.parametrize("code", [CHILD, FILE_LOCK], ids=["child", "file-lock"])
def test_a_server_that_waits_for_somebody_outside_is_not_hung(tmp_path: Path, code: str) -> None:
    """A program that it runs, a file lock: these may come to an end."""

    async def feed(server: Watched, sock: socket.socket) -> None:
        sock.sendall(b"more")
        await many_looks(server)
        assert server.healthy and server.check("hang")["state"] == "ok"

    judge(tmp_path, code, tmp_path / "lock", feed=feed)


@pytest.mark.parametrize("how", ["block", "wait"])
def test_a_server_whose_client_does_not_read_is_not_hung(tmp_path: Path, how: str) -> None:
    settings = HealthSection(stall_after_ms=600)

    async def feed(server: Watched, sock: socket.socket) -> None:
        await asyncio.sleep(0.1)
        sock.sendall(b"more")
        await many_looks(server, 40)
        assert server.healthy and not server.told("health-warning")

    judge(tmp_path, WRITES, how, settings=settings, feed=feed)


def test_a_client_that_left_is_nothing_to_be_read(tmp_path: Path) -> None:
    async def feed(server: Watched, sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)
        await many_looks(server)
        assert server.healthy

    judge(tmp_path, IDLE, feed=feed)


def test_a_full_listen_queue(tmp_path: Path) -> None:
    settings = HealthSection(backlog_after_ms=200, backlog_action="failover", resources_interval_ms=50)

    async def body() -> None:
        port = free_port()
        async with looked_after(tmp_path, python(tmp_path, DEAF, port), port, health=settings) as server:
            await until(lambda: server.healthy)
            clients = [socket.socket() for _ in range(12)]
            for sock in clients:
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
            await until(lambda: server.failed(Cause.RESOURCES_EXHAUSTED))
            assert f"backlog: the listen queue of port {port} has been full for" in server.changes[-1][2]
            assert "backlog 4" in server.changes[-1][2]
            for sock in clients:
                sock.close()

    asyncio.run(body())
