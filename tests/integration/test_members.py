"""Nodes are added and removed under a running download, with etcd as the arbiter: no connection ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.experiment import Case
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import fttcp_program
from lab.network import ETCD
from lab.workloads.registry import serve_specs
from tests.integration.etcd_cluster import needs_etcd
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named, who_serves
from tests.integration.test_three_nodes import WITHIN_S, Trio

pytestmark = [needs_root, needs_etcd]

PAIR, ALL = ("alpha", "beta"), ("alpha", "beta", "gamma")


class Cluster(Trio):
    """Nodes whose files can be edited."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair.lab)
        self.pair = pair
        self._whole = {node: self._file(node).read_text() for node in ALL}

    def _file(self, node: str) -> Path:
        return self.lab.home / node / "node.toml"

    def name(self, node: str, names: tuple[str, ...]) -> None:
        """Let the file of `node` name these nodes only."""
        head, *peers = re.split(r"(?m)^(?=\[\[peer\]\]$)", self._whole[node])
        *firsts, last = peers
        last, rest = re.split(r"(?m)^(?=\[(?!\[peer))", last, maxsplit=1)
        kept = [text for text in (*firsts, last) if re.search(r'name = "(\w+)"', text)[1] in names]  # type: ignore[index]
        self._file(node).write_text(head + "".join(kept) + rest)

    def in_step(self) -> bool:
        """Whether the first two are a pair."""
        return all(self.group(node).get("synced") for node in PAIR)

    def reload(self, node: str) -> dict[str, Any]:
        """What the daemon of `node` says to a reload."""
        return self.pair.order(node, "reload")

    def reasons(self, node: str) -> dict[str, str]:
        """Why `node` is not ready."""
        return {one["why"]: one["what"] for one in self.group(node).get("not_ready", [])}

    def reload_without(self, node: str, other: str) -> str:
        """Why `node` refuses a file that does not name the other one; it has its own again."""
        self.name(node, tuple(one for one in ALL if one != other))
        refused = str(self.reload(node)["error"])
        self.name(node, ALL)
        return refused

    def members(self, *words: str) -> dict[str, list[str]]:
        """Who the members are, as alpha's arbiter has them, and whom each names."""
        file = str(self._file("alpha"))
        done = self.lab.exec("alpha", [fttcp_program(), "members", "--config", file, "--json", *words])
        assert done.returncode == 0, done.stderr
        return {node["name"]: node["names"] for node in json.loads(done.stdout)["members"]}

    def await_members(self, *names: str) -> None:
        await_condition(lambda: tuple(sorted(self.members())) == names, WITHIN_S, f"{names} are members")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes in step that name each other only, and a third host on which nothing runs."""
    for pair in pair_named("members"):
        pair.lab.up(serve_specs(["paced-down"]), arbiter=ETCD, nodes=3)
        made = Cluster(pair)
        make_fault(pair.lab, "crash-host", "gamma")
        for node in PAIR:
            made.name(node, PAIR)
            make_fault(pair.lab, "crash-host", node)
        for node in PAIR:
            make_fault(pair.lab, "restart-host", node)
        await_condition(made.in_step, WITHIN_S, "in step")
        made.await_members(*PAIR)
        yield made


@pytest.mark.parametrize("family", [4, 6])
def test_a_node_is_added_serves_in_the_end_and_another_is_removed(
    cluster: Cluster, family: int, tmp_path: Path
) -> None:
    primary, backup = map(cluster.lab.node_in_role, ("primary", "backup"))

    def add_then_crash() -> list[str]:
        make_fault(cluster.lab, "restart-host", "gamma")
        await_condition(lambda: bool(cluster.group("gamma")), WITHIN_S, "gamma's daemon answers")
        await_condition(
            lambda: "members" in cluster.reasons("gamma"), WITHIN_S, "gamma is told that nobody names it"
        )
        for node in (primary, backup):
            cluster.name(node, ALL)
            assert cluster.reload(node)["changed"] == ["peer.gamma: added"]
        cluster.await_members(*ALL)
        await_condition(lambda: cluster.seen_by(primary).get("gamma") == "spare", WITHIN_S, "gamma waits")
        assert cluster.group(primary)["synced"] and cluster.protected(primary) > 0
        refused = cluster.reload_without(primary, backup)
        assert f"{backup} serves group lab, or is its backup" in refused
        make_fault(cluster.lab, "crash-host", primary)
        cluster.await_pair(backup, "gamma")
        await_condition(lambda: cluster.protected("gamma") > 0, WITHIN_S, "the download is protected again")
        cluster.name(backup, tuple(sorted({backup, "gamma"})))
        cluster.name("gamma", tuple(sorted({backup, "gamma"})))
        for node in (backup, "gamma"):
            assert cluster.reload(node)["changed"] == [f"peer.{primary}: removed"]
        make_fault(cluster.lab, "crash-host", backup)
        await_condition(lambda: who_serves(cluster.lab) == ["gamma"], WITHIN_S, "the new node serves")
        return [primary, backup, "gamma"]

    cluster.through(
        tmp_path, add_then_crash, Case("paced-down", family=family, duration_s=300.0), until_then=True
    )
    make_fault(cluster.lab, "restart-host", primary)
    await_condition(
        lambda: "members" in cluster.reasons(primary), WITHIN_S, f"{primary} is no member any more"
    )
    assert who_serves(cluster.lab) == ["gamma"]
