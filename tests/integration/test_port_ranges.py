"""A range of ports: each port of it is protected, and it makes no more rules than one port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.netns import Namespace, needs_root

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).with_name("port_server.py")
FIRST, LAST = 8000, 8099
OUT = 8100
"""Of the range, too: nobody listens there, and the primary's host connects out of it."""
TALK = """
import json, socket, sys
address, ports = sys.argv[1], json.loads(sys.argv[2])
streams = [socket.create_connection((address, port), 10) for port in ports]
for line in sys.stdin:
    for stream in streams:
        stream.sendall(line.encode())
    print(json.dumps([stream.recv(4096).decode() for stream in streams]), flush=True)
"""


@pytest.fixture(params=["nfqueue", "programmable"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(f"test-ranges-{request.param[0]}-{os.getpid()}")
    serve = f"{FIRST}-{OUT}/tcp={sys.executable} {SERVER} {FIRST} {LAST}"
    try:
        # nobody is to take over before the crash, however busy the machine is
        lab.up([serve], [f'engine="{request.param}"', "timing.heartbeat_ms=50"])
        yield lab
    finally:
        lab.down()


HEAR = """
import socket, sys
with socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True) as door:
    print(flush=True)
    stream, _ = door.accept()
    while heard := stream.recv(4096):
        stream.sendall(heard)
"""
CALL = """
import socket, sys
with socket.create_connection((sys.argv[2], 9000), 10, (sys.argv[1], int(sys.argv[3]))) as stream:
    for line in sys.stdin:
        stream.sendall(line.encode())
        print(stream.recv(4096).decode(), end="", flush=True)
"""


def call_out(lab: Lab, family: int, known: int) -> None:
    """Have the primary's host connect out of the service: shown beside `known` others, not followed."""
    service, client = (lab.env()[f"{name}{family}"] for name in ("SERVICE", "CLIENT"))
    primary = lab.node_in_role("primary")
    with lab.popen("client", [sys.executable, "-c", HEAR], stdout=-1, text=True) as hear:
        assert hear.stdout
        assert hear.stdout.readline(), "nobody listens at the client"
        argv = [sys.executable, "-c", CALL, service, client, str(OUT)]
        with lab.popen(primary, argv, stdin=-1, stdout=-1, text=True) as call:
            assert call.stdin and call.stdout
            call.stdin.write("out\n")
            call.stdin.flush()
            assert call.stdout.readline() == "out\n"
            flows = lab.ask(primary, {"op": "connections"}, 5)["connections"]
            assert len(flows) == known + 1
            (flow,) = (flow for flow in flows if flow["opener"] == "local")
            assert flow["flow"].rpartition(":")[2] == "9000/tcp" and flow["local_port"] == OUT
            assert (flow["protection"], flow["reason"]) == ("unprotected", "opened-here")
            assert flow["bytes_in"] == flow["bytes_out"] == 4
            call.stdin.close()
            assert call.wait(10) == hear.wait(10) == 0


def rules(lab: Lab, node: str) -> int:
    """How many rules of fttcp a node has."""
    listed = lab.host(node).run(["nft", "-a", "list", "ruleset"])
    tables = [table for table in listed.split("\ntable ") if " fttcp-" in table.partition("{")[0]]
    return sum("# handle" in line and "{" not in line for table in tables for line in table.splitlines())


@needs_root
@pytest.mark.parametrize("family", [4, 6])
def test_every_port_of_a_range_survives_a_takeover(lab: Lab, family: int) -> None:
    address = lab.env()[f"SERVICE{family}"]
    ports = [FIRST, 8042, LAST]
    talk = lab.popen("client", [sys.executable, "-c", TALK, address, json.dumps([*ports])],
                     stdin=-1, stdout=-1, text=True)  # fmt: skip
    assert talk.stdin and talk.stdout

    def say(word: str) -> list[str]:
        assert talk.stdin and talk.stdout
        talk.stdin.write(f"{word}\n")
        talk.stdin.flush()
        answers: list[str] = json.loads(talk.stdout.readline())
        return answers

    assert say("before") == [f"{port} before\n" for port in ports]
    group = lambda: next(  # noqa: E731
        group for node in lab.status()["nodes"] for group in node["groups"] if group["role"] == "primary"
    )
    await_condition(lambda: group()["flows"]["protected"] == len(ports), 30, "not all are protected")
    call_out(lab, family, len(ports))
    few = 140  # a rule for each port would be a hundred more than there are
    assert max(rules(lab, node) for node in ("alpha", "beta")) < few
    make_fault(lab, "crash-host", target="primary")
    assert say("after") == [f"{port} after\n" for port in ports]
    talk.stdin.close()
    assert talk.wait(10) == 0


MAKE = """
import subprocess
from dataclasses import replace
from fttcp.network.owner import Owner
from tests.unit.test_tables import GROUP
owner = Owner()
ports = ((80, 80, "tcp"), (81, 90, "tcp"), (1, 1, "tcp"), (60000, 65535, "tcp"), (65530, 65535, "tcp"))
group = replace(GROUP, ports=ports)
owner.make(group)
assert not owner.standing(group).missing
print(subprocess.check_output(["nft", "list", "set", "ip", "fttcp-rules-web", "tcp-ports"], text=True))
owner.close()
"""


@needs_root
def test_the_kernel_has_ranges_as_they_are_meant() -> None:
    """Those that touch, that overlap, and that end with the last port there is."""
    with closing(Namespace()) as there:
        command = there.command(sys.executable, "-c", MAKE)
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "elements = { 1, 80, 81-90, 60000-65535 }" in listed
