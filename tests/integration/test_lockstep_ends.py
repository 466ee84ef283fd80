"""Connections end while client and server talk at once: none loses its protection by that, busy or not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.workloads.registry import ROOT
from tests.integration.lockstep_servers import HTTPS, SERVICE, prepare_https

LINES, HTTP = 7, 80
SECONDS = 3
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


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """/tmp is one for all hosts of a lab."""
    home = Path(tempfile.mkdtemp(prefix="fttcp-ends-", dir="/tmp"))
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[Lab]:
    """A pair whose servers are kept in step: nginx, with TLS and without, and one that says lines again."""
    plain = f"listen {HTTP}; listen [::]:{HTTP}; location = /hello {{ return 200 hello; }}"
    prepare_https(home, f"server {{ {plain} }}")
    lab = Lab(f"test-ends-{os.getpid()}")
    lines = f"{sys.executable} {HERE / 'line_server.py'} {LINES}"
    try:
        lab.up(
            [f"{HTTPS}/tcp,{HTTP}/tcp=nginx -c {home}/nginx.conf -p .", f"{LINES}/tcp={lines}"],
            ("lockstep=connection",),
        )
        yield lab
    finally:
        lab.down()


def counts(lab: Lab) -> dict[str, dict[str, int]]:
    """What both engines have counted."""
    status = {node: lab.ask(node, {"op": "status"}, timeout_s=5.0)["groups"][0] for node in NODES}
    return {node: dict(group["counters"]) for node, group in status.items()}


def check(lab: Lab, before: dict[str, dict[str, int]], least: int) -> None:
    """None was detached or differed, on either node; and both nodes have seen the end of each."""
    now: dict[str, dict[str, int]] = {}

    def moved(node: str, name: str) -> int:
        return now[node][name] - before[node][name]

    def all_over() -> bool:
        now.update(counts(lab))
        return all(moved(node, "flows_closed") == moved(node, "flows_opened") for node in NODES)

    await_condition(all_over, 20.0, "waiting for the end of all connections", interval_s=0.1)
    for node in NODES:
        assert moved(node, "flows_opened") >= least
        assert {name: moved(node, name) for name in TROUBLE} == dict.fromkeys(TROUBLE, 0)


def busy(stack: ExitStack) -> None:
    """Something else that wants both processors."""
    for _ in range(2):
        hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        stack.callback(hog.kill)


def wrk(lab: Lab, url: str, **environment: str) -> int:
    """A connection for each request; returns how many were answered."""
    words = ["wrk", "-t", "2", "-c", str(CONNECTIONS), "-d", f"{SECONDS}s", "-H", "Connection: close", url]
    done = lab.exec("client", words, env={**os.environ, **environment})
    assert done.returncode == 0 and "requests in" in done.stdout, done.stdout + done.stderr
    assert "Non-2xx" not in done.stdout, done.stdout
    return int(done.stdout.split(" requests in")[0].split()[-1])


@pytest.mark.parametrize("loaded", [False, True], ids=["quiet", "loaded"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3", "plain"])
def test_a_connection_for_each_request(lab: Lab, home: Path, version: str, loaded: bool) -> None:
    """Both sides of HTTPS say that they close (close_notify), and then do so."""
    before = counts(lab)
    with ExitStack() as stack:
        if loaded:
            busy(stack)
        if version == "plain":
            answered = wrk(lab, f"http://{SERVICE}:{HTTP}/hello")
        else:
            (home / "openssl.cnf").write_text(OPENSSL.format(version=version))
            answered = wrk(lab, f"https://{SERVICE}:{HTTPS}/hello", OPENSSL_CONF=str(home / "openssl.cnf"))
    check(lab, before, max(answered, CONNECTIONS))


@pytest.mark.parametrize("loaded", [False, True], ids=["quiet", "loaded"])
def test_clients_that_end_in_every_way(lab: Lab, loaded: bool) -> None:
    """By FIN, by RST, with something unread, with a last word that crosses the server's end."""
    before = counts(lab)
    with ExitStack() as stack:
        if loaded:
            busy(stack)
        words = [sys.executable, str(HERE / "ends_client.py"), SERVICE, str(LINES), "16", str(SECONDS)]
        done = lab.exec("client", words)
    told: dict[str, Any] = json.loads(done.stdout)
    assert not told["wrong"] and len(told["ended"]) == 5, (told, done.stderr)
    check(lab, before, sum(told["ended"].values()))
