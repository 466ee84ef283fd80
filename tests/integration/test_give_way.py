"""Both nodes stand still at once. Each client is served on, byte for byte, or is reset: never silence."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from tests.integration.netns import needs_root
from tests.integration.pair import who_serves
from tests.integration.test_partitions import add_rules

pytestmark = needs_root

TICKS, BULK = 7011, 7012
ADDRESSES = ("10.77.0.100", "fd77::100")
NODES = ("alpha", "beta")
SILENCE_S = 25.0
"""A client is reset within this time: its questions (reset.h) and the election come before."""
SERVER = """
    import socket, threading, time
    def ticks(c):
        n = 0
        while True:
            c.sendall(b"%07d\\n" % n); n += 1; time.sleep(0.05)
    def bulk(c):
        block = b"".join(b"%07d\\n" % n for n in range(8192))
        while True:
            c.sendall(block)
    def accept(s, serve):
        while True:
            threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
    for port, serve in (({ticks}, ticks), ({bulk}, bulk)):
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("::", port)); s.listen(99)
        threading.Thread(target=accept, args=(s, serve), daemon=True).start()
    threading.Event().wait()
"""
LISTENER = """
    import json, socket, sys
    address, port = sys.argv[1], int(sys.argv[2])
    period = 8192 if port == {bulk} else 10**7
    s = socket.create_connection((address, port))
    got, rest, line, end = 0, b"", 0, ""
    def tell():
        print(json.dumps(dict(got=got, end=end)), flush=True)
    tell()
    while not end:
        try:
            data = s.recv(1 << 20)
        except ConnectionResetError:
            end = "reset"
        else:
            end = "" if data else "end of stream"
            got += len(data)
            *lines, rest = (rest + data).split(b"\\n")
            for each in lines:
                if each != b"%07d" % line:
                    end = f"wrong: {{each}} in place of {{line}}"
                line = (line + 1) % period
        tell()
"""


class Listener:
    """A client that has connected, and from then on only listens."""

    def __init__(self, lab: Lab, address: str, port: int, folder: Path) -> None:
        self.name = f"{address} {port}"
        self._told = folder / f"{address}-{port}"
        code = textwrap.dedent(LISTENER.format(bulk=BULK))
        with self._told.open("w") as out:
            self.process = lab.popen(CLIENT, [sys.executable, "-c", code, address, str(port)], stdout=out)

    def told(self) -> dict[str, object]:
        """How many bytes it has got, and how the connection ended ("": it has not)."""
        lines = self._told.read_text().split("\n")
        return dict(json.loads(lines[-2])) if len(lines) > 1 else {"got": 0, "end": ""}

    def got(self) -> int:
        return int(str(self.told()["got"]))

    def spoken_to(self, after: int) -> bool:
        """True if it got a thousand bytes more, or its connection ended."""
        return bool(self.told()["end"]) or self.got() > after + 1000


@contextmanager
def listening(lab: Lab, folder: Path) -> Iterator[list[Listener]]:
    """Clients of both families, in a download and in a session in which now and then something is said."""
    with ExitStack() as stack:
        clients = [Listener(lab, address, port, folder) for address in ADDRESSES for port in (TICKS, BULK)]
        for client in clients:
            stack.callback(client.process.wait)
            stack.callback(client.process.kill)
        for client in clients:
            await_condition(lambda client=client: client.got() > 100, 15, f"{client.name} is served")
        lab.wait("synced")
        yield clients


def stand_still(lab: Lab, seconds: float, meanwhile: Callable[[str], None] = lambda node: None) -> None:
    """Stop every process of both hosts, and let them go on at once; `meanwhile` is done to each node."""
    for node in NODES:
        lab.exec(node, ["kill", "-STOP", "-1"])
    for node in NODES:
        meanwhile(node)
    time.sleep(seconds)
    for thawing in [lab.popen(node, ["kill", "-CONT", "-1"]) for node in NODES]:
        thawing.wait(15)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    script = tmp_path_factory.mktemp("ticking") / "server.py"
    script.write_text(textwrap.dedent(SERVER.format(ticks=TICKS, bulk=BULK)))
    lab = Lab(f"test-give-way-{os.getpid()}")
    try:
        lab.up((f"{TICKS}/tcp,{BULK}/tcp={sys.executable} {script}",))
        yield lab
    finally:
        lab.down()


@pytest.fixture
def lab(made: Lab) -> Lab:
    """In step, with a client whose link is slow enough to be full."""
    experiment.mend(made)
    make_fault(made, "rate", "client", 50)
    return made


def await_word(lab: Lab, clients: list[Listener], before: list[int]) -> set[str]:
    """Wait until every client has heard something; return how their connections ended ("": they go on)."""
    await_condition(lambda: len(who_serves(lab)) == 1, 30, "one node serves")
    for client, got in zip(clients, before, strict=True):
        await_condition(
            lambda client=client, got=got: client.spoken_to(got), SILENCE_S, f"{client.name} hears something"
        )
    return {str(client.told()["end"]) for client in clients}


def test_both_stand_still(lab: Lab, tmp_path: Path) -> None:
    """For longer than a node that starts waits for others. They hear each other when they go on."""
    with listening(lab, tmp_path) as clients:
        stand_still(lab, 1.5)
        assert await_word(lab, clients, [client.got() for client in clients]) <= {"", "reset"}


def test_both_give_way(lab: Lab, tmp_path: Path) -> None:
    """They stand still, and do not hear each other then: neither knows whether the other one has served."""

    def deafen(node: str) -> None:
        add_rules(lab.host(node), "deaf", ["input"], "udp dport 7710 drop")

    with listening(lab, tmp_path) as clients:
        try:
            stand_still(lab, 0.5, deafen)
            assert await_word(lab, clients, [client.got() for client in clients]) <= {"", "reset"}
        finally:
            for node in NODES:
                lab.host(node).run(["nft", "delete table inet deaf"])
