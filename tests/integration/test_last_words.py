"""A server's children outlive it for a moment, and say so to the clients: that must not reach them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import SERVICE
from tests.integration import postgres_copy
from tests.integration.netns import needs_root
from tests.integration.pair import Pair

pytestmark = needs_root

PORT = 4320
SERVER = shlex.join([sys.executable, str(Path(__file__).with_name("last_words_server.py")), str(PORT)])
CONNECTIONS = 4
RUNS = 5
AT_ONCE = "restart.delay_most_ms=100"
"""Servers are killed often here, and each time their restart would wait twice as long."""

ASKERS = f"""
import socket, sys
from threading import Barrier, Thread
address, idle = sys.argv[1], int(sys.argv[2])
streams = [socket.create_connection((address, {PORT}), 10) for _ in range({CONNECTIONS})]
lines = [stream.makefile("rb") for stream in streams]
def ask(i, text):
    streams[i].sendall(text.encode() + b"\\n")
    got = lines[i].readline()
    if got != text.encode() + b":" + b"x" * 500 + b"\\n":
        print(f"connection {{i}}, {{text}}: {{got[:60]!r}}", flush=True)
        raise OSError("wrong")
for i in range({CONNECTIONS}):
    ask(i, f"first {{i}}")
over = False
def busy(i):
    n = 0
    while not over:
        ask(i, f"{{i}} {{n}}")
        n += 1
failed = []
def run(i):
    try:
        busy(i)
    except BaseException as error:
        failed.append(f"{{i}}: {{error!r}}")
threads = [Thread(target=run, args=(i,)) for i in range(idle, {CONNECTIONS})]
for thread in threads:
    thread.start()
print("ready", flush=True)
sys.stdin.readline()
over = True
for thread in threads:
    thread.join()
for i in range({CONNECTIONS}):
    try:
        ask(i, f"last {{i}}")
    except OSError as error:
        failed.append(f"last {{i}}: {{error!r}}")
print(failed or "all right", flush=True)
"""


def followed(lab: Lab) -> bool:
    """Whether the backup holds all connections: what is said on others is not held."""
    flows = lab.ask(lab.node_in_role("primary"), {"op": "connections", "all": True}, 5)["connections"]
    return sum(flow["protection"] == "protected" for flow in flows) == CONNECTIONS


def client_of(lab: Lab, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Clients that do what is said on standard input, and print "all right" or what was wrong."""
    argv = [sys.executable, "-c", script, *arguments]
    return lab.popen(CLIENT, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_under(lab: Lab, client: subprocess.Popen[str], line: str, run: int) -> None:
    """Kill the primary's server, and have the clients say `line` to its heir."""
    heir = lab.node_in_role("backup")
    make_fault(lab, "kill-server", "primary")
    lab.wait(f"primary={heir}")
    said, _ = client.communicate(f"{line}\n", timeout=60)
    assert said == "all right\n", f"run {run}"
    lab.wait("synced", 60)


@pytest.fixture(scope="module", params=["nfqueue", "programmable"])
def orphans(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A pair that would wait for an end for much longer than the client does, but for no restart."""
    lab = Lab(f"test-last-words-{os.getpid()}")
    patience = ["timing.end_grace_ms=60000", "timing.detach_after_ms=60000", AT_ONCE]
    try:
        lab.up([f"{PORT}/tcp={SERVER}"], [f'engine="{request.param}"', *patience])
        yield Pair(lab)
    finally:
        lab.down()


@pytest.mark.parametrize(("family", "idle"), [(4, 4), (6, 0), (4, 2)])
def test_a_dying_servers_last_words_reach_no_client(orphans: Pair, family: int, idle: int) -> None:
    """Four connections, of which some are idle, go on byte by byte each time."""
    lab = orphans.ready().lab
    for run in range(RUNS):
        client = client_of(lab, ASKERS, SERVICE[family], str(idle))
        assert client.stdout
        assert client.stdout.readline() == "ready\n"
        await_condition(lambda: followed(lab), 30, "the connections are protected")
        kill_under(lab, client, "over", run)


PID_FILE = "/run/last-words.pid"


def test_of_a_server_that_is_only_watched() -> None:
    """Somebody else runs it, and a pid file names it."""
    lab = Lab(f"test-last-words-watched-{os.getpid()}")
    argv = [*shlex.split(SERVER), PID_FILE]
    try:
        lab.up(
            [f"{PORT}/tcp={SERVER}"], ["commands=[]", f'pid_file="{PID_FILE}"'],
            prepare=lambda host: lab.keep_child(host.popen(argv)),
        )  # fmt: skip
        client = client_of(lab, ASKERS, SERVICE[4], "2")
        assert client.stdout
        assert client.stdout.readline() == "ready\n"
        dying, heir = lab.node_in_role("primary"), lab.node_in_role("backup")
        assert lab.exec(dying, ["sh", "-c", f"kill -KILL $(cat {PID_FILE})"]).returncode == 0
        lab.wait(f"primary={heir}")
        assert client.communicate("over\n", timeout=60)[0] == "all right\n"
    finally:
        lab.down()


DATAGRAMS = f"""
import select, socket, sys
clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range({CONNECTIONS})]
wrong = []
for client in clients:
    client.connect((sys.argv[1], {PORT}))
def ask(client, text):
    want = text.encode() + b":" + b"x" * 500 + b"\\n"
    for _ in range(100):
        try:
            client.send(text.encode())
        except ConnectionError as error:
            wrong.append(repr(error))
        while select.select([client], [], [], 0.1)[0]:
            try:
                got = client.recv(65536)
            except ConnectionError as error:
                got = repr(error).encode()
            if not got.endswith(b"x\\n"):
                wrong.append(got)
            if got == want:
                return
    wrong.append("no answer to " + text)
n = 0
print("ready", flush=True)
for line in sys.stdin:
    for i, client in enumerate(clients):
        n += 1
        ask(client, f"{{i}} {{n}}")
    print(wrong or "all right", flush=True)
"""


def test_nor_do_datagrams() -> None:
    """One child answers all clients; replies may come twice, but no last word comes."""
    lab = Lab(f"test-last-words-udp-{os.getpid()}")
    try:
        lab.up([f"{PORT}/udp={SERVER}"], [AT_ONCE])
        for run in range(RUNS):
            client = client_of(lab, DATAGRAMS, SERVICE[4])
            assert client.stdin and client.stdout
            assert client.stdout.readline() == "ready\n"
            print("go on", file=client.stdin, flush=True)
            assert client.stdout.readline() == "all right\n"
            kill_under(lab, client, "go on", run)
    finally:
        lab.down()


POSTGRES_PORT = 5432
QUERIES = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from field_client import Postgres, attempt, expect
sessions = [Postgres(sys.argv[1], {POSTGRES_PORT}) for _ in range({CONNECTIONS})]
number, failed = 0, []
def ask(session):
    said = session.query(b"SELECT %d * 7 || repeat('x', 300)" % number)
    expect(said, b"%d" % (number * 7) + b"x" * 300)
for line in sys.stdin:
    for session in sessions:
        number += 1
        ended = attempt(lambda: ask(session))
        if ended:
            failed.append(ended)
    print(failed or "all right", flush=True)
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Pair]:
    """A pair of PostgreSQL, each begun from a copy of one cluster; it listens before it has recovered."""
    lab = Lab(f"test-last-words-pg-{os.getpid()}")
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        original = postgres_copy.cluster(Path(parent))
        server = [sys.executable, postgres_copy.__file__, str(original), str(POSTGRES_PORT)]
        try:
            ready = f"{postgres_copy.program('pg_isready')} -h 127.0.0.1 -p {POSTGRES_PORT}"
            hook = f'hooks.ready_to_follow="{ready}"'
            lab.up([f"{POSTGRES_PORT}/tcp={shlex.join(server)}"], [hook, AT_ONCE], wait_s=60)
            yield Pair(lab)
        finally:
            lab.down()


@pytest.mark.parametrize("family", [4, 6])
def test_the_postmaster_is_killed(postgres: Pair, family: int) -> None:
    """Backends say FATAL: terminating connection due to unexpected postmaster exit. All sessions go on."""
    lab = postgres.ready().lab
    for run in range(RUNS):
        client = client_of(lab, QUERIES, SERVICE[family])
        assert client.stdin and client.stdout
        print("go on", file=client.stdin, flush=True)
        assert client.stdout.readline() == "all right\n"
        await_condition(lambda: followed(lab), 30, "the sessions are protected")
        kill_under(lab, client, "go on", run)
