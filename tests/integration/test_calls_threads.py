"""Servers with threads in two copies, joined by a log of calls: what follows from who came first is equal."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fttcp.server import calls
from lab.hosts import await_condition
from tests.calls.copies import HERE, Copies
from tests.calls.relay import Relay, Talk
from tests.unit.test_calls import LOCKS
from tests.unit.test_lockstep import free_port


def listens(port: int) -> bool:
    """Whether somebody does, without asking him."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def has_followed(copies: Copies, talk: Talk) -> bool:
    return len(talk.answers[1]) >= len(talk.answers[0]) or copies.told["state"] != "runs"


@contextmanager
def two_of(
    command: Callable[[int], Sequence[str]], folder: Path, families: int = calls.ALL
) -> Iterator[tuple[Copies, Relay]]:
    """Both, with a relay before them."""
    copies, ports = Copies(folder, families, patience_ms=20_000), (free_port(), free_port())
    with copies.running(*(["setarch", "-R", *command(port)] for port in ports)):
        for port in ports:
            await_condition(lambda at=port: listens(at), 30, "a server")
        with Relay(ports).running() as relay:
            yield copies, relay
            for talk in relay.talks:  # the follower has said it, too, or will not
                await_condition(lambda one=talk: has_followed(copies, one), 30, f"a follower: {copies.told}")
            if copies.told["state"] == "runs":
                calls.end(copies.log)  # it waits for a leader that is killed


def alike(relay: Relay) -> bool:
    assert relay.talks and all(talk.answers[0] for talk in relay.talks)
    return all(talk.answers[0] == talk.answers[1] for talk in relay.talks)


def talk_at_once(port: int, clients: int, tell: Callable[[socket.socket, int], None]) -> None:
    """So many clients."""
    failed: list[BaseException] = []

    def one(number: int) -> None:
        try:
            with socket.create_connection(("127.0.0.1", port), 20) as client:
                tell(client, number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


def lines(client: socket.socket, number: int) -> None:
    """Each is said when the one before is answered."""
    with client.makefile("rb") as answers:
        for turn in range(50):
            client.sendall(f"line {turn} of {number}\n".encode())
            assert answers.readline()


def gets_and_cas(client: socket.socket, number: int) -> None:
    """Of words that all clients change."""
    with client.makefile("rb") as answers:
        for turn in range(100):
            key = f"key{turn % 5}"
            client.sendall(f"gets {key}\r\n".encode())
            unique = b"0"
            while (line := answers.readline().split())[0] != b"END":
                if line[0] == b"VALUE":
                    unique = line[4]
            client.sendall(b"cas %s 0 0 3 %s\r\n%03d\r\n" % (key.encode(), unique, number))
            if answers.readline().startswith(b"NOT_FOUND"):
                client.sendall(f"add {key} 0 0 1\r\nx\r\n".encode())
                answers.readline()
            client.sendall(b"incr counter 1\r\n")
            if answers.readline().startswith(b"NOT_FOUND"):
                client.sendall(b"add counter 0 0 1\r\n1\r\n")
                answers.readline()


def memcached(port: int) -> list[str]:
    """Its threads that tidy up look at a time that another one writes, without a lock."""
    tidy = "no_lru_maintainer,no_lru_crawler,no_slab_reassign"
    return ["memcached", *f"-u root -l 127.0.0.1 -U 0 -t 4 -o {tidy} -p {port}".split()]


def python(port: int) -> list[str]:
    return [sys.executable, "-S", str(HERE / "hub.py"), str(port)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[str]]:
    program = tmp_path_factory.mktemp("programs") / "hub"
    words = ["c++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, HERE / "hub.cc"]
    subprocess.run([*words, "-lpthread"], check=True)
    return lambda port: [str(program), str(port)]


both = pytest.mark.parametrize(("families", "equal"), [(calls.ALL, True), (calls.ALL & ~LOCKS, False)])


@both
def test_memcached(families: int, equal: bool, tmp_path: Path) -> None:
    """With four threads: unique numbers of 16 clients."""
    with two_of(memcached, tmp_path, families) as (copies, relay):
        talk_at_once(relay.port, 16, gets_and_cas)
        told = copies.told
    assert (alike(relay) and told["state"] == "runs") is equal, calls.sentence(told)


@both
def test_a_server_of_cpp(families: int, equal: bool, hub: Callable[[int], list[str]], tmp_path: Path) -> None:
    with two_of(hub, tmp_path, families) as (copies, relay):
        talk_at_once(relay.port, 8, lines)
        told = copies.told
    assert (alike(relay) and told["state"] == "runs") is equal, calls.sentence(told)


@both
def test_a_server_of_python(families: int, equal: bool, tmp_path: Path) -> None:
    with two_of(python, tmp_path, families) as (copies, relay):
        talk_at_once(relay.port, 8, lines)
        told = copies.told
    assert (alike(relay) and told["state"] == "runs") is equal, calls.sentence(told)
