"""redis in two copies, joined by a log of calls: what follows from chance, time and order is equal."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fttcp.server import calls
from lab.hosts import await_condition
from tests.calls.copies import Copies
from tests.calls.relay import Relay
from tests.unit.test_calls import CHANCE, EVENTS, READ, TIME
from tests.unit.test_lockstep import free_port


class Client:
    """Speaks to redis by way of the relay."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 20)
        self._file = self._socket.makefile("rb")

    def ask(self, *words: object) -> object:
        """One command, and its answer."""
        self.say(*words)
        return self.hear()

    def say(self, *words: object) -> None:
        parts = [str(word).encode() for word in words]
        text = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), text))

    def hear(self) -> object:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return [self.hear() for _ in range(int(rest))] if int(rest) >= 0 else None
        if kind == b"$":
            return self._file.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
        if kind == b":":
            return int(rest)
        assert kind == b"+", line
        return rest

    def end(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def two_of_redis(folder: Path, families: int = calls.ALL) -> Iterator[tuple[Copies, Relay]]:
    """Both, with a relay before them."""
    copies, ports = Copies(folder, families), (free_port(), free_port())
    places = [folder / "a", folder / "b"]
    for place in places:
        place.mkdir()
    words = ["setarch", "-R", "redis-server", "--save", "", "--bind", "127.0.0.1", "--hz", "100", "--port"]
    with copies.running([*words, str(ports[0])], [*words, str(ports[1])], places) as both:
        for output in copies.outputs:
            await_condition(lambda at=output: b"Ready to accept" in at.read_bytes(), 30, "redis")
        with Relay(ports).running() as relay:
            yield copies, relay
        both[0].terminate()
        assert both[0].wait(30) == 0
        if copies.told["state"] == "runs":
            assert both[1].wait(30) == 0, "the follower ends by the leader's signal"


def alike(copies: Copies, relay: Relay) -> bool:
    """Whether all answers are equal, and each call was followed."""
    assert relay.talks and all(talk.answers[0] for talk in relay.talks)
    return copies.told["state"] == "runs" and all(talk.answers[0] == talk.answers[1] for talk in relay.talks)


def chance(one: Client, number: int) -> None:
    """Random members and keys, and the order of a table that has a random seed."""
    one.ask("SADD", f"s{number}", *range(100))
    for _ in range(20):
        one.ask("SPOP", f"s{number}")
        one.ask("SRANDMEMBER", f"s{number}", 3)
        one.ask("SET", f"key{number}:{_}", "x")
        assert one.ask("RANDOMKEY")
    at: object = 0
    while True:
        answer = one.ask("SCAN", at, "COUNT", 7)
        assert isinstance(answer, list)
        at = int(answer[0])
        if not at:
            return


def clocks(one: Client, number: int) -> None:
    """Times that are told, and keys that end by them."""
    for turn in range(20):
        one.ask("SET", f"brief{number}", turn, "PX", 3)
        one.ask("TIME")
        one.ask("PTTL", f"brief{number}")
        one.ask("GET", f"brief{number}")
        one.ask("XADD", f"stream{number}", "*", "turn", turn)
        one.ask("CLIENT", "ID")


def together(port: int, *stories: Callable[[Client, int], None], clients: int = 4) -> None:
    """So many clients at once tell each of these."""
    failed: list[BaseException] = []

    def tell(number: int) -> None:
        one = Client(port)
        try:
            for story in stories:
                story(one, number)
        except BaseException as error:
            failed.append(error)
        finally:
            one.end()

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


@pytest.mark.parametrize(
    ("families", "equal"),
    [(calls.ALL, True), *((calls.ALL & ~one, False) for one in (CHANCE, TIME, EVENTS, READ))],
)
def test_chance_and_time(families: int, equal: bool, tmp_path: Path) -> None:
    """TTL, SCAN, RANDOMKEY, SPOP of clients that speak at once; not equal without one family of calls."""
    with two_of_redis(tmp_path, families) as (copies, relay):
        together(relay.port, chance, clocks)
        if not equal:
            calls.end(copies.log)
    assert alike(copies, relay) is equal, calls.sentence(copies.told)


def test_pub_sub_and_blocking_pops(tmp_path: Path) -> None:
    """Who is first in a queue gets it, and a wait that ends in vain ends at the same call."""
    with two_of_redis(tmp_path) as (copies, relay):
        waiting, other, hearer = (Client(relay.port) for _ in range(3))
        hearer.ask("SUBSCRIBE", "news")
        waiting.say("BLPOP", "queue", 0)
        other.say("BLPOP", "queue", "0.05")
        assert other.hear() is None
        together(
            relay.port,
            lambda one, number: [one.ask("PUBLISH", "news", f"{number}.{i}") for i in range(50)] and None,
        )
        heard = [hearer.hear() for _ in range(4 * 50)]
        assert len({str(one) for one in heard}) == 200
        together(relay.port, lambda one, number: one.ask("RPUSH", "queue", number) and None)
        assert isinstance(waiting.hear(), list)
        for one in (waiting, other, hearer):
            one.end()
    assert alike(copies, relay), calls.sentence(copies.told)


def test_a_benchmark_with_pipelines(tmp_path: Path) -> None:
    """Thousands of requests of 16 connections; each answer of the follower is the leader's."""
    with two_of_redis(tmp_path) as (copies, relay):
        for depth in ("1", "16"):
            words = ["redis-benchmark", "-p", str(relay.port), "-c", "16", "-n", "3000", "-P", depth, "-q"]
            subprocess.run(
                [*words, "-t", "set,get,incr,lpush,lpop,sadd,spop"],
                check=True,
                capture_output=True,
                timeout=120,
            )
    assert alike(copies, relay), calls.sentence(copies.told)
