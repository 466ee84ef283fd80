"""Thousands of connections at once, every byte verified; runs by its path, with the standard library.

    herd.py serve PORT [PROCESSES]              an echo server, for as many files as each process may have
    herd.py hold ADDRESS PORT COUNT [BOUND_S]   opens COUNT connections and keeps them

``hold`` opens them, says ``{"opened": COUNT, "seconds": S}``, and obeys lines of its standard input, each
answered by one JSON object on standard output:

    ask MESSAGES [CONNECTIONS [PER_S]]   round trips over the first CONNECTIONS (0: all) in turn, WINDOW at a
                                         time, or PER_S in each second
    idle                                 nothing must have come
    end                                  closes all of them, each to the server's own end

Answers have ``messages, seconds``, and of an ask ``p50_us, p99_us, max_us``. A message is MESSAGE_BYTES long
and says which one of which connection it is, so a byte that is lost, doubled or of another connection is
told. A connection that is lost or wrong, or silent for BOUND_S, is told as ``error``, with the number of them
in ``failed``; the exit status is then 1. One process holds as many connections as its limit of files allows;
lab/workloads/herds.py runs several.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

MESSAGE_BYTES = 64
WINDOW = 64
OPENING_AT_ONCE = 256
SPARE_FILES = 64
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS_USUAL = 20_000
"""More connections than that need more of the client's ports than Linux uses by itself."""
BUFFER_BYTES = 1 << 16

Report = dict[str, Any]


def allow_files() -> int:
    """Let this process have all files that it may have; return how many, less a few to spare."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - SPARE_FILES


def serve(port: int, processes: int = 1) -> None:
    """Echo for ever; a client that does not read its answers stops the others of its process."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=4096, dualstack_ipv6=True)
    listener.setblocking(False)
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    _echo(listener, allow_files())


def _echo(listener: socket.socket, most: int) -> None:
    poll, clients = select.epoll(), {}
    poll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                with contextlib.suppress(BlockingIOError):  # another process has taken it
                    sock, _ = listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    clients[sock.fileno()] = sock
                    poll.register(sock, select.EPOLLIN)
                    if len(clients) == most:
                        poll.unregister(listener)
                continue
            sock = clients[descriptor]
            try:
                data = sock.recv(BUFFER_BYTES)
                sock.sendall(data)
            except (ConnectionResetError, BrokenPipeError):
                data = b""  # the client has left: that is all there is to do
            if not data:
                poll.unregister(sock)
                if len(clients) == most:
                    poll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
                clients.pop(descriptor).close()


def message(connection: int, number: int) -> bytes:
    """Return message `number` of a connection."""
    return struct.pack("!QQ", connection, number) * (MESSAGE_BYTES // 16)


class Connection:
    """One connection: what was sent on it and has not come back."""

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number, self.sock = number, sock
        self.sent = self.taken = 0
        self.part = b""
        self.since_s = 0.0
        self.error = ""

    def send(self, now_s: float) -> None:
        """Send the next message; an error is kept."""
        try:
            self.sock.sendall(message(self.number, self.sent))
        except OSError as error:
            self.error = f"connection {self.number}: {error} at message {self.sent}"
            return
        self.sent += 1
        self.since_s = now_s

    def take(self) -> bool:
        """Take what came; True when a message is complete. What is wrong is kept as the error."""
        try:
            data = self.sock.recv(BUFFER_BYTES)
        except OSError as error:
            data, self.error = b"", f"connection {self.number}: {error} at message {self.taken}"
            return False
        if not data:
            self.error = f"connection {self.number}: closed by the server at message {self.taken}"
            return False
        self.part += data
        wanted = message(self.number, self.taken)
        if self.taken == self.sent or not wanted.startswith(self.part[:MESSAGE_BYTES]):
            self.error = (
                f"connection {self.number}: wrong bytes for message {self.taken}: {self.part[:32].hex()}"
            )
            return False
        if len(self.part) < MESSAGE_BYTES:
            return False
        self.part = self.part[MESSAGE_BYTES:]
        self.taken += 1
        if self.part:
            self.error = f"connection {self.number}: {len(self.part)} bytes beyond message {self.taken - 1}"
            return False
        return True


class Herd:
    """All connections of one client."""

    def __init__(self, address: str, port: int, bound_s: float) -> None:
        self._place = (address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._bound_s = bound_s
        self._poll = select.epoll()
        self._by_descriptor: dict[int, Connection] = {}
        self.connections: list[Connection] = []

    def open(self, count: int) -> Report:
        """Open `count` connections, OPENING_AT_ONCE at a time."""
        if count > (most := allow_files()):
            raise ValueError(f"{count} connections: one process may have {most} files; use more processes")
        if count > PORTS_USUAL:
            PORTS.write_text("1024 65535\n")
        begin_s = time.monotonic()
        opening: dict[int, socket.socket] = {}
        poll = select.epoll()
        while len(self.connections) < count:
            while len(opening) < OPENING_AT_ONCE and len(self.connections) + len(opening) < count:
                sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(self._place)
                opening[sock.fileno()] = sock
                poll.register(sock, select.EPOLLOUT)
            ready = poll.poll(self._bound_s)
            if not ready:
                raise TimeoutError(
                    f"no connection was made for {self._bound_s:g} s, {len(self.connections)} before"
                )
            for descriptor, _ in ready:
                poll.unregister(descriptor)
                self._keep(opening.pop(descriptor))
        return {"opened": count, "seconds": time.monotonic() - begin_s}

    def _keep(self, sock: socket.socket) -> None:
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"connection {len(self.connections)} cannot be made")
        connection = Connection(len(self.connections), sock)
        self.connections.append(connection)
        self._by_descriptor[sock.fileno()] = connection
        self._poll.register(sock, select.EPOLLIN)

    def ask(self, messages: int, among: int = 0, per_s: float = 0.0) -> Report:
        """Make round trips over the first `among` connections (0: all), one at a time on each."""
        chosen = deque(self.connections[: among or None])
        trips: list[float] = []
        errors: list[str] = []
        waiting: dict[int, Connection] = {}
        begin_s = time.monotonic()
        asked = 0
        while asked < messages or waiting:
            now_s = time.monotonic()
            due = int((now_s - begin_s) * per_s) + 1 if per_s else asked + WINDOW - len(waiting)
            while asked < min(due, messages) and chosen:
                connection = chosen.popleft()
                connection.send(now_s)
                asked += 1
                if connection.error:
                    errors.append(connection.error)
                else:
                    waiting[connection.number] = connection
            if not chosen and not waiting:
                break  # every one of them is lost
            for descriptor, _ in self._poll.poll(0.001 if per_s and asked < messages else self._bound_s):
                connection = self._by_descriptor[descriptor]
                if connection.take():
                    trips.append(time.monotonic() - connection.since_s)
                    del waiting[connection.number]
                    chosen.append(connection)
                elif connection.error:
                    self._poll.unregister(descriptor)
                    waiting.pop(connection.number, None)
                    errors.append(connection.error)
            late_s = time.monotonic() - self._bound_s
            oldest = next(iter(waiting.values()), None)
            if oldest is not None and oldest.since_s < late_s:
                silent = [c for c in waiting.values() if c.since_s < late_s]
                errors += [
                    f"connection {c.number}: no answer for {self._bound_s:g} s at message {c.taken}"
                    for c in silent
                ]
                for connection in silent:
                    self._poll.unregister(connection.sock)
                    del waiting[connection.number]
        return _report(trips, errors, time.monotonic() - begin_s)

    def idle(self) -> Report:
        """Look whether anything came that was not asked for."""
        errors = []
        for descriptor, _ in self._poll.poll(0):
            connection = self._by_descriptor[descriptor]
            if not connection.error:
                connection.take()
                errors.append(connection.error or f"connection {connection.number}: an answer to nothing")
        return _report([], errors, 0.0)

    def end(self) -> Report:
        """Close every connection, and wait for the server's end of each."""
        begin_s, errors = time.monotonic(), []
        living = [c for c in self.connections if not c.error]
        for connection in living:
            connection.sock.shutdown(socket.SHUT_WR)
        for connection in living:
            connection.sock.settimeout(self._bound_s)
            try:
                if connection.sock.recv(1):
                    errors.append(f"connection {connection.number}: bytes beyond the end")
            except OSError as error:
                errors.append(f"connection {connection.number}: {error} while waiting for the server's end")
            connection.sock.close()
        return _report([], errors, time.monotonic() - begin_s)


def _report(trips: list[float], errors: list[str], seconds: float) -> Report:
    trips.sort()
    at = {"p50_us": 0.5, "p99_us": 0.99, "max_us": 1.0}
    figures = {
        name: trips[min(len(trips) - 1, int(len(trips) * part))] * 1e6 for name, part in at.items() if trips
    }
    failure = {"failed": len(errors), "error": errors[0]} if errors else {}
    return {"messages": len(trips), "seconds": seconds} | figures | failure


def hold(address: str, port: int, count: int, bound_s: float = 10.0) -> int:
    """Open the connections and obey; returns the exit status."""
    herd, status = Herd(address, port, bound_s), 0
    print(json.dumps(herd.open(count)), flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "ask":
            report = herd.ask(
                int(words[0]), *(int(word) for word in words[1:2]), *(float(w) for w in words[2:3])
            )
        else:
            report = {"idle": herd.idle, "end": herd.end}[verb]()
        status = status or int("error" in report)
        print(json.dumps(report), flush=True)
        if verb == "end":
            break
    return status


def main() -> None:
    """Run what the command line says."""
    verb, *words = sys.argv[1:]
    if verb == "serve":
        serve(*(int(word) for word in words))
    sys.exit(hold(words[0], int(words[1]), int(words[2]), *(float(word) for word in words[3:])))


if __name__ == "__main__":
    main()
