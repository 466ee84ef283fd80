"""A worker of the primary's server dies, and the server lives: its connections go on, or end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fttcp.server.procfs import family as family_of
from fttcp.server.procfs import process_stat
from lab.experiment import Case, Disturbance
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import SERVICE
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import events

pytestmark = needs_root

PORT = 4321
SERVER = shlex.join([sys.executable, str(Path(__file__).with_name("worker_server.py")), str(PORT)])
CONNECTIONS = 3
ASK = f"""
import json, socket, sys
streams = [socket.create_connection((sys.argv[1], {PORT}), 20) for _ in range({CONNECTIONS})]
files = [stream.makefile("rb") for stream in streams]
for number, line in enumerate(sys.stdin):
    said = []
    for i, stream in enumerate(streams):
        try:
            stream.sendall(f"{{i}} {{number}}\\n".encode())
            said.append(files[i].readline().decode().strip())
        except OSError as error:
            said.append(type(error).__name__)
    print(json.dumps(said), flush=True)
"""


class Client:
    """Some connections, each with a worker of its own."""

    def __init__(self, lab: Lab, family: int) -> None:
        argv = [sys.executable, "-c", ASK, SERVICE[family]]
        self._process = lab.popen(CLIENT, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._number = -1

    def ask(self) -> list[str]:
        """Say a number on each connection; return for each whether it came back, or what came."""
        assert self._process.stdin and self._process.stdout
        print(file=self._process.stdin, flush=True)
        self._number += 1
        said = json.loads(self._process.stdout.readline())
        return ["right" if one == f"{i} {self._number}" else one for i, one in enumerate(said)]

    def close(self) -> None:
        """End them."""
        self._process.communicate(timeout=20)


@pytest.fixture(scope="module", params=["takeover", "end"])
def wanted(request: pytest.FixtureRequest) -> Iterator[tuple[Pair, str]]:
    """A pair whose primary holds ends for long."""
    lab = Lab(f"test-worker-{os.getpid()}")
    settings = [f'on_worker_death="{request.param}"', "timing.end_grace_ms=2000"]
    try:
        lab.up([f"{PORT}/tcp={SERVER}"], settings)
        yield Pair(lab), request.param
    finally:
        lab.down()


def known(pair: Pair, node: str) -> bool:
    """Whether all connections are protected, and their workers are looked after."""
    flows = pair.lab.ask(node, {"op": "connections", "all": True}, 5)["connections"]
    server: Any = pair.group(node)["server"]
    workers = server["workers"]
    followed = sum(flow["protection"] == "protected" and not flow["closed"] for flow in flows)
    return followed == CONNECTIONS <= workers


@pytest.mark.parametrize(("family", "number"), [(4, "KILL"), (6, "SEGV"), (4, "TERM")])
def test_a_worker_dies(wanted: tuple[Pair, str], family: int, number: str) -> None:
    """What is killed is continued elsewhere, if that is wanted; what is ended by SIGTERM ends."""
    pair, setting = wanted
    lab = pair.ready().lab
    client = Client(lab, family)
    assert client.ask() == ["right"] * CONNECTIONS
    dying, heir = lab.node_in_role("primary"), lab.node_in_role("backup")
    await_condition(lambda: known(pair, dying), 30, "the workers are known")
    workers = "$(cd /run && ls -t worker.* | head -1)"
    assert lab.exec(dying, ["sh", "-c", f"kill -{number} $(cat /run/{workers})"]).returncode == 0
    if setting == "takeover" and number != "TERM":
        lab.wait(f"primary={heir}")
        assert client.ask() == ["right"] * CONNECTIONS
        told = events(lab, dying, "worker-died")
        assert "takes over" in str(told[-1]["reason"])
    else:
        answers = client.ask()
        assert answers[:-1] == ["right"] * (CONNECTIONS - 1) and answers[-1] != "right"
        assert lab.node_in_role("primary") == dying
    client.close()


def kill_nginx_workers(lab: Lab) -> list[int]:
    """SIGKILL to the workers of the primary's nginx, and not to its master."""
    (group,) = lab.ask(lab.node_in_role("primary"), {"op": "status"}, 5)["groups"]
    host = lab.host("primary")
    (master,) = [pid for pid in host.processes() if host.inner_pid(pid) == group["server"]["pid"]]
    workers = [pid for pid in host.processes() if pid in family_of([master]) and pid != master]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    return workers


@pytest.fixture(scope="module")
def nginx() -> Iterator[Pair]:
    yield from pair_named("worker-nginx", workloads=("http-keepalive",))


@pytest.mark.parametrize("family", [4, 6])
def test_the_workers_of_nginx_are_killed(nginx: Pair, family: int, tmp_path: Path) -> None:
    """The master starts others at once; the connections go on at the other node."""
    killed = Disturbance(kill_nginx_workers, mends=True)
    case = Case("http-keepalive", family=family, moment_s=0.8, duration_s=2.5)
    outcome = nginx.ready().run(case, tmp_path, killed)
    assert outcome.ok, outcome.why
    assert len(outcome.strike) == 2


def is_nginx(pid: int) -> bool:
    """Whether it runs; one that overwrites its environment, and whose workers outlive their master."""
    stat = process_stat(pid)
    return stat is not None and stat.name == "nginx" and stat.state not in "ZX"


def test_a_killed_daemon_takes_all_of_nginx_with_it(nginx: Pair) -> None:
    lab = nginx.ready().lab
    host = lab.host(lab.node_in_role("primary"))
    assert sum(map(is_nginx, host.processes())) == 3
    make_fault(lab, "kill-node", host.name)
    await_condition(lambda: not any(map(is_nginx, host.processes())), 30, "the end of all of nginx")
