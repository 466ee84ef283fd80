"""renew = "history": a new backup's server knows what the one before was told, on ended connections, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES
from lab.workloads.registry import SERVICE
from tests.integration.netns import needs_root
from tests.integration.pair import Pair

pytestmark = needs_root

REDIS, MEMCACHED = 6379, 11211
SERVERS = (
    f"{REDIS}/tcp=redis-server --port {REDIS} --protected-mode no --save '' --bind '*' '-::*'",
    f"{MEMCACHED}/tcp=memcached -u root -p {MEMCACHED}",
)
SETTINGS = ('state="memory"', 'renew="history"')
KEYS = 40
BLOCKS_S = 5
"""So long a client waits for its answer, and whoever is told the history at this place."""
TOLD_S = 90
"""A connection that did not catch up within 10 s is tried again 30 s later: on a busy machine one may not."""
BOUND = 1 << 20
"""The least that ``history_bytes`` may be."""


class Stores:
    """A client of both, which asks one thing after the other."""

    def __init__(self, lab: Lab) -> None:
        program = str(Path(__file__).with_name("store_client.py"))
        self._process = lab.popen(
            CLIENT, [sys.executable, program, SERVICE[4]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, name: str, port: int, request: str) -> str:
        """Ask on that connection, and say what came."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        print(json.dumps([name, port, request]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, self._process.stderr.read()
        return str(json.loads(line))

    def once(self, port: int, request: str) -> str:
        """Ask on a connection of its own."""
        said = self.ask("once", port, request)
        self.ask("once", port, "")
        return said

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    lab = Lab(f"test-history-{os.getpid()}")
    try:
        lab.up(SERVERS, SETTINGS)
        yield Pair(lab)
    finally:
        lab.down()


@pytest.fixture
def stores(pair: Pair) -> Iterator[Stores]:
    client = Stores(pair.lab)
    try:
        yield client
    finally:
        client.end()


def served(lab: Lab) -> dict[str, Any]:
    """What the primary's daemon says of its group."""
    return dict(lab.ask(lab.node_in_role("primary"), {"op": "status"}, 5)["groups"][0])


def living(lab: Lab) -> list[dict[str, Any]]:
    """The connections that the primary has."""
    flows = lab.ask(lab.node_in_role("primary"), {"op": "connections"}, 5)["connections"]
    return [dict(flow) for flow in flows if not flow["closed"]]


def await_told(lab: Lab, meanwhile: Callable[[], bool] = lambda: True) -> None:
    """Until the backup's server knows all, and every connection is held twice."""

    def told() -> bool:
        group = served(lab)
        flows = group["flows"]
        return bool(
            meanwhile()
            and group["history"]["stage"] == "marked"
            and not flows["catching"]
            and not flows["unprotected"]
        )

    await_condition(told, TOLD_S, "the backup's server to be told the history")


def teach(stores: Stores, generation: int) -> None:
    """Have them keep something, each time by a connection that ends, or lasts."""
    for i in range(KEYS):
        key, value = f"k{generation}.{i}", f"{generation}:{i * i}"
        assert stores.once(REDIS, f"SET {key} {value}\r\n") == "+OK\r\n"
        assert stores.once(MEMCACHED, f"set {key} 0 0 {len(value)}\r\n{value}\r\n") == "STORED\r\n"
        assert stores.ask("lasts", REDIS, f"RPUSH all {key}\r\n") == f":{(generation * KEYS) + i + 1}\r\n"
    stores.once(MEMCACHED, "set n 0 0 1\r\n0\r\n" if not generation else "incr n 1\r\n")


def examine(stores: Stores, generations: int) -> None:
    """Ask for all of that on new connections, and on the one that lasts."""
    for generation in range(generations):
        for i in range(0, KEYS, 3):
            key, value = f"k{generation}.{i}", f"{generation}:{i * i}"
            assert stores.once(REDIS, f"GET {key}\r\n") == f"${len(value)}\r\n{value}\r\n"
            wanted = f"VALUE {key} 0 {len(value)}\r\n{value}\r\nEND\r\n"
            assert stores.once(MEMCACHED, f"get {key}\r\n") == wanted
    assert stores.ask("lasts", REDIS, "LLEN all\r\n") == f":{generations * KEYS}\r\n"
    assert stores.once(MEMCACHED, "get n\r\n").splitlines()[1] == str(generations - 1)


def test_stores_in_memory_outlive_failures_of_both_nodes(pair: Pair, stores: Stores) -> None:
    """Each strikes who knows all, or has it hand over: in the end neither server is of the first two."""
    lab = pair.lab
    for generation, fault in enumerate(("crash-host", "switchover", "crash-host")):
        await_told(lab)
        teach(stores, generation)
        examine(stores, generation + 1)
        struck = lab.node_in_role("primary")
        make_fault(lab, fault, struck)
        examine(stores, generation + 1)
        assert lab.node_in_role("primary") != struck
        if fault == "crash-host":
            make_fault(lab, "restart-host", struck)
    await_told(lab)
    examine(stores, 3)


def await_half_told(lab: Lab) -> None:
    """Until the new server has come to the client that waits, and waits as well."""

    def half() -> bool:
        backup = next(node for node in NODES if node != lab.node_in_role("primary"))
        asked = lab.exec(backup, ["redis-cli", "-p", str(REDIS), "EXISTS", "before"])
        return asked.stdout.strip() == "1" and served(lab)["history"]["stage"] in ("sends", "aligns")

    await_condition(half, 30, "the backup's server to be told some of it", 0.05)


def test_either_node_is_lost_in_the_middle(pair: Pair, stores: Stores) -> None:
    """Nobody notices that a backup is lost. One that serves before it was told all resets the clients, and
    its server knows what it was told."""
    lab = pair.lab
    await_told(lab)
    asks = ("SET before 1", f"BLPOP nothing {BLOCKS_S}", "SET behind 1")
    told = [stores.ask("waits", REDIS, f"{words}\r\n") for words in asks]
    assert told == ["+OK\r\n", "*-1\r\n", "+OK\r\n"]
    primary, backup = (lab.node_in_role(role) for role in ("primary", "backup"))
    make_fault(lab, "crash-host", backup)
    for _ in range(2):
        make_fault(lab, "restart-host", backup)
        await_half_told(lab)
        assert stores.ask("waits", REDIS, "INCR meanwhile\r\n").startswith(":")
        assert {flow["protection"] for flow in living(lab)} <= {"unprotected", "catching-up"}
        make_fault(lab, "crash-host", backup)
    assert stores.ask("waits", REDIS, "GET meanwhile\r\n") == "$1\r\n2\r\n"
    make_fault(lab, "restart-host", backup)
    await_half_told(lab)
    make_fault(lab, "crash-host", primary)
    assert stores.ask("waits", REDIS, "PING\r\n").startswith("error: ")
    assert [stores.once(REDIS, f"EXISTS {key}\r\n") for key in ("before", "behind")] == [":1\r\n", ":0\r\n"]
    make_fault(lab, "restart-host", primary)
    await_told(lab)
    assert stores.once(REDIS, "EXISTS before\r\n") == ":1\r\n"


def test_what_clients_say_while_a_server_is_told(pair: Pair) -> None:
    """A new server lacks nothing that was said, and is told nothing twice: also while it catches up."""
    lab = pair.lab
    await_told(lab)
    program = str(Path(__file__).with_name("counting_client.py"))
    counting = lab.popen(
        CLIENT, [sys.executable, program, SERVICE[4], str(REDIS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def count() -> bool:
        """Let each of them count."""
        assert counting.stdin and counting.stdout and counting.stderr
        print(file=counting.stdin, flush=True)
        many, _, wrong = counting.stdout.readline().partition(" ")
        assert many and wrong == "\n", wrong or counting.stderr.read()
        return True

    try:
        for _ in range(2):
            for _ in range(10):
                count()
            struck = lab.node_in_role("primary")
            make_fault(lab, "crash-host", struck)
            for _ in range(10):
                count()
            make_fault(lab, "restart-host", struck)
            await_told(lab, count)
        for _ in range(10):
            count()
    finally:
        counting.kill()
        counting.communicate()


def test_its_bound_is_reached(pair: Pair, stores: Stores) -> None:
    """The pair that there is goes on, through a failure as well. No new backup is told, and that is said."""
    lab = pair.lab
    await_told(lab)
    for node in NODES:
        file = lab.home / node / "node.toml"
        file.write_text(file.read_text() + f"\n[group.limits]\nhistory_bytes = {BOUND}\n")
        assert pair.order(node, "reload")["status"] == 0
    value = "x" * 4096
    sent = f"SET big {value}\r\n"
    for _ in range(3 * BOUND // 4 // len(sent)):
        assert stores.ask("many", REDIS, sent) == "+OK\r\n"
    for node in NODES:
        assert pair.group(node)["history"]["lost"] == "clients have sent more than history_bytes"
    (many,) = living(lab)
    assert (many["protection"], many["unrenewable"]) == ("protected", "logs-too-long")
    struck = lab.node_in_role("primary")
    make_fault(lab, "crash-host", struck)
    assert stores.ask("many", REDIS, "STRLEN big\r\n") == f":{len(value)}\r\n"
    make_fault(lab, "restart-host", struck)
    await_condition(lambda: served(lab)["history"]["stage"] == "failed", 30, "the backup cannot be told")
    assert stores.ask("many", REDIS, "STRLEN big\r\n") == f":{len(value)}\r\n"
    assert stores.once(REDIS, "PING\r\n") == "+PONG\r\n"
    assert stores.ask("later", REDIS, "PING\r\n") == "+PONG\r\n"
    told = {flow["reason"]: flow["unrenewable"] for flow in living(lab)}
    assert told == {"solo": "logs-too-long", "history": "logs-too-long"}
