"""What a workload's client is made of: session, connection, result, kinds of failure, stop-watch."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Self

from lab.workloads.ramp import Ramp

CHUNK = 1 << 16
CONNECT_BOUND_S = 12.0  # SYN retries come after 1, 3 and 7 seconds


class Failure(Exception):
    """The service broke its promise; `kind`: wrong, reset, closed, stall, refused, answer, or status."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Gap:
    """Largest time between two signs of progress (monotonic clock)."""

    def __init__(self) -> None:
        self._last: float | None = None
        self.largest_s = 0.0

    def start(self) -> None:
        """Begin to count: progress is due from now on."""
        self._last = time.monotonic()

    def progress(self) -> None:
        """Something arrived."""
        now = time.monotonic()
        if self._last is not None:
            self.largest_s = max(self.largest_s, now - self._last)
        self._last = now

    def pause(self) -> None:
        """Nothing is due until the next ``start``."""
        self._last = None

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count the time of one request, from here to the end of the block."""
        self.start()
        yield
        self.progress()
        self.pause()


@dataclass
class Result:
    """What a client reports as JSON; ``why`` is empty when ``ok``."""

    ok: bool = False
    bytes_down: int = 0
    bytes_up: int = 0
    gap_ms: float = 0.0
    requests: int = 0
    refused: int = 0  # connection attempts answered by a RST while nobody served; retried
    retried: int = 0  # datagrams sent again
    resets: int = 0  # connections that were reset, and may be: their server's copies differ
    handshakes: int = 0  # of TLS and SSH
    resumed: int = 0  # of those: with a session of before
    kind: str = ""
    why: str = ""
    errors: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain data."""
        return asdict(self)


@dataclass
class Session:
    """What a workload needs to run once; times in seconds, rate in bytes per second (0: unlimited)."""

    address: str
    port: int
    seed: int
    duration_s: float = 5.0
    bound_s: float = 5.0
    rate: int = 12_000_000
    size: int = 0  # bytes to move; 0: rate * duration
    client_iss: int | None = None
    failures: int = 1  # after each the other node may serve
    on_started: Callable[[], None] = lambda: None
    result: Result = field(default_factory=Result)
    gap: Gap = field(default_factory=Gap)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self._started = False
        self.over = False

    @property
    def count(self) -> int:
        """Bytes to move in one direction."""
        return self.size or int(self.rate * self.duration_s)

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6, by the service's address."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def ramp(self, start: int = 0) -> Ramp:
        """Return the stream of this session's seed."""
        return Ramp(self.seed, start)

    def started(self) -> None:
        """Tell whoever runs us that the traffic flows (once)."""
        if not self._started:
            self._started = True
            self.on_started()

    def until_end(self) -> Iterator[float]:
        """Yield the seconds that have passed until the duration is over, or `over` is set."""
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < self.duration_s and not self.over:
            yield passed

    def connect(self, receive_buffer: int = 0) -> Connection:
        """Open a connection; a refused attempt is counted and tried again within the bound.

        Raises:
            Failure: the connection could not be made within 12 s (or the bound, when that is longer).
        """
        deadline = time.monotonic() + max(self.bound_s, CONNECT_BOUND_S)
        while True:
            sock = socket.socket(self.family, socket.SOCK_STREAM)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if self.client_iss is not None:
                set_initial_sequence(sock, self.client_iss)
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                sock.connect((self.address, self.port))
            except ConnectionRefusedError:
                sock.close()
                self.result.refused += 1
                if time.monotonic() > deadline:
                    raise Failure("refused", f"{self.address}:{self.port} refused every connection") from None
                time.sleep(0.02)
                continue
            except OSError as error:
                sock.close()
                raise Failure("stall", f"no connection to {self.address}:{self.port}: {error}") from error
            sock.settimeout(self.bound_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return Connection(sock, self)


class Connection:
    """A client's TCP connection: its errors become Failures, the bytes it takes are verified."""

    def __init__(self, sock: socket.socket, session: Session) -> None:
        self.sock = sock
        self._session = session
        self._result = session.result
        self._buffer = bytearray(CHUNK)
        self.label = "{}:{}".format(*sock.getsockname()[:2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    @contextlib.contextmanager
    def _promise(self, doing: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            bound = self.sock.gettimeout()
            raise Failure("stall", f"{self.label}: nothing for {bound} s while {doing}") from None
        except (ConnectionResetError, BrokenPipeError, ConnectionAbortedError) as error:
            raise Failure("reset", f"{self.label}: {error.strerror} while {doing}") from error

    def send(self, data: bytes | memoryview) -> None:
        """Send all of ``data``."""
        with self._promise(f"sending (byte {self._result.bytes_up})"):
            self.sock.sendall(data)
        self._result.bytes_up += len(data)

    def send_urgent(self, data: bytes) -> None:
        """Send ``data``, its last byte as urgent data (RFC 9293, 3.8.5)."""
        with self._promise("sending urgent data"):
            self.sock.send(data, socket.MSG_OOB)
        self._result.bytes_up += len(data)

    def line(self, *words: object) -> None:
        """Send one command line to the plain server."""
        self.send((" ".join(str(word) for word in words) + "\n").encode())

    def some(self, at_most: int, doing: str = "receiving") -> memoryview:
        """Receive between 1 and ``at_most`` bytes; the view is valid until the next call."""
        n = self._receive(min(at_most, CHUNK), doing)
        if n == 0:
            raise Failure("closed", f"{self.label}: closed by the server while {doing}")
        self._result.bytes_down += n
        self._session.gap.progress()
        return memoryview(self._buffer)[:n]

    def _receive(self, at_most: int, doing: str) -> int:
        """Receive into the buffer; return how many bytes, 0 at the end."""
        with self._promise(doing):
            return self.sock.recv_into(self._buffer, at_most)

    def exactly(self, count: int, doing: str = "receiving") -> bytes:
        """Receive exactly ``count`` bytes."""
        taken = bytearray()
        while len(taken) < count:
            taken += self.some(count - len(taken), f"{doing}, byte {len(taken)} of {count}")
        return bytes(taken)

    def await_answer(self, doing: str) -> None:
        """Wait until something can be received. That the service goes on taking what was sent is progress:
        over a lossy link a full send buffer takes its time."""
        bound_s = self.sock.gettimeout() or 0.0
        taken, since_s = -1, time.monotonic()
        while not select.select([self.sock], [], [], min(bound_s, 0.5))[0]:
            unsent = struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)))[0]
            if self._result.bytes_up - unsent != taken:
                taken, since_s = self._result.bytes_up - unsent, time.monotonic()
            elif time.monotonic() - since_s > bound_s:
                raise Failure(
                    "stall", f"{self.label}: nothing for {bound_s} s while {doing}, {unsent} bytes sent"
                )

    def readline(self) -> str:
        """Receive one line from the plain server (byte by byte: nothing behind it is taken)."""
        taken = bytearray()
        while not taken.endswith(b"\n"):
            taken += self.some(1, "waiting for a line")
        return taken.decode().strip()

    def take_ramp(self, ramp: Ramp, count: int, offset: int = 0) -> None:
        """Receive ``count`` bytes of ``ramp`` from stream offset ``offset``, and verify each."""
        end = offset + count
        while offset < end:
            data = self.some(end - offset, f"receiving byte {offset} of {end}")
            verify(ramp, offset, data, self.label)
            offset += len(data)

    def send_ramp(self, ramp: Ramp, count: int, offset: int = 0) -> None:
        """Send ``count`` bytes of ``ramp``, paced by the session's rate."""
        pace = Pace(self._session.rate)
        for at in range(offset, offset + count, CHUNK):
            pace.wait(at - offset)
            self.send(ramp.chunk(at, min(CHUNK, offset + count - at)))

    def expect_end(self) -> None:
        """Wait for the server's FIN; a byte or a RST in its place is a failure."""
        with self._promise("waiting for the server's end"):
            extra = self.sock.recv(64)
        if extra:
            raise Failure("wrong", f"{self.label}: {len(extra)} bytes beyond the end: {extra[:16].hex()}")

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Pace:
    """Keeps a sender to a rate in bytes per second (0: no limit)."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._begin = time.monotonic()

    def wait(self, sent: int) -> None:
        """Sleep until ``sent`` bytes may have been sent."""
        if self._rate and (ahead := self._begin + sent / self._rate - time.monotonic()) > 0:
            time.sleep(ahead)


def upload(session: Session, send: Callable[[memoryview], None]) -> None:
    """Send the session's stream at its rate. What is taken is progress; more of it is due until a pause."""
    ramp, count, pace = session.ramp(), session.count, Pace(session.rate)
    session.gap.start()
    for at in range(0, count, CHUNK):
        pace.wait(at)
        send(ramp.chunk(at, min(CHUNK, count - at)))
        session.gap.progress()
        session.started()


def verify(ramp: Ramp, offset: int, data: bytes | bytearray | memoryview, label: str) -> None:
    """Compare ``data`` with the stream at ``offset``.

    Raises:
        Failure: of kind *wrong*, naming the first byte that differs and what happened to it.
    """
    wrong = ramp.mismatch(offset, data)
    if wrong is not None:
        told = ramp.explain(wrong, memoryview(data)[wrong - offset :])
        raise Failure("wrong", f"{label}: byte {wrong} of the stream is wrong: {told}")


TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
SEND_QUEUE = 2


def set_initial_sequence(sock: socket.socket, iss: int) -> None:
    """Choose the client's ISS (before ``connect``), so that its sequence numbers can be made to wrap.

    Raises:
        PermissionError: CAP_NET_ADMIN is missing.
    """
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, SEND_QUEUE)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("I", iss))
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, -1)


def run(session: Session, body: Callable[[Session], None]) -> Result:
    """Run a workload to its end and return its result; a Failure is one, any other exception is a bug."""
    result = session.result
    try:
        body(session)
    except Failure as failure:
        result.kind, result.why = failure.kind, str(failure)
        result.errors.append(str(failure))
    else:
        result.ok = True
    result.gap_ms = round(session.gap.largest_s * 1000, 3)
    return result


def note_started() -> None:
    """Write the line that tells the parent process that the traffic flows."""
    print("started", file=sys.stderr, flush=True)
