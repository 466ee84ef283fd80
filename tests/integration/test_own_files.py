"""A daemon and its own files: a disk that is full at its start; a cleaner that empties its run_dir."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fttcp.group.shown import is_ready
from lab.faults import make_fault
from lab.hosts import Host, await_condition
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import events
from tests.integration.test_node_daemon import FTTCP, Daemon, daemon, serving
from tests.integration.test_operating import second, snapshot, start_without_the_second
from tests.integration.traffic import traffic

pytestmark = needs_root
__all__ = ["daemon"]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("files", workloads=("bulk-down",))


def inside(host: Host, script: str) -> None:
    """Run a shell's words with the host's own mounts."""
    process = host.popen(["sh", "-c", script])
    assert process.wait() == 0, script


def test_a_full_disk_at_the_start_is_told_and_tried_again(pair: Pair) -> None:
    """A node that cannot store an epoch takes nothing over: it is not ready before it can."""
    lab = pair.ready().lab
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    state = lab.home / new / "state"

    def fill(host: Host) -> None:
        inside(host, f"mount -t tmpfs -o size=64k tmpfs {state}; dd if=/dev/zero of={state}/fill bs=1k; true")

    with traffic(lab) as connections:
        connections.goes_on("the start")
        make_fault(lab, "kill-node", new)
        host = lab.restart_host(new, fill)
        lab.wait("synced")
        await_condition(lambda: "epochs-not-kept" in pair.reasons(new), 30, "the full disk to be told")
        assert not is_ready(pair.group(new))
        assert len(events(lab, new, "epochs-not-kept")) == 1
        inside(host, f"rm {state}/fill")
        await_condition(lambda: is_ready(pair.group(new)), 30, "the node to be ready")
        assert len(events(lab, new, "epochs-kept")) == 1
    with traffic(lab) as connections:
        connections.goes_on("the restart")
        make_fault(lab, "crash-host", old)
        connections.goes_on("the takeover", silent=True)


FILES = {"fttcp.pid", "control.sock", "network.json", "web.servers.json"}


def cleanup(daemon: Daemon, run_dir: Path) -> dict[str, Any]:
    """What `fttcp cleanup` has removed."""
    words = daemon.net.command(FTTCP, "cleanup", "--run-dir", str(run_dir), "--json")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["removed"])


def without_sysctls(daemon: Daemon) -> dict[str, list[str]]:
    """What they were before is known to the record only."""
    return {what: lines for what, lines in snapshot(daemon).items() if "sysctl" not in what}


def test_an_emptied_run_dir_is_filled_again(daemon: Daemon) -> None:
    """The files, and then the directory with them; what was changed is undone at the end all the same."""
    before, run = snapshot(daemon), daemon.home / "run"
    daemon.start()
    server = daemon.until(serving)["server"]["pid"]
    assert {file.name for file in run.iterdir()} >= FILES
    for emptied in range(2):
        if emptied:
            shutil.rmtree(run)
        else:
            for file in run.iterdir():
                file.unlink()
        await_condition(
            lambda: run.is_dir() and {file.name for file in run.iterdir()} >= FILES,
            30,
            "the files to return",
        )
        assert daemon.until(serving)["server"]["pid"] == server
        refused = daemon.tool("cleanup")
        assert refused.returncode == 1 and f"pid {daemon.process.pid}" in refused.stderr  # type: ignore[union-attr]
    events = json.loads(daemon.tool("events", "--json").stdout)["events"]
    told = [event["files"] for event in events if event["event"] == "run-dir-restored"]
    assert {name for files in told for name in files} == {*FILES, "servers.json"} - {"web.servers.json"}
    assert daemon.end(signal.SIGTERM)[0] == 0
    assert snapshot(daemon) == before


def test_cleanup_knows_what_is_ours_without_a_record(daemon: Daemon) -> None:
    before, run = without_sysctls(daemon), daemon.home / "run"
    daemon.config.write_text(daemon.config.read_text() + second(daemon))
    daemon.start()
    daemon.until(serving)
    daemon.end(signal.SIGKILL)
    shutil.rmtree(run)
    removed = cleanup(daemon, run)
    assert removed["rules"] == ["second", "web"]
    assert removed["addresses"] == ["10.77.0.100", "10.77.0.101", "fd77::100"]
    assert without_sysctls(daemon) == before
    assert not any(cleanup(daemon, run).values())
    assert not run.exists()


def test_a_start_knows_what_is_ours_without_a_record(daemon: Daemon) -> None:
    before = without_sysctls(daemon)
    daemon.config.write_text(daemon.config.read_text() + second(daemon))
    daemon.start()
    daemon.until(serving)
    daemon.end(signal.SIGKILL)
    shutil.rmtree(daemon.home / "run")
    start_without_the_second(daemon)
    assert without_sysctls(daemon) == before


def test_cleanup_leaves_a_living_daemon_alone(daemon: Daemon) -> None:
    """Also one whose run directory it does not look at."""
    daemon.start()
    daemon.until(serving)
    during = snapshot(daemon)
    assert not any(cleanup(daemon, daemon.home / "elsewhere").values())
    assert snapshot(daemon) == during and serving(daemon.group())
