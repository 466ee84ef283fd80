"""Links with delay, loss and the like, on real kernels; a bare lab, since nobody but frames is asked."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import links, network
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.network import CLIENT, SWITCH
from lab.segments import Segment
from lab.state import ProcessId
from tests.integration.netns import needs_root

pytestmark = needs_root

FAR = "far"
ASK = """
import json, select, socket, sys, time
address, count, delay_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent, got = {}, []
for number in range(count):
    sent[number] = time.monotonic()
    asked.sendto(number.to_bytes(4, "big"), (address, 9))
    if delay_s == 0:
        continue
    if select.select([asked], [], [], delay_s)[0]:
        number = int.from_bytes(asked.recv(9), "big")
        got.append((number, time.monotonic() - sent[number]))
while select.select([asked], [], [], 0.3 if len({n for n, _ in got}) == count else float(sys.argv[4]))[0]:
    number = int.from_bytes(asked.recv(9), "big")
    got.append((number, time.monotonic() - sent[number]))
print(json.dumps(got))
"""
ANSWER = """
import socket
answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
answers.bind(("0.0.0.0", 9))
while True:
    answers.sendto(*answers.recvfrom(9))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(f"test-links-{os.getpid()}")
    made.up(bare=True, more=[Segment("office", "router", [FAR])])
    try:
        for host in (CLIENT, FAR, "beta"):
            made.keep_child(made.popen(host, ["python3", "-c", ANSWER], stdin=subprocess.DEVNULL))
        yield made
    finally:
        made.down()


@pytest.fixture(autouse=True)
def healed(lab: Lab) -> Iterator[None]:
    yield
    make_fault(lab, "heal")
    assert not [port for port in network.ports(lab.host(SWITCH)) if port.endswith(("-w", "-b"))]


def echoes(
    lab: Lab, source: str, address: str, count: int, wait_s: float = 0.0, silence_s: float = 5.0
) -> list[tuple[int, float]]:
    """What came back, with its number and its time in seconds. `wait_s` 0: all are sent at once. It ends when
    all are in, or after a silence."""
    done = lab.exec(source, ["python3", "-c", ASK, address, str(count), str(wait_s), str(silence_s)])
    assert done.returncode == 0, done.stderr
    return [(number, took_s) for number, took_s in json.loads(done.stdout)]


def reached(lab: Lab, source: str, address: str) -> None:
    """Both know each other's MAC addresses, and the answering program is there."""
    await_condition(lambda: bool(echoes(lab, source, address, 1, 0, 0.5)), 20, f"{source} reaches {address}")


def counted(lab: Lab, sender: str) -> dict[str, Any]:
    (wire,) = [wire for wire in links.show(lab) if wire["from"] == sender]
    return wire


CLIENTS = ("client", "alpha", "10.77.0.10")
BEHIND_ROUTER = (FAR, "alpha", "10.81.0.40")
PEERS = ("peer", "alpha", "10.78.0.2")


@pytest.mark.parametrize(("link", "source", "address"), [CLIENTS, BEHIND_ROUTER, PEERS])
def test_what_is_late_is_so_late_in_each_direction(lab: Lab, link: str, source: str, address: str) -> None:
    reached(lab, source, address)
    make_fault(lab, "link", link, delay_ms=30, jitter_ms=10)
    got = echoes(lab, source, address, 12, 1.0)
    assert len(got) == 12 and min(took_s for _, took_s in got) >= 0.040
    assert max(took_s for _, took_s in got) - min(took_s for _, took_s in got) >= 0.004
    make_fault(lab, "link", link, delay_ms=500, sender=source if link == "peer" else "service")
    got = echoes(lab, source, address, 1, 5.0)
    assert len(got) == 1 and got[0][1] >= 0.520, "the other direction stays as it was"


@pytest.mark.parametrize(("link", "source", "address"), [CLIENTS, BEHIND_ROUTER, PEERS])
def test_frames_are_lost_doubled_and_overtake(lab: Lab, link: str, source: str, address: str) -> None:
    reached(lab, source, address)
    make_fault(
        lab, "link", link, sender=source if link == "peer" else "service", delay_ms=100, loss_percent=20
    )
    sender = source if link == "peer" else "service"
    got = echoes(lab, source, address, 400, 0, 1.0)
    wire = counted(lab, sender)
    assert 30 < wire["lost"] < 140 and len({number for number, _ in got}) < 400
    make_fault(lab, "link", link, sender=sender, delay_ms=100, duplicate_percent=50)
    got = echoes(lab, source, address, 100)
    assert len({number for number, _ in got}) == 100 and 120 < len(got) < 180
    make_fault(lab, "link", link, sender=sender, delay_ms=100, reorder_percent=20)
    got = echoes(lab, source, address, 100)
    numbers = [number for number, _ in got]
    assert sorted(numbers) == list(range(100)) and numbers != sorted(numbers)


def test_whole_segments_pass_and_checksums_are_right(lab: Lab, tmp_path: Path) -> None:
    """Segments of 64 KiB whose checksum is still to be made, and frames of a wire."""
    payload = tmp_path / "payload"
    payload.write_bytes(bytes(range(256)) * 20_000)
    for offload in (True, False):
        make_fault(lab, "link", "client", delay_ms=1)
        for host, interface in ((CLIENT, "eth0"), ("beta", "svc0")):
            network.set_offload(lab.host(host), interface, on=offload)
        server = lab.popen("beta", ["socat", "-u", f"OPEN:{payload}", "TCP-LISTEN:10,reuseaddr"])
        done = lab.exec(
            CLIENT, ["sh", "-c", f"socat -u TCP:10.77.0.2:10,retry=100,interval=0.1 - | cmp - {payload}"]
        )
        assert (done.returncode, server.wait(30)) == (0, 0), done.stdout + done.stderr
        biggest = counted(lab, "service")
        assert biggest["overflow"] == biggest["failed"] == biggest["missed"] == 0


def test_it_outlives_a_pulled_cable_and_a_host_that_is_made_anew(lab: Lab) -> None:
    reached(lab, "alpha", "10.78.0.2")
    make_fault(lab, "link", "peer", delay_ms=40)
    make_fault(lab, "cut", "peer", "alpha")
    network.set_links(lab.host(SWITCH), network.cables("alpha", "peer"), up=True)
    await_condition(lambda: bool(echoes(lab, "alpha", "10.78.0.2", 1, 0, 0.5)), 20, "the cable is in again")
    make_fault(lab, "crash-host", "alpha")
    make_fault(lab, "restart-host", "alpha")
    reached(lab, "alpha", "10.78.0.2")
    assert min(took_s for _, took_s in echoes(lab, "alpha", "10.78.0.2", 5, 2.0)) >= 0.080


def test_how_exact_links_are_is_measured() -> None:
    """In a lab of its own. A link with a delay is never early, and what it is asked for is told."""
    words = [
        "lab",
        "--name",
        f"test-calibrate-{os.getpid()}",
        "calibrate",
        "--json",
        "--seconds=0.3",
        "--delay-ms=5",
    ]
    done = subprocess.run([fttcp_program(), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    none, plain, late = json.loads(done.stdout)
    assert [one["asked_us"] for one in (none, plain, late)] == [0, 0, 10_000]
    assert all(
        one["echoes"] > 10 and 0 < one["p10_us"] <= one["p50_us"] <= one["p99_us"]
        for one in (none, plain, late)
    )
    assert (
        none["mean_us"] < plain["mean_us"] < late["mean_us"]
        and late["p10_us"] >= 9_700
        and plain["late_us"] > 0
    )


def test_its_programs_end_with_the_lab() -> None:
    made = Lab(f"test-links-end-{os.getpid()}")
    made.up(bare=True, more=[Segment("office", "router", [FAR])])
    try:
        make_fault(made, "link", "peer", delay_ms=1)
        make_fault(made, "link", "client", delay_ms=1)
        wires = [ProcessId.of(pid) for pid in made.host(SWITCH).processes()]
        assert len(wires) == 4, "process 1, the client's, and each node's"
    finally:
        made.down()
    await_condition(lambda: not any(wire.alive() for wire in wires), 30, "their end")
