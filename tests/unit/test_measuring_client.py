"""The measuring client against its own server, and against servers that break their word."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import await_condition
from lab.study.program import program
from tests.health import free_port


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([program(), "--listen", "127.0.0.1", str(port)])

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        await_condition(answers, 10, "the server listens")
        yield port
    finally:
        process.kill()
        process.wait()


def measure(port: int, *options: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [program(), *options, "127.0.0.1", str(port)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("mode", "received", "sent"),
    [("echo", 400_000, 400_000), ("down", 400_000, 0), ("up", 6, 400_000), ("both", 400_000, 400_000)],
)
def test_every_byte_is_verified_and_counted(server: int, mode: str, received: int, sent: int) -> None:
    options = ("--mode", mode, "--seconds", "0", "--bytes", "400000", "--size", "1000", "--connections", "3")
    status, said = measure(server, *options)
    start, end = said[0], said[-1]
    assert status == 0 and end["ok"]
    assert (start["mode"], start["connections"]) == (mode, 3)
    assert (end["received"], end["sent"], end["lost"]) == (3 * received, 3 * sent, 0)
    assert end["answers"] == (1200 if mode == "echo" else 0)
    buckets = [line for line in said if line["type"] == "bucket"]
    assert sum(line["received"] for line in buckets) == end["received"]
    assert sum(line["sent"] for line in buckets) == end["sent"]


def test_each_message_may_have_a_connection_of_its_own(server: int) -> None:
    status, said = measure(
        server, "--mode", "connect", "--seconds", "0", "--bytes", "640", "--connections", "4"
    )
    assert status == 0 and said[-1]["answers"] == 40
    assert said[-1]["wait_us"]["p50"] > 0


def test_it_ends_when_its_time_is_over(server: int) -> None:
    for mode in ("echo", "connect", "down", "up", "both"):
        status, said = measure(server, "--mode", mode, "--seconds", "0.2", "--rate", "1000000")
        assert status == 0, said[-3:]
        assert said[-1]["us"] >= 200_000


@contextmanager
def behaving(act: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                act(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def all_of(connection: socket.socket, size: int) -> bytearray:
    found = bytearray()
    while len(found) < size:
        found += connection.recv(size - len(found))
    return found


def turn_a_byte(connection: socket.socket) -> None:
    connection.sendall(all_of(connection, 64))
    wrong = all_of(connection, 64)
    wrong[9] ^= 1
    connection.sendall(wrong)
    connection.recv(1)


def reset(connection: socket.socket) -> None:
    connection.sendall(all_of(connection, 64))
    all_of(connection, 64)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def end_early(connection: socket.socket) -> None:
    connection.sendall(all_of(connection, 64)[:10])


def say_nothing(connection: socket.socket) -> None:
    all_of(connection, 64)
    connection.recv(1)


@pytest.mark.parametrize(
    ("act", "kind", "at"),
    [
        (turn_a_byte, "wrong", 73),
        (reset, "reset", 64),
        (end_early, "closed", 10),
        (say_nothing, "silence", 0),
    ],
)
def test_a_broken_word_is_told_with_its_place(
    act: Callable[[socket.socket], None], kind: str, at: int
) -> None:
    with behaving(act) as port:
        status, said = measure(port, "--plain", "--patience", "0.3")
    (lost,) = [line for line in said if line["type"] == "lost"]
    assert status == 1 and not said[-1]["ok"]
    assert (lost["kind"], lost["at"], lost["connection"]) == (kind, at, 0)


@pytest.mark.parametrize(("least_ms", "told"), [("100", 1), ("10000", 0)])
def test_a_silence_is_measured_and_told_if_it_is_long(least_ms: str, told: int) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def pause(connection: socket.socket) -> None:
        message = all_of(connection, 64)
        asked.set()
        go_on.wait(10)
        connection.sendall(message)
        connection.recv(1)

    with behaving(pause) as port:
        timer = threading.Timer(0.25, go_on.set)
        threading.Thread(target=lambda: (asked.wait(10), timer.start())).start()
        _, said = measure(port, "--plain", "--seconds", "0", "--bytes", "64", "--gap", least_ms)
    gaps = [line for line in said if line["type"] == "gap"]
    assert len(gaps) == said[-1]["gaps"] == told
    assert said[-1]["longest_gap_us"] >= 240_000
    for gap in gaps:
        assert gap["us"] == said[-1]["longest_gap_us"]
        assert abs(gap["from_us"] + gap["us"] - gap["time_us"]) <= 2


def test_the_silence_of_a_new_connection_begins_with_its_syn() -> None:
    """The listener's queue is full at first: its kernel drops the first SYN, and the next comes after 1 s."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        full = socket.create_connection(("127.0.0.1", port))
        options = ["--plain", "--mode", "connect", "--seconds", "0", "--bytes", "64"]
        with subprocess.Popen(
            [program(), *options, "127.0.0.1", str(port)], stdout=subprocess.PIPE
        ) as client:
            listener.settimeout(10)
            await_condition(lambda: connecting(port), 10, "a SYN is on its way")
            listener.accept()[0].close()
            connection, _ = listener.accept()
            connection.sendall(all_of(connection, 64))
            out, _ = client.communicate(timeout=20)
        connection.close()
        full.close()
    end = json.loads(out.splitlines()[-1])
    assert end["ok"] and end["answers"] == 1
    assert end["longest_gap_us"] >= 900_000


def connecting(port: int) -> bool:
    """Whether somebody waits for an answer to a SYN for that port (state 2 of the kernel's table)."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(one[2].endswith(f":{port:04X}") and one[3] == "02" for one in sockets)


@pytest.mark.parametrize("mode", ["down", "both"])
def test_a_silence_in_which_the_time_runs_out_is_not_cut_short(mode: str) -> None:
    stay = threading.Event()
    with behaving(lambda _: stay.wait(30) and None) as port:
        status, said = measure(port, "--mode", mode, "--seconds", "0.1", "--patience", "0.4")
        stay.set()
    (lost,) = [line for line in said if line["type"] == "lost"]
    assert status == 1 and lost["kind"] == "silence"
    assert said[-1]["longest_gap_us"] >= 400_000


def test_a_server_that_does_not_end_is_not_waited_for_without_an_end() -> None:
    stay = threading.Event()

    def hold(connection: socket.socket) -> None:
        connection.sendall(all_of(connection, 64))
        stay.wait(30)

    with behaving(hold) as port:
        options = ("--plain", "--seconds", "0", "--bytes", "64", "--patience", "0.3")
        status, said = measure(port, *options)
        stay.set()
    (lost,) = [line for line in said if line["type"] == "lost"]
    assert status == 1 and "did not end" in lost["why"]


def test_nobody_is_there() -> None:
    status, said = measure(free_port())
    assert status == 1 and said[1]["kind"] == "refused"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--mode", "sideways"], "--mode is one of"), (["--connections", "0"], "allowed are 1 to"),
        (["--plain", "--mode", "down"], "--plain"), (["--seconds", "0"], "never end"),
        (["--nonsense"], "nonsense"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options: list[str], told: str) -> None:
    done = subprocess.run([program(), *options, "127.0.0.1", "9"], capture_output=True, text=True)
    assert done.returncode == 2 and told in done.stderr
    done = subprocess.run([program(), "localhost", "9"], capture_output=True, text=True)
    assert done.returncode == 2 and "not an IP address" in done.stderr
