"""Connections whose segments are signed (TCP-MD5, RFC 2385), as BGP routers do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.netns import needs_root

pytestmark = needs_root

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("opens_peers.py")
PORT, ECHO, OUT = 8080, 7, 2000
SEED, COUNT = 7, 8 << 20
KEY = "what both ends know"
ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.integration.opens_peers import connect
with connect(sys.argv[2], int(sys.argv[3])) as s, s.makefile("rw") as lines:
    print("connected", flush=True)
    for line in sys.stdin:
        lines.write(line)
        lines.flush()
        print(lines.readline(), end="", flush=True)
"""
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def environment(*peers: str, key: str = KEY) -> list[str]:
    """How a program learns what it signs with whom."""
    return ["env", f"PYTHONPATH={ROOT}", f"MD5_KEY={key}", f"MD5_PEERS={' '.join(peers)}", sys.executable]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Both nodes run two servers that sign what they exchange with clients, and know the key."""
    file = tmp_path_factory.mktemp("keys") / "key"
    file.touch(0o600)
    file.write_text(f"{KEY}\n")
    lab = Lab(f"test-signed-{os.getpid()}")
    clients = ["10.77.0.10", "fd77::10"]
    serve = " ".join(f"'{word}'" for word in [*environment(*clients), str(SCRIPT)])
    try:
        lab.up(
            [f"{PORT}/tcp={serve} serve {PORT}", f"{ECHO}/tcp={serve} echo {ECHO}"],
            [
                f'opens=["{OUT}/tcp"]', "experiment.space_seed=5",
                "md5=[" + ",".join(f'{{peer="{one}", key_file="{file}"}}' for one in clients) + "]",
            ],
        )  # fmt: skip
        yield lab
    finally:
        lab.down()


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nobody_is_left(lab: Lab) -> Iterator[None]:
    """A test that failed leaves no connection to the next one, or to itself when it is done again."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def begun(lab: Lab, words: list[str]) -> subprocess.Popen[str]:
    """A program of the client, with pipes."""
    STARTED.append(lab.popen("client", words, **PIPES))
    return STARTED[-1]


def ask(lab: Lab, service: str, port: int, key: str = KEY) -> subprocess.Popen[str]:
    """A client that is to send lines."""
    return begun(lab, [*environment(service, key=key), "-c", ASK, str(ROOT), service, str(port)])


def answer(client: subprocess.Popen[str], line: str) -> str:
    """What the server says to a line."""
    assert client.stdin and client.stdout
    client.stdin.write(line + "\n")
    client.stdin.flush()
    return client.stdout.readline().rstrip("\n")


def connected(client: subprocess.Popen[str]) -> bool:
    """Wait until it is, or has given up."""
    assert client.stdout
    return client.stdout.readline() == "connected\n"


def living(lab: Lab) -> list[dict[str, Any]]:
    """The connections that the primary knows."""
    told = lab.ask(lab.node_in_role("primary"), {"op": "connections"}, 5)["connections"]
    return [flow for flow in told if not flow["closed"]]


def all_protected(lab: Lab) -> bool:
    """Is each of them?"""
    return {flow["protection"] for flow in living(lab)} == {"protected"}


@pytest.mark.parametrize("family", [4, 6])
def test_both_kinds_survive_a_crash_in_the_middle(lab: Lab, family: int) -> None:
    """One that the server has accepted, and one that it has opened; each end's numbers are translated."""
    experiment.revive(lab)
    service, client = (lab.env()[f"{name}{family}"] for name in ("SERVICE", "CLIENT"))
    await_condition(lambda: not living(lab), 30, "connections of before have ended")
    hear = begun(lab, [*environment(service), str(SCRIPT), "hear", str(OUT), str(SEED), str(COUNT)])
    assert hear.stdout and hear.stdout.readline() == "hears\n"
    asks = ask(lab, service, PORT)
    assert connected(asks) and asks.stdin and asks.stdout
    asks.stdin.write(f"{client} {OUT} {SEED} {COUNT}\n")
    asks.stdin.flush()
    assert [hear.stdout.readline() for _ in range(4)] == [f"{n}\n" for n in (1, 2, 3, 4)]
    assert sorted(flow["opener"] for flow in living(lab)) == ["local", "remote"]
    assert all_protected(lab), living(lab)
    make_fault(lab, "crash-host", target="primary")
    assert hear.stdout.read().splitlines()[-1] == "ok"
    assert asks.stdout.readline() == "ok\n"
    asks.stdin.close()
    assert asks.wait(20) == hear.wait(20) == 0


def test_it_is_renewed_and_survives_two_crashes(lab: Lab) -> None:
    experiment.revive(lab)
    asks = ask(lab, lab.env()["SERVICE4"], ECHO)
    assert connected(asks)
    for turn in range(2):
        assert answer(asks, f"before {turn}") == f"before {turn}"
        await_condition(lambda: all_protected(lab), 30, "renewal")
        make_fault(lab, "crash-host", target="primary")
        assert answer(asks, f"after {turn}") == f"after {turn}"
        experiment.revive(lab)
    assert asks.stdin
    asks.stdin.close()
    assert asks.wait(20) == 0


def test_who_has_another_key_is_refused_and_counted(lab: Lab) -> None:
    """As by the kernel, which counts it, too; nobody knows of such a connection."""
    experiment.revive(lab)
    counted = lambda node: lab.ask(node, {"op": "status"}, 5)["groups"][0]["counters"]["bad_signatures"]  # noqa: E731
    before = {node: counted(node) for node in ("alpha", "beta")}
    primary = lab.node_in_role("primary")
    failures = lambda: lab.exec(primary, ["nstat", "-az", "TcpExtTCPMD5Failure"]).stdout.split()[-2]  # noqa: E731
    failed = failures()
    asks = ask(lab, lab.env()["SERVICE4"], ECHO, key="another one")
    try:
        await_condition(lambda: all(counted(node) > before[node] for node in before), 10, "counted")
        await_condition(lambda: failures() != failed, 10, "counted by the kernel")
        assert asks.poll() is None
        assert not [flow for flow in living(lab) if flow["local_port"] == ECHO]
    finally:
        asks.kill()
        asks.wait()
