"""The floor of a plane in the kernel: packets pass, are mirrored, the other node is silent, nothing stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.bench.programs import bpf
from lab.hosts import await_condition
from tests.integration.netns import Namespace, Net, needs_root, net

pytestmark = needs_root
__all__ = ["net"]

SERVICE, CLIENT = "10.77.0.104", "10.77.0.10"
SERVER = f"""
import socket
with socket.create_server(("{SERVICE}", 80)) as listener:
    print("ready", flush=True)
    while True:
        with listener.accept()[0] as served:
            while told := served.recv(4096):
                served.sendall(told)
"""
ECHOES = f"""
import socket
with socket.create_connection(("{SERVICE}", 80), 10) as server:
    for number in range(100):
        server.sendall(b"%064d" % number)
        got = b""
        while len(got) < 64:
            part = server.recv(64)
            assert part, "the connection was closed"
            got += part
        assert got == b"%064d" % number
"""


@contextmanager
def running(namespace: Namespace, *command: str) -> Iterator[subprocess.Popen[str]]:
    """What says `ready` when it is."""
    process = subprocess.Popen(namespace.command(*command), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def tcp(namespace: Namespace, what: str) -> int:
    names, values = (
        line.split() for line in namespace.run("cat", "/proc/net/snmp").splitlines() if "Tcp:" in line
    )
    return int(dict(zip(names, values, strict=True))[what])


def sent(pair: Net) -> int:
    """How many packets of the service have come to the node from its peer."""
    return int(pair.node.run("iptables", "-t", "raw", "-vnxL", "PREROUTING").splitlines()[-1].split()[0])


def answers(namespace: Namespace, what: Callable[[], int], before: int) -> None:
    await_condition(lambda: what() > before, 10, "the other node to have had its copy")


@pytest.fixture
def pair(net: Net) -> Net:
    """The node has the address, and so has its peer, whose answers would go out of the peer link."""
    net.node.run("ip", "addr", "add", f"{SERVICE}/32", "dev", "svc0")
    net.peer.run("ip", "route", "add", "default", "via", "10.78.0.1")
    net.peer.run("ip", "neigh", "replace", "10.78.0.1", "lladdr", net.node.mac("peer0"), "dev", "peer0")
    net.peer.run("ip", "addr", "add", f"{SERVICE}/32", "dev", "lo")
    net.node.run("iptables", "-t", "raw", "-A", "PREROUTING", "-i", "peer0", "-s", SERVICE)
    return net


def test_the_client_is_served_and_the_peer_is_given_all_and_says_nothing(pair: Net) -> None:
    with (
        running(pair.peer, bpf(), "silence", SERVICE, "peer0"),
        running(pair.node, bpf(), "forward", SERVICE, "svc0", "peer0", pair.peer.mac("peer0")),
        running(pair.node, sys.executable, "-c", SERVER),
    ):
        heard, said, left = tcp(pair.peer, "InSegs"), tcp(pair.peer, "OutRsts"), sent(pair)
        pair.client.run(sys.executable, "-c", ECHOES)
        answers(pair.peer, lambda: tcp(pair.peer, "InSegs"), heard + 100)
        assert tcp(pair.peer, "OutRsts") > said + 100  # it has no such connection
        assert sent(pair) == left


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_nothing_is_left_of_it(pair: Net, how: str) -> None:
    forward = (bpf(), "forward", SERVICE, "svc0", "peer0", pair.peer.mac("peer0"))
    with running(pair.peer, bpf(), "silence", SERVICE, "peer0") as silence:
        with running(pair.node, *forward) as mirror, running(pair.node, sys.executable, "-c", SERVER):
            heard, left = tcp(pair.peer, "InSegs"), sent(pair)
            getattr(mirror, how)()
            mirror.wait()
            pair.client.run(sys.executable, "-c", ECHOES)
            assert tcp(pair.peer, "InSegs") == heard
        getattr(silence, how)()
        silence.wait()
        assert sent(pair) == left
    with running(pair.node, *forward), running(pair.node, sys.executable, "-c", SERVER):
        pair.client.run(sys.executable, "-c", ECHOES, check=False)  # now the peer contradicts
        answers(pair.peer, lambda: sent(pair), left)


def test_what_is_wrong_is_told(pair: Net) -> None:
    for words, told in (
        (("silence", SERVICE, "nowhere"), "nowhere: No such device"),
        (("silence", "10.77", "peer0"), "10.77: Invalid argument"),
        (("forward", SERVICE, "svc0", "peer0", "02"), "02: Invalid argument"),
        (("forward",), "usage:"),
    ):
        done = subprocess.run(pair.node.command(bpf(), *words), capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2) and told in done.stderr, words
