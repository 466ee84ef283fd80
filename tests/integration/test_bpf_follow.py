"""A pair in the kernel: the backup's stack has the primary's numbers, the core decides on the primary, and
what the backup's stack says is the commit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from lab.bench.programs import bpf
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4, SERVICE6
from tests.integration.netns import needs_root

pytestmark = needs_root

PRIMARY, BACKUP = "alpha", "beta"
SERVER = """
import random, socket, sys, threading
def serve(client):
    said = client.makefile("rb")
    for line in said:
        what, size, seed = line.split()
        data = random.Random(int(seed)).randbytes(int(size))
        if what == b"down":
            client.sendall(data)
        elif what == b"up":
            client.sendall(b"good\\n" if said.read(len(data)) == data else b"bad!\\n")
        else:
            client.close()
            return
where = (sys.argv[1], 80)
with socket.create_server(where, family=socket.AF_INET6 if ":" in where[0] else socket.AF_INET) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
ASKS = """
import random, socket, sys
with socket.create_connection((sys.argv[1], 80), 20) as server:
    got = server.makefile("rb")
    print("ready", flush=True)
    for line in sys.stdin:
        what, size, seed = line.split()
        data = random.Random(int(seed)).randbytes(int(size))
        middle = len(data) // 2
        server.sendall(line.encode())
        if what == "down":
            part = got.read(middle)
            print("half", flush=True)
            assert part + got.read(len(data) - middle) == data
        elif what == "up":
            server.sendall(data[:middle])
            print("half", flush=True)
            server.sendall(data[middle:])
            assert got.readline() == b"good\\n"
        else:
            print("half", flush=True)
            assert got.read() == b""
        print("whole", flush=True)
"""
ADVERTISES = """
import socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as out:
    out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
    for _ in range(3):
        told = bytes([136, 0, 0, 0, 0x20, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, sys.argv[1])
        out.sendto(told, (sys.argv[2], 0))
"""
CLIENT6 = "fd77::10"
SIZES = (1, 100, 1448, 5000, 100_000, 3_000_000)


class Stage:
    """Hosts without daemons: both nodes have the address and the server, and the programs."""

    def __init__(self, lab: Lab, address: str, stack: ExitStack) -> None:
        self.lab, self.address, self._stack = lab, address, stack
        prefix = f"{address}/{128 if ':' in address else 32}"
        for node in (PRIMARY, BACKUP):
            self.run(node, "ip", "addr", "add", prefix, "dev", "lo", *(["nodad"] if ":" in address else []))
            self.sysctl(node, "conf.all.arp_announce=2")
            self.sysctl(node, *(f"conf.{name}.rp_filter=0" for name in ("all", "svc0", "peer0")))
            self.start(node, sys.executable, "-c", SERVER, address)
        self.follower = self.start(
            BACKUP, bpf(), "follow", address, "svc0", "peer0", self.mac(PRIMARY, "peer0")
        )
        self.leader = self.start(PRIMARY, bpf(), "lead", address, "svc0", "peer0", self.mac(BACKUP, "peer0"))
        self.leads_to(PRIMARY)
        mac = ("-m", "mac", "--mac-source", self.mac(BACKUP, "svc0"), "-s", address)
        self.tables = "ip6tables" if ":" in address else "iptables"
        self.run(CLIENT, self.tables, "-t", "raw", "-A", "PREROUTING", *mac)

    def run(self, host: str, *words: str) -> str:
        with self.lab.popen(
            host, list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            out, error = process.communicate(timeout=30)
        assert process.returncode == 0, f"{host}: {' '.join(words)}: {error or out}"
        return str(out)

    def sysctl(self, host: str, *settings: str) -> None:
        self.run(host, "sysctl", "-qw", *(f"net.ipv4.{setting}" for setting in settings))

    def start(self, host: str, *words: str) -> subprocess.Popen[str]:
        """Run what says `ready` when it is."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = self.lab.popen(host, list(words), **pipes)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        assert heard(process) == "ready"
        return process

    def mac(self, host: str, interface: str) -> str:
        return self.run(host, "cat", f"/sys/class/net/{interface}/address").strip()

    def leads_to(self, node: str) -> None:
        """The client's next packets for the address go there."""
        self.run(
            CLIENT, "ip", "neigh", "replace", self.address, "lladdr", self.mac(node, "svc0"), "dev", "eth0"
        )

    def said_by_the_backup(self) -> int:
        """How many packets of the service the client has from the backup."""
        lines = self.run(CLIENT, self.tables, "-t", "raw", "-vnxL", "PREROUTING").splitlines()
        return int(lines[-1].split()[0])

    def crash(self) -> None:
        """The primary is gone, the backup has the role."""
        self.run(PRIMARY, "ip", "link", "set", "svc0", "down")
        tell(self.follower, "speak")
        assert heard(self.follower) == "speaks"
        self.leads_to(BACKUP)


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return str(process.stdout.readline().strip())


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


@contextmanager
def staged(address: str) -> Iterator[Stage]:
    lab = Lab(f"test-bpf-follow-{os.getpid()}")
    try:
        with ExitStack() as stack:
            lab.up([], [], bare=True)
            yield Stage(lab, address, stack)
    finally:
        lab.down()


@pytest.fixture(params=[SERVICE4, SERVICE6])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with staged(request.param) as made:
        yield made


def connections(stage: Stage) -> int:
    return len(stage.run(BACKUP, "ss", "-Htn", "state", "established", "sport", "=", ":80").splitlines())


def ask(client: subprocess.Popen[str], size: int, seed: int, what: str = "down") -> None:
    """Half of it has been said then; the client tells of the whole."""
    tell(client, f"{what} {size} {seed}")
    assert heard(client) == "half"


def test_connections_go_on_when_their_primary_is_gone(stage: Stage) -> None:
    """Each has had answers of many sizes, one is in the middle of one, one is idle; then they ask again."""
    clients = [stage.start(CLIENT, sys.executable, "-c", ASKS, stage.address) for _ in range(8)]
    await_condition(lambda: connections(stage) == len(clients), 10, "the backup has the connections")
    for seed, size in enumerate(SIZES):
        for client in clients[1:]:
            ask(client, size, seed)
            assert heard(client) == "whole"
    assert stage.said_by_the_backup() == 0
    for seed, client in enumerate(clients[2:]):
        ask(client, 40_000_000, seed)
    stage.crash()
    for client in clients[2:]:
        assert heard(client) == "whole"
    for seed, size in enumerate(SIZES):
        for client in clients:
            ask(client, size, 100 + seed)
            assert heard(client) == "whole"
    assert stage.said_by_the_backup() > 0


def test_what_only_the_backup_lacks_is_sent_again(stage: Stage) -> None:
    """Its link loses packets that the primary has: nothing is acknowledged before the backup has it, too."""
    lose = ("-t", "raw", "-A", "PREROUTING", "-i", "peer0", "-d", stage.address, "-m", "statistic")
    stage.run(BACKUP, stage.tables, *lose, "--mode", "random", "--probability", "0.01", "-j", "DROP")
    clients = [stage.start(CLIENT, sys.executable, "-c", ASKS, stage.address) for _ in range(4)]
    await_condition(lambda: connections(stage) == len(clients), 10, "the backup has the connections")
    for seed, client in enumerate(clients):
        ask(client, 200_000, seed, "up")
        assert heard(client) == "whole"
        ask(client, 30_000_000, seed, "up")
    stage.crash()
    for seed, client in enumerate(clients):
        assert heard(client) == "whole"
        ask(client, 200_000, seed, "up")
        assert heard(client) == "whole"


def test_a_silent_backup_answers_no_arp() -> None:
    """The client asks who has the address: the primary answers, and the backup does, once it speaks."""
    with staged(SERVICE4) as stage:

        def who() -> str:
            stage.run(CLIENT, "ip", "neigh", "flush", "all")
            client = stage.start(CLIENT, sys.executable, "-c", ASKS, stage.address)
            ask(client, 1000, 1)
            assert heard(client) == "whole"
            shown = stage.run(CLIENT, "ip", "neigh", "show", stage.address).split()
            return shown[shown.index("lladdr") + 1]

        stage.run(CLIENT, "ip", "neigh", "del", stage.address, "dev", "eth0")
        assert {who() for _ in range(8)} == {stage.mac(PRIMARY, "svc0")}
        assert stage.said_by_the_backup() == 0
        stage.crash()
        stage.run(CLIENT, "ip", "neigh", "del", stage.address, "dev", "eth0")
        assert who() == stage.mac(BACKUP, "svc0")


def test_a_silent_backup_advertises_no_neighbour() -> None:
    with staged(SERVICE6) as stage:
        rule = ("-p", "icmpv6", "--icmpv6-type", "neighbour-advertisement", "-m", "mac", "--mac-source")
        counted = (*rule, stage.mac(BACKUP, "svc0"), "-m", "u32", "--u32", "48&0xffffffff=0xfd770000")
        stage.run(CLIENT, "ip6tables", "-t", "raw", "-A", "PREROUTING", *counted)

        def advertised() -> int:
            """How many of three came to the client, and what was sent behind them."""
            before = stage.said_by_the_backup()
            stage.run(BACKUP, sys.executable, "-c", ADVERTISES, stage.address, CLIENT6)
            stage.run(BACKUP, "ping", "-c", "1", "-W", "5", CLIENT6)
            return stage.said_by_the_backup() - before

        assert advertised() == 0
        stage.crash()
        assert advertised() == 3


def test_a_server_that_ends_its_connections(stage: Stage) -> None:
    """An end is told when both servers have come to it."""
    clients = [stage.start(CLIENT, sys.executable, "-c", ASKS, stage.address) for _ in range(4)]
    await_condition(lambda: connections(stage) == len(clients), 10, "the backup has the connections")
    for client in clients:
        ask(client, 0, 0, "end")
        assert heard(client) == "whole"


@pytest.mark.parametrize("lacks", ["tcp_timestamps", "tcp_sack", "tcp_window_scaling"])
def test_a_client_without_an_option(lacks: str) -> None:
    with staged(SERVICE4) as stage:
        stage.sysctl(CLIENT, f"{lacks}=0")
        client = stage.start(CLIENT, sys.executable, "-c", ASKS, stage.address)
        await_condition(lambda: connections(stage) == 1, 10, "the backup has the connection")
        ask(client, 3_000_000, 1)
        assert heard(client) == "whole"
        ask(client, 20_000_000, 2)
        stage.crash()
        assert heard(client) == "whole"
        ask(client, 100_000, 3)
        assert heard(client) == "whole"


def test_a_new_connection_after_the_takeover(stage: Stage) -> None:
    stage.crash()
    client = stage.start(CLIENT, sys.executable, "-c", ASKS, stage.address)
    ask(client, 3_000_000, 1)
    assert heard(client) == "whole"
