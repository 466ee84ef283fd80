"""A daemon and its own files: a disk that is full at its start; a cleaner that empties its run_dir."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fttcp.runtime.health_pages import is_ready
from lab.hosts import Host, await_condition
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import events
from tests.integration.test_firewall import traffic

pytestmark = needs_root


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("files", workloads=("bulk-down",))


def inside(host: Host, script: str) -> None:
    """Run a shell's words with the host's own mounts."""
    process = host.popen(["sh", "-c", script])
    assert process.wait() == 0, script


def reasons(pair: Pair, node: str) -> list[str]:
    """Why a node is not ready, in words for programs."""
    shown = pair.group(node)["not_ready"]
    assert isinstance(shown, list)
    return [reason["why"] for reason in shown]


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
        lab.fault("kill-node", new)
        host = lab.restart_host(new, fill)
        lab.wait("synced")
        await_condition(lambda: "epochs-not-kept" in reasons(pair, new), 10.0, "the full disk to be told")
        assert not is_ready(pair.group(new))
        assert len(events(lab, new, "epochs-not-kept")) == 1
        inside(host, f"rm {state}/fill")
        await_condition(lambda: is_ready(pair.group(new)), 10.0, "the node to be ready")
        assert len(events(lab, new, "epochs-kept")) == 1
    with traffic(lab) as connections:
        connections.goes_on("the restart")
        lab.fault("crash-host", old)
        connections.goes_on("the takeover", silent=True)
