"""A group with addresses of both versions of IP, and a server that listens on one of them only."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator

import pytest

from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4, SERVICE6
from tests.integration.netns import needs_root
from tests.integration.pair import Pair

pytestmark = needs_root

PORT, HTTP = 7400, 9777
SERVER = """
import selectors, socket, sys
port = int(sys.argv[1])
looked_at = selectors.DefaultSelector()
def listener(family, at, port, does):
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((at, port))
    made.listen()
    looked_at.register(made, selectors.EVENT_READ, does)
    return made
def greet(connection):
    try:
        connection.sendall(b"hello")
    except ConnectionError:
        pass  # a client that left
def listen_on_six(connection):
    global six
    if connection.recv(1) == b"6":
        six = listener(socket.AF_INET6, "::", port, greet)
    else:
        looked_at.unregister(six)
        six.close()
    connection.sendall(b"done")
listener(socket.AF_INET, "0.0.0.0", port, greet)
listener(socket.AF_INET, "127.0.0.1", port + 1, listen_on_six)
while True:
    for key, _ in looked_at.select():
        if key.fileobj.fileno() < 0:
            continue
        with key.fileobj.accept()[0] as connection:
            key.data(connection)
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    lab = Lab(f"test-unheard-{os.getpid()}")
    command = shlex.join([sys.executable, "-c", SERVER, str(PORT)])
    try:
        lab.up([f"{PORT}/tcp={command}"], [f"http.port={HTTP}"])
        yield Pair(lab)
    finally:
        lab.down()


def listen_on_six(lab: Lab, node: str, wanted: bool) -> None:
    """Tell the server, which says when it does."""
    words = ["import socket, sys; told = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"]
    words.append("told.sendall(sys.argv[2].encode()); assert told.recv(9) == b'done'")
    command = [sys.executable, "-c", "; ".join(words), str(PORT + 1), "6" if wanted else "4"]
    lab.host(node).run(command)


def ready(lab: Lab, node: str) -> bool:
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{HTTP}/health/ready"]
    return lab.exec(node, words).stdout == "200"


def served(lab: Lab, address: str) -> bool:
    words = "import socket, sys; said = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
    words += "; assert said.recv(9) == b'hello'"  # one that left earlier would be no fault of the server's
    return lab.exec(CLIENT, [sys.executable, "-c", words, address, str(PORT)]).returncode == 0


def test_a_version_of_ip_that_nobody_listens_on_is_told(pair: Pair) -> None:
    """From the start, until it is listened on; and again when that ends while the server runs."""
    lab = pair.lab
    for _ in range(2):
        for node in lab.nodes():
            await_condition(lambda node=node: "not-listening" in pair.reasons(node), 30, "it is told")  # type: ignore[misc]
            assert f"{SERVICE6} port {PORT}/tcp, only on 0.0.0.0" in pair.reasons(node)["not-listening"]
            assert "NOT READY    clients are refused where nobody listens" in pair.shown(node)
            assert not ready(lab, node)
        assert served(lab, SERVICE4) and not served(lab, SERVICE6)
        for node in lab.nodes():
            listen_on_six(lab, node, True)
        for node in lab.nodes():
            await_condition(lambda node=node: not pair.reasons(node), 30, "its end is told")  # type: ignore[misc]
        await_condition(lambda: all(ready(lab, node) for node in lab.nodes()), 30, "both to be ready")
        assert served(lab, SERVICE4) and served(lab, SERVICE6)
        for node in lab.nodes():
            listen_on_six(lab, node, False)
