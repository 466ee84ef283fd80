"""What the lab does with daemons and servers, tried with a stand-in that answers like a daemon in step."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import NODES
from lab.state import ProcessId

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

SERVERS = ("7/tcp=sh -c 'sleep 1000 & sleep 1000'", "9/udp=sleep 1000")


@pytest.fixture
def plain_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let labs start the stand-in instead of `fttcp`."""
    program = tmp_path / "fttcp"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("plain_node.py")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr("lab.lifecycle.fttcp_program", lambda: str(program))


@pytest.fixture
def lab(plain_node: None) -> Iterator[Lab]:
    lab = Lab(f"test-daemons-{os.getpid()}")
    lab.up(SERVERS)
    yield lab
    lab.down()


def servers(lab: Lab, node: str) -> list[ProcessId]:
    """The processes of the servers of `node`."""
    daemon = lab.node_process(node)
    found = [ProcessId.of(pid) for pid in lab.host(node).processes()]
    return [process for process in found if process not in (daemon, lab.host(node).init)]


def test_roles_name_hosts(lab: Lab) -> None:
    assert lab.host("primary").name == "alpha"
    assert lab.host("backup").name == "beta"
    assert lab.exec("backup", ["cat", "/sys/class/net/svc0/address"]).stdout == "02:77:0a:4d:00:02\n"
    with pytest.raises(LabError, match="hosts are switch, client, alpha, beta, primary, backup"):
        lab.host("gamma")


def test_servers_run_in_the_private_directory_of_their_host(lab: Lab) -> None:
    for node in NODES:
        for server in servers(lab, node):
            assert Path(f"/proc/{server.pid}/cwd").readlink() == lab.home / node / "root"
    assert "plain node alpha is up" in lab.log("alpha").read_text()


def test_kill_server_kills_the_whole_group(lab: Lab) -> None:
    await_condition(lambda: len(servers(lab, "alpha")) == 4, 30, "all servers")
    hit, daemon = servers(lab, "alpha"), lab.node_process("alpha")
    report = make_fault(lab, "kill-server")
    assert report["target"] == "alpha"
    assert not any(process.alive() for process in hit)
    assert daemon.alive() and all(process.alive() for process in servers(lab, "beta"))


def test_hang_server_stops_and_heal_continues(lab: Lab) -> None:
    await_condition(lambda: len(servers(lab, "beta")) == 4, 30, "all servers")
    make_fault(lab, "hang-server", "beta")
    assert {process.state() for process in servers(lab, "beta")} == {"T"}
    assert lab.node_process("beta").state() != "T"
    make_fault(lab, "heal")
    await_condition(lambda: {process.state() for process in servers(lab, "beta")} == {"S"}, 30, "they run on")


def test_freeze_node_ends_by_itself(lab: Lab) -> None:
    daemon = lab.node_process("alpha")
    report = make_fault(lab, "freeze-node", "alpha", seconds=0.7)
    assert daemon.state() == "T"
    assert [node["alive"] for node in lab.status()["nodes"]] == [False, True]
    lab.wait("synced", 5)
    assert 0.6 < time.monotonic() - report["at_s"] < 2


def test_kill_node_then_restart_host(lab: Lab) -> None:
    daemon = lab.node_process("alpha")
    make_fault(lab, "kill-node")
    assert not daemon.alive()
    with pytest.raises(LabError, match="host alpha: its daemon has ended; its last words: "):
        lab.wait("synced", 5)
    make_fault(lab, "restart-host")
    lab.wait("primary=alpha", 10)
    assert lab.node_process("alpha") != daemon


def test_crash_host_takes_daemon_and_servers(lab: Lab) -> None:
    everything = [ProcessId.of(pid) for pid in lab.host("primary").processes()]
    make_fault(lab, "crash-host")
    assert not any(process.state() in ("R", "S", "T") for process in everything[1:])
    assert [node["alive"] for node in lab.status()["nodes"]] == [False, True]
    with pytest.raises(LabError, match="no node is primary"):
        make_fault(lab, "kill-server")


def test_up_that_fails_leaves_nothing_and_shows_the_log(plain_node: None) -> None:
    lab = Lab(f"test-failing-{os.getpid()}")
    with pytest.raises(LabError, match="told to exit"):
        lab.up(["7/tcp=exit"])
    assert not lab.home.exists()


def test_up_that_is_interrupted_leaves_nothing(plain_node: None) -> None:
    lab = Lab(f"test-interrupted-{os.getpid()}")
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        with pytest.raises(KeyboardInterrupt):
            lab.up(SERVERS)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert not lab.home.exists()


def test_wait_gives_up_in_time(lab: Lab) -> None:
    started = time.monotonic()
    with pytest.raises(LabError, match="waiting for primary=beta"):
        lab.wait("primary=beta", 0.3)
    assert time.monotonic() - started < 2
    with pytest.raises(LabError, match="wanted is synced"):
        lab.wait("something")
