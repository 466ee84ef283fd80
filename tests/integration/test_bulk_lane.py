"""The bulk lane on real kernels: it stands with the pair, tells why it does not, and lets no stranger in."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import experiment
from lab.experiment import Case, start_client
from lab.failures import NOT_PROTECTED, in_state
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import PEER_LINK, cables
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import events

pytestmark = needs_root

PORT = 7711
SEED = 7_123_123
WORKERS = 2
RESET = "tcp-reset"
EACH_WITH_EACH = {"up": WORKERS**2, "wanted": WORKERS**2}
SAY = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as sock:
    sock.sendall(bytes.fromhex(sys.argv[3]))
    print(sock.recv(1000).hex())
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    for pair in pair_named("bulk", (f"workers={WORKERS}",)):
        yield pair.ready()


def lane(pair: Pair, node: str) -> dict[str, int]:
    return dict(pair.group(node)["bulk_lane"])


def counted(pair: Pair, node: str, counter: str) -> int:
    return int(pair.group(node)["counters"][counter])


def stands(pair: Pair) -> None:
    for node in ("alpha", "beta"):
        await_condition(lambda node=node: lane(pair, node) == EACH_WITH_EACH, 15, f"the lane of {node}")


def address(node: str) -> str:
    """Of a node, on the peer link."""
    (found,) = (str(cable.address4.ip) for cable in cables(link=PEER_LINK) if cable.host == node)
    return found


def say(lab: Lab, node: str, to: str, said: bytes) -> str:
    """What comes back before the other end closes the connection."""
    done = lab.exec(node, [sys.executable, "-c", SAY, to, str(PORT), said.hex()])
    assert done.returncode == 0 or "ConnectionResetError" in done.stderr, done.stderr
    return done.stdout.strip()


def test_each_worker_is_connected_with_each(pair: Pair) -> None:
    pair.lab.wait("synced")
    stands(pair)
    for node in ("alpha", "beta"):
        assert counted(pair, node, "lane_begun") >= WORKERS**2
        assert counted(pair, node, "lane_refused") == 0


def test_a_stranger_is_refused_counted_and_told_of(pair: Pair) -> None:
    """Who has the backup's address, and no key."""
    lab = pair.lab
    stands(pair)
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    before, ended = (counted(pair, primary, name) for name in ("lane_refused", "lane_ended"))
    assert say(lab, backup, address(primary), b"GET / HTTP/1.1\r\n\r\n") == ""
    assert say(lab, backup, address(primary), bytes(400)) == ""
    await_condition(lambda: counted(pair, primary, "lane_refused") == before + 2, 30, "both are counted")
    (told,) = events(lab, primary, "lane-refused")
    assert (told["what"], told["worker"]) == ("no words of the bulk lane", 0)
    assert lane(pair, primary) == EACH_WITH_EACH and counted(pair, primary, "lane_ended") == ended
    assert pair.group(primary)["synced"]


def test_a_firewall_before_it_is_told_of(pair: Pair) -> None:
    """The pair stays in step: nothing that lives needs the lane."""
    lab = pair.lab
    stands(pair)
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    ports = f"{PORT}:{PORT + WORKERS - 1}"
    rule = ["INPUT", "-i", "peer0", "-p", "tcp", "--dport", ports, "-j", "REJECT", "--reject-with", RESET]
    lab.host(primary).run(["iptables", "-I", *rule])
    try:
        # what stands is reset when it says something; it says nothing by itself but that it lives
        await_condition(lambda: lane(pair, backup)["up"] == 0, 20, "the lane to break")
        await_condition(lambda: len(events(lab, backup, "lane-down")) == WORKERS, 20, "it is told")
        for told in events(lab, backup, "lane-down"):
            assert told["peer"] == primary and told["why"] == "Connection refused"
        assert pair.group(primary)["synced"] and pair.group(backup)["ready"]
        assert "0 of 4 connections: does TCP pass" in pair.shown(backup)
        doctor = pair.order(backup, "doctor")
        assert any("bulk lane" in check["name"] and check["status"] == "warn" for check in doctor["checks"])
    finally:
        lab.host(primary).run(["iptables", "-D", *rule])
    stands(pair)
    await_condition(lambda: len(events(lab, backup, "lane-up")) == WORKERS, 30, "that is told, too")


@contextmanager
def captured(lab: Lab, node: str, what: str, into: Path) -> Iterator[None]:
    """Within, tcpdump writes whole packets of the node's peer link to a file."""
    words = ["tcpdump", "-i", "peer0", "-s", "0", "-U", "--immediate-mode", "-w", str(into), what]
    process = lab.popen(node, words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while "listening on" not in (line := process.stderr.readline()):
            assert line, "tcpdump did not start"
        yield
        process.send_signal(signal.SIGINT)
        process.wait(10)
    finally:
        process.kill()
        process.wait()


def test_nobody_on_the_link_reads_what_goes_over_it(pair: Pair, tmp_path: Path) -> None:
    """What a client has said is given to a new backup over the lane."""
    lab = pair.lab
    stands(pair)
    primary = lab.node_in_role("primary")
    said = f"down {SEED} 0 ".encode()
    client = start_client(lab, Case("paced-down", seed=SEED, duration_s=60.0), tmp_path, 5.0)
    try:
        assert client.wait_started()
        with captured(lab, primary, f"tcp portrange {PORT}-{PORT + WORKERS - 1}", tmp_path / "lane.pcap"):
            make_fault(lab, "crash-host", "backup")
            experiment.revive(lab)
            await_condition(
                lambda: not in_state(lab, primary, NOT_PROTECTED), 15, "the download's new backup"
            )
        assert counted(pair, primary, "lane_messages_sent") > 0
        client.enough()
        assert client.finish()["ok"]
    finally:
        client.kill()
    taken = (tmp_path / "lane.pcap").read_bytes()
    assert taken.count(b"FTLN") >= 2 * WORKERS**2, "the hellos are in the clear"
    assert said not in taken


def test_it_stands_again_after_the_roles_changed(pair: Pair) -> None:
    lab = pair.lab
    stands(pair)
    primary = lab.node_in_role("primary")
    make_fault(lab, "switchover", primary)
    lab.wait("synced")
    assert lab.node_in_role("backup") == primary
    stands(pair)
