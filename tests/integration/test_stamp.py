"""The kernel edits the headers of long mirrored packets, and what makes it do so goes with the daemon."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.experiment import Case
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from tests.integration.netns import Namespace, needs_root
from tests.integration.pair import Pair, pair_named

ROOT = Path(__file__).parents[2]
OPENED = """
from fttcp.planes.nfqueue import NfqueueEngine
from tests.replay import settings
engine = NfqueueEngine(settings(**{}))
print([(event.kind.name, event.value) for event in engine.events()], engine.status().whole_packets)
engine.close()
"""
APART: dict[str, Any] = {"service_interface": "svc0", "peer_interface": "peer0", "ports": ((80, 80, "tcp"),)}


@pytest.fixture(scope="module")
def stamping() -> Iterator[Pair]:
    """A pair of its own: its daemons are killed."""
    yield from pair_named("stamp", workloads=("bulk-up", "both"))


def tables(lab: Lab, node: str) -> list[str]:
    """The tables of nftables that live only as long as a daemon."""
    return [
        line
        for line in lab.host(node).run(["nft", "list", "tables"]).splitlines()
        if line.startswith("table inet fttcp-")
    ]


@pytest.mark.parametrize(("workload", "family"), [("bulk-up", 4), ("bulk-up", 6), ("both", 4)])
def test_an_upload_is_edited_in_the_kernel(
    stamping: Pair, workload: str, family: int, tmp_path: Path
) -> None:
    pair = stamping.ready()
    backup = next(node for node in ("alpha", "beta") if pair.group(node)["role"] == "backup")
    before = counters(pair, backup)
    outcome = pair.run(Case(workload, "none", family, moment_s=0.3, duration_s=1.0), tmp_path)
    assert outcome.ok, outcome.why
    after = counters(pair, backup)
    assert after["stamped"] > before["stamped"] + 100
    assert after["drop_truncated"] == before["drop_truncated"]


def test_the_rules_end_with_the_daemon(stamping: Pair) -> None:
    lab = stamping.ready().lab
    assert tables(lab, "alpha") and tables(lab, "beta")
    make_fault(lab, "kill-node", "beta")
    await_condition(lambda: not tables(lab, "beta"), 30, "the kernel to remove the table of a killed daemon")


@needs_root
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, 0),
        ({"peer_interface": "svc0"}, errno.ENOTUNIQ),
        ({"peer_interface": "svc0", "ports": ((80, 80, "tcp"), (69, 69, "udp"))}, 0),
        (
            {
                "service_addresses": ("::1", "::2", "::3"),
                "ports": tuple((80 + n, 80 + n, "tcp") for n in range(11)),
            },
            errno.E2BIG,
        ),
    ],
)
def test_an_engine_tells_once_why_the_kernel_edits_nothing(changes: dict[str, Any], why: int) -> None:
    alone = Namespace()
    try:
        command = alone.command(sys.executable, "-c", OPENED.format(APART | changes))
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    finally:
        alone.close()
    assert done.stdout.strip() == f"{[('WHOLE_PACKETS', why)] if why else []} {why}"


def counters(pair: Pair, node: str) -> dict[str, int]:
    """Return the counters of a node's engine."""
    found = pair.group(node)["counters"]
    assert isinstance(found, dict)
    return found
