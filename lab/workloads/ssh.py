"""Sessions of ssh with sshd, both unmodified: right bytes, or a reset, after which they connect anew."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from lab.keys import SSH_HOST, SSH_USER_KEY, write_private
from lab.workloads.base import CHUNK, CONNECT_BOUND_S, Failure, Pace, Session, upload, verify
from lab.workloads.ramp import Ramp
from lab.workloads.servers.launch import CONTENT_SEED, SSH_FILE, SSH_SIZE
from lab.workloads.tls import or_reset

READY = b"ready\n"
OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "IdentitiesOnly=yes",
    "LogLevel=ERROR", f"ConnectTimeout={int(CONNECT_BOUND_S)}",
)  # fmt: skip
SAID = {
    "refused": ("Connection refused",),
    "wrong": (
        "Corrupted MAC", "Bad packet length", "authentication code incorrect", "padding error",
        "incorrect signature", "invalid format", "HOST IDENTIFICATION HAS CHANGED",
    ),
    "reset": ("Connection reset", "Broken pipe"),
    "closed": ("closed by",),
}  # fmt: skip
"""What ssh says, and what that means."""


class RefusedError(Exception):
    """Nobody serves at this moment."""


class Shell:
    """One ssh that has a command run; its errors become Failures."""

    def __init__(self, session: Session, home: Path, command: str) -> None:
        words = [part for option in OPTIONS for part in ("-o", option)]
        words += [
            "-o",
            f"UserKnownHostsFile={home / 'known'}",
            "-i",
            str(home / "key"),
            "-p",
            str(session.port),
        ]
        self._session = session
        self._process = subprocess.Popen(
            ["ssh", "-F", "none", *words, f"root@{session.address}", command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self.label = f"ssh {self._process.pid}"
        self._in, self._out = _pipe(self._process.stdin), _pipe(self._process.stdout)

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            _pipe(pipe).close()

    def _ended(self, doing: str) -> Failure | RefusedError:
        """It has ended early: why?"""
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace").strip()
        status = self._process.wait()
        kind = next((kind for kind, all_ in SAID.items() if any(one in said for one in all_)), "answer")
        if kind == "refused":
            return RefusedError(said)
        return Failure(kind, f"{self.label}: ended with status {status} while {doing}: {said}")

    def some(self, at_most: int, doing: str, bound_s: float | None = None) -> bytes:
        """Receive between 1 and ``at_most`` bytes."""
        bound_s = bound_s or self._session.bound_s
        if not select.select([self._out], [], [], bound_s)[0]:
            raise Failure("stall", f"{self.label}: nothing for {bound_s} s while {doing}")
        data = os.read(self._out.fileno(), at_most)
        if not data:
            raise self._ended(doing)
        self._session.result.bytes_down += len(data)
        self._session.gap.progress()
        return data

    def exactly(self, count: int, doing: str, bound_s: float | None = None) -> bytes:
        """Receive exactly ``count`` bytes."""
        taken = b""
        while len(taken) < count:
            taken += self.some(count - len(taken), doing, bound_s)
        return taken

    def send(self, data: bytes | memoryview) -> None:
        """Send all of ``data``; ssh takes it as the connection does."""
        view = memoryview(data)
        while view:
            if not select.select([], [self._in], [], self._session.bound_s)[1]:
                raise Failure("stall", f"{self.label}: nothing taken for {self._session.bound_s} s")
            try:
                taken = os.write(self._in.fileno(), view[: select.PIPE_BUF])
            except BrokenPipeError:
                raise self._ended("sending") from None
            view = view[taken:]
            self._session.result.bytes_up += taken

    def close_input(self) -> None:
        """No more is sent."""
        self._in.close()

    def end(self) -> None:
        """No more is sent; ssh must end well, and say nothing more."""
        self.close_input()
        if not select.select([self._out], [], [], self._session.bound_s)[0]:
            raise Failure("stall", f"{self.label}: no end for {self._session.bound_s} s")
        if extra := os.read(self._out.fileno(), 64):
            raise Failure("wrong", f"{self.label}: {len(extra)} bytes beyond the end: {extra[:16].hex()}")
        try:
            status = self._process.wait(self._session.bound_s)
        except subprocess.TimeoutExpired:
            raise Failure("stall", f"{self.label}: its output has ended, itself not") from None
        if status:
            failure = self._ended("ending")
            raise failure if isinstance(failure, Failure) else Failure("answer", str(failure))


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


@contextlib.contextmanager
def _files(session: Session) -> Iterator[Path]:
    """What ssh reads: the user's key, and the server's."""
    with tempfile.TemporaryDirectory(prefix="fttcp-ssh-") as name:
        home = Path(name)
        write_private(home / "key", SSH_USER_KEY)
        host = session.address if session.port == 22 else f"[{session.address}]:{session.port}"
        (home / "known").write_text(f"{host} {SSH_HOST}\n")
        yield home


def _session(session: Session, command: str, talk: Callable[[Shell], None]) -> None:
    """Have a command run; once more when the connection is reset, which may be if another node takes over."""
    with _files(session) as home:

        def connected() -> None:
            deadline = time.monotonic() + max(session.bound_s, CONNECT_BOUND_S)
            while True:
                with Shell(session, home, f"echo ready; exec {command}") as shell:
                    try:
                        ready = shell.exactly(len(READY), "shaking hands", CONNECT_BOUND_S)
                    except RefusedError as error:
                        session.result.refused += 1
                        if time.monotonic() > deadline:
                            raise Failure("refused", str(error)) from None
                        time.sleep(0.02)
                        continue
                    if ready != READY:
                        raise Failure("wrong", f"{shell.label}: it says {ready!r}")
                    session.result.handshakes += 1
                    return talk(shell)

        or_reset(session, connected)


def down(session: Session) -> None:
    """`cat` of a file, read at the client's pace."""
    ramp = Ramp(CONTENT_SEED)

    def talk(shell: Shell) -> None:
        pace, at = Pace(SSH_SIZE / session.duration_s), 0
        session.gap.start()
        while at < SSH_SIZE:
            pace.wait(at)
            data = shell.some(min(CHUNK, SSH_SIZE - at), f"receiving byte {at}")
            verify(ramp, at, data, shell.label)
            at += len(data)
            session.started()
        session.gap.pause()
        shell.end()

    _session(session, f"cat {SSH_FILE}", talk)


def up(session: Session) -> None:
    """A stream to a command's standard input, which tells its hash."""
    count = session.count
    told = hashlib.sha256(session.ramp().span(0, count)).hexdigest().encode() + b"  -\n"

    def talk(shell: Shell) -> None:
        upload(session, shell.send)
        shell.close_input()
        said = shell.exactly(len(told), "waiting for the hash")
        session.gap.pause()
        if said != told:
            raise Failure(
                "wrong", f"{shell.label}: the server's hash of {count} bytes is {said!r}, not {told!r}"
            )
        shell.end()

    _session(session, "sha256sum", talk)


def echo(session: Session) -> None:
    """An interactive user: a line every 20 ms or so, each must come back before the next is typed."""
    ramp, passed = session.ramp(), session.until_end()

    def talk(shell: Shell) -> None:
        offset = 0
        for _ in passed:
            length = session.random.choice((1, 5, 64, 200, 1400))
            with session.gap.request():
                shell.send(ramp.chunk(offset, length))
                verify(
                    ramp, offset, shell.exactly(length, f"waiting for the echo of byte {offset}"), shell.label
                )
            offset += length
            session.result.requests += 1
            session.started()
            time.sleep(session.random.uniform(0, 0.04))
        shell.end()

    _session(session, "cat", talk)
