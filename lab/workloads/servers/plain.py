"""A plain TCP server with threads: it sends, checks and echoes ramps. It knows nothing of fttcp.

The first line of a connection says what to do: ``[tag=T] VERB ARGUMENTS...``. What it answers depends on
nothing but what the client sent (no clock, no randomness, no read sizes): two copies of it agree.

    down SEED START COUNT RATE    send COUNT bytes of the ramp at RATE bytes per second (0: no limit), close
    up SEED START COUNT STEP      check COUNT bytes; a record after every STEP bytes, a verdict at the end
    both SEED START COUNT RATE    both at once, then the verdict of the upload
    ask SEED                      for each line ``get START LENGTH`` send that part of the ramp
    echo                          send back every byte, urgent ones as well
    drain SEED COUNT BACK RATE    check COUNT bytes up to the client's FIN, a verdict, BACK bytes, close
    tail SEED DOWN UP             send DOWN bytes and a FIN; check UP bytes up to the client's FIN
    urgent SEED COUNT             send COUNT bytes, the last of each 1000 as urgent data, close
    reset SEED COUNT              send COUNT bytes, wait for one byte of the client, close with a RST
    last SEED COUNT               send COUNT bytes, wait for one byte of the client, send one back, close
    hold                          read until the client's end
    local                         for each line send the file ``local`` of the working directory
    wait TAG                      send how the connection with that tag ended (``fin``, ``reset``, a verdict)

A file named ``slow`` in the working directory makes the server wait before each read for
as many seconds as the file says.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lab.workloads.ramp import Ramp

CHUNK = 1 << 16
RECORD = 16
SLOW_FILE = Path("slow")
LOCAL_FILE = Path("local")
REMEMBERED_ENDS = 20_000


class Ends:
    """How tagged connections ended, for those who wait for it."""

    def __init__(self) -> None:
        self._ends: dict[str, str] = {}
        self._changed = threading.Condition()

    def record(self, tag: str, how: str) -> None:
        """Note the end of a connection; the oldest is forgotten when there are too many."""
        with self._changed:
            self._ends[tag] = how
            if len(self._ends) > REMEMBERED_ENDS:
                del self._ends[next(iter(self._ends))]
            self._changed.notify_all()

    def wait(self, tag: str) -> str:
        """Return how the connection ended, as soon as it has."""
        with self._changed:
            self._changed.wait_for(lambda: tag in self._ends)
            return self._ends[tag]


class Closed(Exception):
    """The client's FIN came where data was due."""


class Connection:
    """One client; ``serve`` runs in its own thread."""

    def __init__(self, sock: socket.socket, ends: Ends) -> None:
        self._sock = sock
        self._ends = ends
        self._pending = bytearray()
        self._how = "fin"

    def serve(self) -> None:
        """Do what the first line says, then close and note how it ended."""
        tag = ""
        try:
            with self._sock:
                words = self._line().split()
                if words and words[0].startswith("tag="):
                    tag = words.pop(0)[4:]
                self._verb(words[0])(*words[1:])
        except Closed:
            self._how = "closed"
        except (ConnectionResetError, BrokenPipeError):
            self._how = "reset"
        except OSError as error:
            self._how = f"error {error.errno}"
        finally:
            if tag:
                self._ends.record(tag, self._how)

    def _verb(self, word: str) -> Callable[..., None]:
        method = getattr(self, f"do_{word}", None)
        if method is None:
            raise ValueError(f"unknown verb {word!r}")
        return method  # type: ignore[no-any-return]

    def _read(self, at_most: int) -> bytes:
        if self._pending:
            data = bytes(self._pending[:at_most])
            del self._pending[:at_most]
            return data
        if SLOW_FILE.exists():
            time.sleep(float(SLOW_FILE.read_text()))
        return self._sock.recv(min(at_most, CHUNK))

    def _line(self) -> str:
        while b"\n" not in self._pending:
            data = self._sock.recv(4096)
            if not data:
                raise Closed
            self._pending += data
        line, _, rest = bytes(self._pending).partition(b"\n")
        self._pending = bytearray(rest)
        return line.decode()

    def _send_ramp(self, ramp: Ramp, count: int, rate: float = 0.0) -> None:
        begin = time.monotonic()
        for at in range(0, count, CHUNK):
            if rate and (ahead := begin + at / rate - time.monotonic()) > 0:
                time.sleep(ahead)
            self._sock.sendall(ramp.chunk(at, min(CHUNK, count - at)))

    def _check_ramp(self, ramp: Ramp, count: int, step: int = 0) -> str:
        """Read ``count`` bytes; with ``step`` send a record at each multiple of it. Returns the verdict."""
        at = 0
        while at < count:
            data = self._read(min(count - at, step - at % step if step else CHUNK))
            if not data:
                return f"short {at}"
            wrong = ramp.mismatch(at, data)
            if wrong is not None:
                return f"bad {wrong}"
            at += len(data)
            if step and at % step == 0 and at < count:
                self._sock.sendall(record(f"at {at}"))
        return f"good {count}"

    def _until_end(self) -> int:
        extra = 0
        while data := self._read(CHUNK):
            extra += len(data)
        return extra

    def do_down(self, seed: str, start: str, count: str, rate: str) -> None:
        self._send_ramp(Ramp(int(seed), int(start)), int(count), float(rate))

    def do_up(self, seed: str, start: str, count: str, step: str) -> None:
        self._sock.sendall(record(self._check_ramp(Ramp(int(seed), int(start)), int(count), int(step))))

    def do_both(self, seed: str, start: str, count: str, rate: str) -> None:
        ramp, verdict = Ramp(int(seed), int(start)), [""]

        def check() -> None:
            try:
                verdict[0] = self._check_ramp(ramp, int(count))
            except ConnectionResetError:
                verdict[0] = "reset"

        upload = threading.Thread(target=check)
        upload.start()
        self._send_ramp(ramp, int(count), float(rate))
        upload.join()
        self._sock.sendall(record(verdict[0]))

    def do_ask(self, seed: str) -> None:
        while True:
            words = self._line().split()
            if words[0] == "end":
                return
            self._send_ramp(Ramp(int(seed), int(words[1])), int(words[2]))

    def do_echo(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        while data := self._read(CHUNK):
            self._sock.sendall(data)

    def do_drain(self, seed: str, count: str, back: str, rate: str) -> None:
        ramp = Ramp(int(seed))
        verdict = self._check_ramp(ramp, int(count))
        extra = self._until_end()
        self._sock.sendall(record(verdict if not extra else f"extra {extra}"))
        self._send_ramp(ramp, int(back), float(rate))

    def do_tail(self, seed: str, down: str, up: str) -> None:
        ramp = Ramp(int(seed))
        self._send_ramp(ramp, int(down))
        self._sock.shutdown(socket.SHUT_WR)
        self._how = self._check_ramp(ramp, int(up))
        if self._until_end():
            self._how = "bad end"

    def do_urgent(self, seed: str, count: str) -> None:
        ramp, size = Ramp(int(seed)), 1000
        for at in range(0, int(count), size):
            data = ramp.span(at, min(size, int(count) - at))
            self._sock.sendall(data[:-1])
            self._sock.send(data[-1:], socket.MSG_OOB)

    def do_reset(self, seed: str, count: str) -> None:
        self._send_ramp(Ramp(int(seed)), int(count))
        if not self._read(1):
            raise Closed
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def do_last(self, seed: str, count: str) -> None:
        self._send_ramp(Ramp(int(seed)), int(count))
        if not self._read(1):
            raise Closed
        self._sock.sendall(b".")
        self._sock.shutdown(socket.SHUT_WR)
        if self._until_end():
            self._how = "bad end"

    def do_hold(self) -> None:
        self._until_end()

    def do_local(self) -> None:
        while self._line() != "end":
            self._sock.sendall(LOCAL_FILE.read_bytes())

    def do_wait(self, tag: str) -> None:
        self._sock.sendall(record(self._ends.wait(tag)))


def record(text: str) -> bytes:
    """Return ``text`` as a record of 16 bytes, the last one a newline."""
    return text.encode().ljust(RECORD - 1) + b"\n"


def main() -> None:
    """Serve for ever."""
    parser = argparse.ArgumentParser(description="plain test server")
    parser.add_argument("port", type=int)
    parser.add_argument("--keepalive", action="store_true", help="probe idle clients every second")
    options = parser.parse_args()
    threading.stack_size(256 * 1024)
    listener = socket.create_server(
        ("::", options.port), family=socket.AF_INET6, backlog=4096, dualstack_ipv6=True
    )
    if options.keepalive:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    ends = Ends()
    print(f"plain server on port {options.port}", file=sys.stderr, flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(sock, ends).serve, daemon=True).start()


if __name__ == "__main__":
    main()
