"""A pair whose arbiter is a real etcd on a third host: killed, cut off, and asked, with traffic running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.network import ETCD, NODES
from lab.workloads.registry import serve_specs
from tests.integration.etcd_cluster import needs_etcd
from tests.integration.netns import needs_root
from tests.integration.pair import pair_named, who_serves
from tests.integration.test_partitions import Partitions, other_than, owner, through

pytestmark = [needs_root, needs_etcd]

CUTS = (("peer",), ("client",), ("arbiter-primary",), ("beats", "arbiter-primary"))
"""The primary's, but for the heartbeats: those of both."""


@pytest.fixture(scope="module")
def partitions() -> Iterator[Partitions]:
    for pair in pair_named("etcd"):
        pair.lab.up(serve_specs(("both", "http")), arbiter=ETCD)
        yield Partitions(pair.lab)


@pytest.fixture(autouse=True)
def in_step(partitions: Partitions) -> Iterator[None]:
    partitions.heal()
    yield


def reached(partitions: Partitions) -> list[bool]:
    return [bool(partitions.group(node)["ownership"]["arbiter"]["reachable"]) for node in NODES]


def test_etcd_is_killed_and_comes_back(partitions: Partitions, tmp_path: Path) -> None:
    def kill(primary: str) -> list[str]:
        make_fault(partitions.lab, "kill-node", ETCD)
        await_condition(lambda: not any(reached(partitions)), 15, "both nodes miss etcd")
        assert who_serves(partitions.lab) == [primary] and partitions.group(primary)["synced"]
        partitions.lab.restart_host(ETCD)
        await_condition(lambda: all(reached(partitions)), 15, "both nodes reach etcd again")
        return [primary]

    through(partitions, tmp_path, kill)


@pytest.mark.parametrize("parts", CUTS, ids="+".join)
def test_one_node_serves_under_a_cut(partitions: Partitions, parts: tuple[str, ...], tmp_path: Path) -> None:
    def cut_and_heal(primary: str) -> list[str]:
        cuts = frozenset(parts)
        expected = owner(cuts, primary)
        assert expected in (primary, other_than(primary))
        partitions.cut(cuts, primary)
        partitions.await_noticed(cuts, primary)
        partitions.await_serving(expected)
        partitions.heal()
        return [primary, expected]

    through(partitions, tmp_path, cut_and_heal)
