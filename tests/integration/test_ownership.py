"""A pair with a real witness on the client's host: partitions, crashes, freezes, seen on the wire."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fttcp.wire import keyfile
from lab import experiment
from lab.capture import Capture
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

pytestmark = needs_root

PORT = 7799
LEASE_MS = 1000
NODES = ("alpha", "beta")


class Watched:
    """A pair and its witness."""

    def __init__(self, pair: Pair, home: Path) -> None:
        self.pair, self.lab, self.home = pair, pair.lab, home
        self._witness: subprocess.Popen[Any] | None = None

    def start_witness(self) -> None:
        command = [sys.executable, "-c", "from fttcp.cli.main import main; main()", "witness", "--config"]
        with (self.home / "witness.log").open("ab") as log:
            self._witness = self.lab.popen("client", [*command, str(self.home / "witness.toml")], stderr=log)

    def kill_witness(self) -> None:
        assert self._witness is not None
        self._witness.send_signal(signal.SIGKILL)
        self._witness.wait(10)

    def group(self, node: str) -> dict[str, Any]:
        return dict(self.pair.group(node))

    def primaries(self) -> list[str]:
        """Who serves now: a valid lease and an open gate."""
        serving = []
        for node in self.lab.status()["nodes"]:
            for group in node.get("groups", []):
                if group["role"] == "primary" and group.get("lease_ms_left", 0) > 0:
                    serving.append(str(node["node"]))
        return serving

    def await_primary(self, node: str) -> None:
        await_condition(lambda: self.primaries() == [node], 15, f"{node} serves alone or in step")

    def part(self, on: bool) -> None:
        """Let the nodes hear each other on no link, though both reach clients and the witness."""
        for node in NODES:
            for interface in ("svc0", "peer0"):
                rule = ["-i", interface, "-p", "udp", "--dport", "7710:7718", "-j", "DROP"]
                self.lab.host(node).run(["iptables", "-t", "raw", "-I" if on else "-D", "PREROUTING", *rule])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home = tmp_path_factory.mktemp("witness")
    keyfile.generate(home / "key")
    (home / "witness.toml").write_text(
        f'listen = ["10.77.0.10:{PORT}"]\ndata_file = "{home}/witness.db"\nlease_ms = {LEASE_MS}\n'
        f'[[cluster]]\nname = "lab"\nkey_file = "{home}/key"\n'
    )
    init = [sys.executable, "-c", "from fttcp.cli.main import main; main()", "witness", "--init", "--config"]
    subprocess.run([*init, str(home / "witness.toml")], check=True, capture_output=True)
    settings = (
        "arbiter.kind=witness", f"arbiter.lease_ms={LEASE_MS}", "arbiter.timeout_ms=200",
        f'arbiter.witness.addresses=["10.77.0.10:{PORT}"]', f'arbiter.witness.key_file="{home}/key"',
    )  # fmt: skip
    for pair in pair_named("owner", settings):
        watched = Watched(pair, home)
        started: list[bool] = []

        def prepare(host: object, watched: Watched = watched, started: list[bool] = started) -> None:
            if not started:
                started.append(True)
                watched.start_witness()

        pair.lab.up((), settings, prepare=prepare)
        yield watched


@pytest.fixture(autouse=True)
def in_step(watched: Watched) -> None:
    experiment.mend(watched.lab)
    watched.lab.wait("synced")


def served(lab: Lab) -> bool:
    return lab.exec("client", ["curl", "-sS", "--max-time", "1", "http://10.77.0.100/"]).returncode == 0


def test_a_healthy_pair_needs_no_arbiter_and_a_lone_node_does(watched: Watched, tmp_path: Path) -> None:
    lab, primary = watched.lab, watched.lab.node_in_role("primary")
    other = next(node for node in NODES if node != primary)
    assert watched.group(primary)["ownership"]["record"]["mode"] == "paired"
    with Capture(lab, tmp_path / "wire") as capture:
        watched.kill_witness()
        await_condition(
            lambda: watched.group(primary)["ownership"]["arbiter"]["reachable"] is False, 15, "it is missed"
        )
        assert watched.group(primary)["synced"] and served(lab)
        lab.fault("crash-host", other)
        await_condition(lambda: not watched.primaries(), 10, "silence: who may serve is unknown")
        watched.start_witness()
        watched.await_primary(primary)
        await_condition(lambda: served(lab), 10, "service")
    assert {span.host for span in capture.spans()} == {primary}


def test_nodes_that_hear_each_other_nowhere_do_not_both_serve(watched: Watched, tmp_path: Path) -> None:
    lab, hosts = watched.lab, list(NODES)
    with Capture(lab, tmp_path / "wire") as capture:
        watched.part(on=True)
        try:
            await_condition(lambda: len(watched.primaries()) == 1, 10, "one of them serves")
            owner = watched.primaries()[0]
            await_condition(lambda: served(lab), 10, "service")
            await_condition(
                lambda: watched.group(owner)["ownership"]["record"]["mode"] == "solo", 10, "the record"
            )
        finally:
            watched.part(on=False)
        lab.wait("synced")
    assert len(capture.spans()) <= len(hosts), capture.spans()


def test_both_crash_and_return_in_either_order(watched: Watched) -> None:
    lab = watched.lab
    first = lab.node_in_role("primary")
    second = next(node for node in NODES if node != first)
    for order in ((first, second), (second, first)):
        for node in NODES:
            lab.fault("crash-host", node)
        lab.fault("restart-host", order[0])
        watched.await_primary(order[0])
        await_condition(lambda: served(lab), 10, "service")
        lab.fault("restart-host", order[1])
        lab.wait("synced")
        assert lab.node_in_role("primary") == order[0]


def test_a_frozen_primary_thaws_into_silence(watched: Watched, tmp_path: Path) -> None:
    lab = watched.lab
    old, new = lab.node_in_role("primary"), lab.node_in_role("backup")
    with Capture(lab, tmp_path / "wire") as capture:
        assert served(lab)
        lab.fault("freeze-node", old, seconds=3)
        watched.await_primary(new)
        await_condition(lambda: served(lab), 10, "service")
        lab.wait("synced")
    assert [span.host for span in capture.spans()] == [old, new]
