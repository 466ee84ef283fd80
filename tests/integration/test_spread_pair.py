"""HAProxy is told by a real pair who serves, through a crash, and of what a group that is gone has left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fttcp.spread.haproxy import Server, read_servers
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.network import CLIENT, NODES, SERVICE4
from lab.nodeconfig import DEFAULT_SERVE
from tests.integration.netns import needs_root

pytestmark = needs_root

OWN, PORT, OLD = "10.77.0.10", 9999, "10.77.0.250"
HAPROXY = f"""
global
    stats socket ipv4@{OWN}:{PORT} level admin
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend all
    bind 127.0.0.1:8080
    default_backend site
backend site
    server lab 0.0.0.0:0 disabled
    server old {OLD}:80
"""
SPREAD = f"""
[[spread]]
name = "proxy"
kind = "haproxy"
target = "site"
at = "{OWN}:{PORT}"
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A pair whose client runs HAProxy."""
    made = Lab(f"test-spread-{os.getpid()}")
    try:
        made.up(DEFAULT_SERVE, ("timing.heartbeat_ms=50",))
        file = made.home / CLIENT / "haproxy.cfg"
        file.write_text(HAPROXY)
        with (made.home / CLIENT / "haproxy.log").open("w") as log:
            argv = ["haproxy", "-db", "-f", str(file)]
            made.keep_child(made.popen(CLIENT, argv, cwd="/", stdout=log, stderr=log))
        await_condition(lambda: bool(servers(made)), 20, f"haproxy answers: {file.parent}/haproxy.log")
        yield made
    finally:
        made.down()


def servers(lab: Lab) -> dict[str, Server]:
    """What HAProxy says of them; nothing while it does not answer."""
    ask = ["socat", "-t5", "-", f"TCP:{OWN}:{PORT}"]
    told = lab.exec(CLIENT, ask, input="show servers state site\n").stdout
    return read_servers(told) if told else {}


def fetched(lab: Lab) -> bool:
    """Whether HAProxy has a page for its client."""
    page = ["curl", "-sf", "-o", "/dev/null", "--max-time", "5", "http://127.0.0.1:8080/"]
    return lab.exec(CLIENT, page).returncode == 0


def spread(lab: Lab, node: str, *words: str) -> list[str]:
    """The command, by a file that has an entry as well."""
    file = lab.home / node / "spread.toml"
    file.write_text((lab.home / node / "node.toml").read_text() + SPREAD)
    return [fttcp_program(), "spread", *words, "--config", str(file)]


def test_haproxy_leads_to_whoever_serves(lab: Lab) -> None:
    assert not fetched(lab), "it knows no server yet"
    with ExitStack() as stack:
        for node in NODES:
            watch = lab.popen(node, spread(lab, node, "--watch"), cwd="/", stderr=subprocess.DEVNULL)
            stack.callback(watch.wait, 20)
            stack.callback(watch.terminate)
        served = Server(SERVICE4, 80, True)
        await_condition(lambda: servers(lab)["lab"] == served, 30, "it is told who serves")
        await_condition(lambda: fetched(lab), 10, "it leads there")
        primary = lab.node_in_role("primary")
        (other,) = set(NODES) - {primary}
        make_fault(lab, "crash-host", primary)
        await_condition(lambda: fetched(lab), 20, "it leads to the other node")
        assert lab.node_in_role("primary") == other
        lab.exec(
            CLIENT, ["socat", "-t5", "-", f"TCP:{OWN}:{PORT}"], input="set server site/lab state maint\n"
        )
        await_condition(lambda: servers(lab)["lab"] == served, 30, "the other node tells it")
        assert servers(lab)["old"].serves, "nobody knows whose it is"
        done = lab.exec(other, spread(lab, other, "--apply", "--remove", OLD), cwd="/")
        assert done.returncode == 0, done.stderr
        assert servers(lab)["old"] == Server(OLD, 80, False) and servers(lab)["lab"] == served
