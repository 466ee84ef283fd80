"""Connections end while client and server talk at once: none loses its protection by that, busy or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab import experiment
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.workloads.registry import ROOT
from tests.integration.in_step import Place, place_of
from tests.integration.lockstep_servers import HTTPS, SERVICE, prepare_https

LINES, HTTP = 7, 80
SECONDS, LONG_S = 3, 10
CONNECTIONS = 32
HERE = ROOT / "tests/integration"
NODES = ("alpha", "beta")
TROUBLE = ("flows_detached", "divergences", "unverified_resets")
OPENSSL = """
openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = default
[default]
MinProtocol = {version}
MaxProtocol = {version}
"""


def prepare(home: Path) -> None:
    """nginx with TLS and without."""
    plain = f"listen {HTTP}; listen [::]:{HTTP}; location = /hello {{ return 200 hello; }}"
    prepare_https(home, f"server {{ {plain} }}")


def specs(home: Path) -> list[str]:
    """What the lab serves: nginx, and one that says lines again."""
    lines = f"{sys.executable} {HERE / 'line_server.py'} {LINES}"
    return [f"{HTTPS}/tcp,{HTTP}/tcp=nginx -c {home}/nginx.conf -p .", f"{LINES}/tcp={lines}"]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A pair whose servers are kept in step."""
    yield from place_of("ends", prepare, specs)


class Stand(NamedTuple):
    """The pair, and what its engines have counted."""

    place: dict[str, tuple[str, int]]
    counters: dict[str, dict[str, int]]


def stand(lab: Lab) -> Stand:
    """As both nodes say."""
    groups = {node: lab.ask(node, {"op": "status"}, timeout_s=5.0)["groups"][0] for node in NODES}
    place = {node: (str(group["role"]), int(group["epoch"])) for node, group in groups.items()}
    return Stand(place, {node: dict(group["counters"]) for node, group in groups.items()})


def watched(lab: Lab, connect: Callable[[], tuple[int, str]]) -> None:
    """Have connections made, which returns how many at least, and what is wrong with them; check what became
    of them. Where the machine was so busy that a node was lost meanwhile, once more."""
    for _ in range(3):
        experiment.mend(lab)
        before = stand(lab)
        least, wrong = connect()
        if stand(lab).place == before.place:
            assert not wrong
            check(lab, before.counters, least)
            return
    pytest.fail("each time a node was lost")


def check(lab: Lab, before: dict[str, dict[str, int]], least: int) -> None:
    """None was detached or differed, on either node; and the primary has seen the end of each. (A SYN that
    the mirror brings late, behind the end of its connection, begins one on the backup that nobody has.)"""
    now: dict[str, dict[str, int]] = {}
    primary = lab.node_in_role("primary")

    def moved(node: str, name: str) -> int:
        return now[node][name] - before[node][name]

    def all_over() -> bool:
        now.update(stand(lab).counters)
        return moved(primary, "flows_closed") == moved(primary, "flows_opened")

    await_condition(all_over, 20.0, "waiting for the end of all connections", interval_s=0.1)
    said = [line for line in lab.log(primary).read_text().splitlines() if '"flow-detached"' in line]
    for node in NODES:
        assert moved(node, "flows_opened") >= least
        assert {name: moved(node, name) for name in TROUBLE} == dict.fromkeys(TROUBLE, 0), said[-3:]


def busy(stack: ExitStack) -> None:
    """Something else that wants both processors."""
    for _ in range(2):
        hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        stack.callback(hog.kill)


def wrk(lab: Lab, url: str, seconds: int = SECONDS, **environment: str) -> tuple[int, str]:
    """A connection for each request: how many were answered, and what else wrk says."""
    words = ["wrk", "-t", "2", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "-H", "Connection: close", url]
    done = lab.exec("client", words, env={**os.environ, **environment})
    assert done.returncode == 0 and "requests in" in done.stdout, done.stdout + done.stderr
    wrong = done.stdout if "Non-2xx" in done.stdout else ""
    return max(int(done.stdout.split(" requests in")[0].split()[-1]), CONNECTIONS), wrong


@pytest.mark.parametrize("loaded", [False, True], ids=["quiet", "loaded"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3", "plain"])
def test_a_connection_for_each_request(place: Place, version: str, loaded: bool) -> None:
    """Both sides of HTTPS say that they close (close_notify), and then do so."""

    def connect() -> tuple[int, str]:
        if version == "plain":
            return wrk(place.lab, f"http://{SERVICE}:{HTTP}/hello")
        settings = place.home / "openssl.cnf"
        settings.write_text(OPENSSL.format(version=version))
        seconds = SECONDS if loaded or version != "TLSv1.3" else LONG_S
        return wrk(place.lab, f"https://{SERVICE}:{HTTPS}/hello", seconds, OPENSSL_CONF=str(settings))

    with ExitStack() as stack:
        if loaded:
            busy(stack)
        watched(place.lab, connect)


@pytest.mark.parametrize("loaded", [False, True], ids=["quiet", "loaded"])
def test_clients_that_end_in_every_way(place: Place, loaded: bool) -> None:
    """By FIN, by RST, with something unread, with a last word that crosses the server's end."""

    def connect() -> tuple[int, str]:
        words = [sys.executable, str(HERE / "ends_client.py"), SERVICE, str(LINES), "16", str(SECONDS)]
        done = place.lab.exec("client", words)
        told: dict[str, Any] = json.loads(done.stdout)
        ways = len(told["ended"])
        return sum(told["ended"].values()), f"{told} {done.stderr}" if told["wrong"] or ways != 5 else ""

    with ExitStack() as stack:
        if loaded:
            busy(stack)
        watched(place.lab, connect)
