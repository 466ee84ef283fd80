"""One daemon with many peers: what `check-config` accepts it starts with; both refuse in the same words."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.netns import needs_root
from tests.integration.test_node_daemon import FTTCP, Daemon, serving
from tests.integration.witness_daemon import WitnessDaemon

pytestmark = needs_root

PAIR = """[peer]
name = "beta"
[[link]]
interface = "peer0"
local = "10.78.0.1"
remote = "10.78.0.2"
remote_v6 = "fd78::2"
"""
PEER = """[[peer]]
name = "node{number}"
[[peer.link]]
interface = "peer0"
local = "10.78.0.1"
remote = "10.78.0.{number}"
remote_v6 = "fd78::{number}"
[[peer.link]]
interface = "svc0"
local = "10.77.0.1"
remote = "10.77.0.{number}"
[[peer.link]]
transport = "multicast"
interface = "peer0"
remote = "239.255.77.1"
[[peer.link]]
transport = "ethernet"
interface = "svc0"
remote = "02:00:00:00:00:{number:02x}"
"""
WITNESS = """[arbiter]
kind = "witness"
lease_ms = 1000
timeout_ms = 200
[arbiter.witness]
addresses = ["127.0.0.1:{port}"]
key_file = "{key}"
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()


def witness_of(daemon: Daemon, home: Path, lease_ms: int) -> WitnessDaemon:
    """A witness in the daemon's namespace."""
    home.mkdir()
    witness = WitnessDaemon(home, lease_ms)
    witness.start(daemon.net.command())
    return witness


def check(daemon: Daemon) -> subprocess.CompletedProcess[str]:
    """What `fttcp check-config` says of the file."""
    return subprocess.run([FTTCP, "check-config", str(daemon.config)], capture_output=True, text=True)


def configure(daemon: Daemon, peers: int, arbiter: str) -> None:
    text = daemon.config.read_text().replace('cluster = "test"', 'cluster = "lab"')
    several = "".join(PEER.format(number=number) for number in range(2, 2 + peers))
    daemon.config.write_text(text.replace(PAIR, several + arbiter))


def test_seven_peers_with_links_of_many_kinds_are_accepted_and_served_with(
    daemon: Daemon, tmp_path: Path
) -> None:
    witness = witness_of(daemon, tmp_path / "witness", lease_ms=1000)
    try:
        configure(daemon, 7, WITNESS.format(port=witness.port, key=witness.key_file))
        assert check(daemon).returncode == 0
        daemon.start()
        group = daemon.until(serving)
        assert len(group["nodes"]) == 8 and {node["role"] for node in group["nodes"]} == {"primary", "absent"}
        assert daemon.end(signal.SIGTERM)[0] == 0
        assert daemon.network() == daemon.before
    finally:
        witness.close()


def test_several_peers_without_an_arbiter_are_refused_by_all_in_the_same_words(daemon: Daemon) -> None:
    configure(daemon, 2, "")
    checked = check(daemon)
    daemon.start()
    assert daemon.process is not None
    _, said = daemon.process.communicate(timeout=15)
    assert checked.returncode != 0 and daemon.process.returncode != 0
    (error,) = [line for line in checked.stderr.splitlines() if "arbiter.kind" in line]
    assert "cannot keep 3 nodes apart" in error and error.strip() in said
    assert daemon.network() == daemon.before


def test_a_witness_with_a_shorter_lease_is_refused_at_the_start(daemon: Daemon, tmp_path: Path) -> None:
    witness = witness_of(daemon, tmp_path / "witness", lease_ms=800)
    try:
        arbiter = WITNESS.format(port=witness.port, key=witness.key_file)
        configure(daemon, 2, arbiter)
        daemon.start()
        assert daemon.process is not None
        _, said = daemon.process.communicate(timeout=15)
        assert daemon.process.returncode != 0
        assert "lease_ms is 800, this node counts with 1000" in said
        assert "with more than two nodes" in said
        assert daemon.network() == daemon.before
    finally:
        witness.close()
