"""All that one does over SSH goes on when the host of an unmodified OpenSSH fails, to the last byte."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.workloads.registry import ROOT
from tests.integration.in_step import Place, place_of
from tests.integration.lockstep_servers import SERVICE, prepare_ssh, ssh, ssh_options, sshd

FAULTS = ("crash-host", "kill-server", "kill-node", "switchover")
SIZE = 8_000_000
"""More than a channel's window and the buffers on the way hold."""
STEPS = 5
"""What those that talk do at least, before the fault and after it."""
ECHO = 7000
SHORT = SIZE // 2
PACE_KBITS = "5000"
"""Of scp, which copies SHORT bytes: so it is in the middle when all others are."""


ATTEMPTS = 3
"""A copy whose programs get no processor for long may part from the other one (docs/lockstep.md). A session
that has is not protected, or is reset at the takeover: then all begin anew. Wrong bytes are never excused."""


class PartedError(Exception):
    """A session was not protected, or has ended."""


RESET = (b"Connection reset by peer", b"Broken pipe")
"""What OpenSSH says of a connection that was reset; of one with wrong bytes it says other things."""


@dataclass
class Disturbed:
    """A lab, and what happens to it when all sessions are in the middle."""

    lab: Lab
    home: Path
    content: bytes
    struck: threading.Event = field(default_factory=threading.Event)
    ready: list[str] = field(default_factory=list)
    said: dict[int, bytes] = field(default_factory=dict)
    """By the process of a client: its errors."""

    def file(self, name: str = "file") -> Path:
        """What is downloaded, and uploaded."""
        return self.home / name

    @contextlib.contextmanager
    def client(self, argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """A client with pipes, which gives up some day."""
        words = ["timeout", "60", *argv]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.lab.popen("client", words, **pipes) as client:
            try:
                yield client
            except BaseException:
                client.terminate()
                raise
            assert client.stderr is not None
            self.said[client.pid] = client.stderr.read()

    def ended(self, client: subprocess.Popen[bytes], status: int = 0) -> None:
        """The client has ended well."""
        if client.returncode != status:
            said = self.said[client.pid]
            assert any(word in said for word in RESET), (client.args, client.returncode, said)
            raise PartedError(f"{client.args}: {client.returncode}, {said!r}")

    def in_the_middle(self, name: str) -> None:
        """This session is; returns when the fault has happened."""
        self.ready.append(name)
        assert self.struck.wait(60), "no fault"

    def talk(self, name: str, step: Callable[[int], None]) -> None:
        """Go on talking before, during and after the fault."""
        for number in range(STEPS):
            step(number)
        self.ready.append(name)
        number, last = STEPS, 0
        while not last or number < last:
            step(number)
            number += 1
            if not last and self.struck.is_set():
                last = number + STEPS


def download(at: Disturbed, name: str, *options: str) -> None:
    """The client stops reading in the middle."""
    words = ssh(at.home, f"cat {at.file()}")
    with at.client([words[0], *options, *words[1:]]) as client:
        assert client.stdout is not None
        got = client.stdout.read(SIZE // 4)
        at.in_the_middle(name)
        got += client.stdout.read()
    at.ended(client)
    assert got == at.content


def upload(at: Disturbed) -> None:
    """The client stops sending in the middle, and is told what has arrived."""
    with at.client(ssh(at.home, "sha256sum")) as client:
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write(at.content[: SIZE // 2])
        client.stdin.flush()
        at.in_the_middle("upload")
        client.stdin.write(at.content[SIZE // 2 :])
        client.stdin.close()
        told = client.stdout.read()
    at.ended(client)
    assert told.split()[0].decode() == hashlib.sha256(at.content).hexdigest()


def rekey(at: Disturbed) -> None:
    """By the client, all the time."""
    download(at, "rekey", "-o", "RekeyLimit=512K")


def shell(at: Disturbed) -> None:
    """With a terminal."""
    with at.client(ssh(at.home, "-tt", "stty -echo; PS1= exec sh -i")) as client:
        assert client.stdin is not None and client.stdout is not None

        def say(line: str) -> None:
            client.stdin.write(line.encode() + b"\n")  # type: ignore[union-attr]
            client.stdin.flush()  # type: ignore[union-attr]

        def ask(number: int) -> None:
            say(f"echo $(({number} * 7919)); echo {number}.")
            for wanted in (number * 7919, f"{number}."):
                line = client.stdout.readline()  # type: ignore[union-attr]
                if not line:
                    raise PartedError("the shell has ended")
                assert line == f"{wanted}\r\n".encode()

        say("echo be''gin")
        while not (line := client.stdout.readline()).endswith(b"begin\r\n"):
            assert line, "an end"
        at.talk("shell", ask)
        say("exit 7")
        assert client.stdout.read() == b""
    at.ended(client, 7)


def forward(at: Disturbed) -> None:
    """A port of the server's host, through a socket here."""
    near = at.home / f"near{random.getrandbits(32)}"
    with at.client(ssh(at.home, "-N", "-L", f"{near}:127.0.0.1:{ECHO}")) as client:
        await_condition(near.exists, 30, "the forwarded port")
        with socket.socket(socket.AF_UNIX) as through:
            through.settimeout(30)
            through.connect(str(near))

            def ask(number: int) -> None:
                said = at.content[number * 1000 : number * 1000 + 10 * (number % 100) + 1]
                through.sendall(said)
                assert receive(through, len(said)) == said

            at.talk("forward", ask)
        client.terminate()


def receive(of: socket.socket, size: int) -> bytes:
    """So many bytes."""
    got = b""
    while len(got) < size:
        more = of.recv(size - len(got))
        if not more:
            raise PartedError("the forwarded port has ended")
        got += more
    return got


def copy_there(at: Disturbed) -> None:
    """By scp; each node has a /srv of its own."""
    there = f"/srv/there{random.getrandbits(32)}"
    words = ["scp", "-l", PACE_KBITS, *ssh_options(at.home), str(at.file("short")), f"root@{SERVICE}:{there}"]
    with at.client(words) as client:
        primary = at.lab.host("primary").home
        file = primary / there.lstrip("/")
        await_condition(lambda: file.exists() and file.stat().st_size > SHORT // 8, 30, "an upload by scp")
        at.in_the_middle("copy there")
    at.ended(client)
    assert (at.lab.host("primary").home / there.lstrip("/")).read_bytes() == at.content[:SHORT]


def copy_here(at: Disturbed) -> None:
    """By scp."""
    here = at.home / f"here{random.getrandbits(32)}"
    words = ["scp", "-l", PACE_KBITS, *ssh_options(at.home), f"root@{SERVICE}:{at.file('short')}", str(here)]
    with at.client(words) as client:
        await_condition(lambda: here.exists() and here.stat().st_size > SHORT // 8, 30, "a download by scp")
        at.in_the_middle("copy here")
    at.ended(client)
    assert here.read_bytes() == at.content[:SHORT]
    here.unlink()


SESSIONS: tuple[Callable[[Disturbed], None], ...] = (
    lambda at: download(at, "download"), rekey, upload, shell, forward, copy_there, copy_here,
)  # fmt: skip


def prepare(home: Path) -> None:
    """Keys, the configuration, and what is copied."""
    prepare_ssh(home)
    content = random.Random(7).randbytes(SIZE)
    (home / "file").write_bytes(content)
    (home / "short").write_bytes(content[:SHORT])


def specs(home: Path) -> list[str]:
    """What the lab serves."""
    return [sshd(home, f"{sys.executable} {ROOT}/tests/integration/echo_server.py {ECHO} &&")]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Made once."""
    yield from place_of("ssh", prepare, specs)


def _who(place: Place, connections: list[dict[str, Any]]) -> str:
    """What people look at then: each connection's state, and whose it is."""
    clients = place.lab.exec("client", ["sh", "-c", "ss -tnp; ps -eo pid,args"]).stdout
    return "\n".join(str(one) for one in connections) + "\n" + clients


@pytest.mark.parametrize("fault", FAULTS)
def test_sessions_go_on(place: Place, fault: str) -> None:
    """Each has a connection of its own; one fault for all of them. All are protected then, and go on."""
    parted: list[BaseException] = []
    for _ in range(ATTEMPTS):
        try:
            with in_the_middle(place.mended()) as running:
                make_fault(place.lab, fault)
        except (PartedError, ConnectionError) as error:
            parted.append(error)
            continue
        lost = [error for session in running if (error := session.exception())]
        if not lost:
            return
        if not all(isinstance(error, PartedError | ConnectionError) for error in lost):
            raise BaseExceptionGroup("wrong after the fault", lost)
        parted += lost
    raise BaseExceptionGroup("sessions parted each time", parted)


@contextlib.contextmanager
def in_the_middle(place: Place) -> Iterator[list[Future[None]]]:
    """All sessions are, and protected; they go on when the fault has happened, and are over at the end.

    Raises PartedError or ConnectionError before the fault.
    """
    at = Disturbed(place.lab, place.home, (place.home / "file").read_bytes())

    def all_ready(running: list[Future[None]]) -> bool:
        for one in running:
            if one.done():
                one.result()
                raise PartedError("a session ended before the fault")
        return len(at.ready) == len(SESSIONS)

    with ThreadPoolExecutor(len(SESSIONS)) as pool:
        running = [pool.submit(session, at) for session in SESSIONS]
        try:
            await_condition(lambda: all_ready(running), 60, "all sessions in the middle")
            primary = place.lab.node_in_role("primary")
            if place.told(primary)["flows"]["protected"] != len(SESSIONS):
                raise PartedError(_who(place, place.connections(primary)))
            yield running
        finally:
            at.struck.set()
