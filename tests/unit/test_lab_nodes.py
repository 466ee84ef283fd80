"""The lab with more than two nodes: configurations that daemons accept, and when all are in their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fttcp.config import ConfigError, load
from lab.errors import LabError
from lab.lifecycle import Lab
from lab.network import ALL_NODES, cables
from lab.nodeconfig import SPACE_SEED, write_node_files, write_witness_files
from lab.status import is_paired, is_synced, newest_takeover


@pytest.mark.parametrize("count", range(2, 6))
def test_every_node_gets_a_file_that_its_daemon_accepts(count: int, tmp_path: Path) -> None:
    nodes = ALL_NODES[:count]
    for host in ("witness", *nodes):
        (tmp_path / host).mkdir()
    settings = write_witness_files(tmp_path, ["gamma.log_level=debug"], nodes)
    places: dict[str, str] = {}
    for node in nodes:
        file = write_node_files(node, tmp_path / node, "00" * 32, ["80/tcp=true"], settings, nodes)
        config = load(file)
        assert [peer.name for peer in config.peer] == [name for name in nodes if name != node]
        assert config.arbiter.kind == "witness"
        assert config.node.log_level == ("debug" if node == "gamma" else "info")
        for peer in config.peer:
            first = peer.link[0]
            assert first.local == places.setdefault(node, first.local or "")
            assert first.remote == places.setdefault(peer.name, first.remote or "")
    priorities = [load(tmp_path / node / "node.toml").group[0].priority for node in nodes]
    assert priorities == sorted(priorities, reverse=True) and len(set(priorities)) == count


def test_every_cable_has_a_place_of_its_own() -> None:
    for what in ("port", "mac", "address4", "address6"):
        places = [getattr(cable, what) for cable in cables()]
        assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    ("nodes", "arbiter", "why"),
    [
        (3, "none", "more than two need an arbiter"),
        (6, "witness", "allowed are 2 to 5"),
        (1, "none", "2 to 5"),
    ],
)
def test_a_lab_that_cannot_be_is_refused_before_anything_is_made(nodes: int, arbiter: str, why: str) -> None:
    lab = Lab("never-made")
    with pytest.raises(LabError, match=why):
        lab.up(nodes=nodes, arbiter=arbiter)
    assert not lab.home.exists()


def status(*nodes: tuple[str, bool] | None) -> dict[str, Any]:
    """The lab's status; None for a node that does not answer."""
    return {
        "nodes": [
            {"node": name, "alive": False, "groups": []}
            if said is None
            else {
                "node": name,
                "alive": True,
                "groups": [{"name": "lab", "role": said[0], "synced": said[1]}],
            }
            for name, said in zip(ALL_NODES, nodes, strict=False)
        ]
    }


PRIMARY, BACKUP, SPARE = ("primary", True), ("backup", True), ("backup", False)


@pytest.mark.parametrize(
    ("nodes", "paired", "synced"),
    [
        ((PRIMARY, BACKUP), True, True),
        ((PRIMARY, SPARE), False, False),
        ((SPARE, PRIMARY, BACKUP), True, True),
        ((PRIMARY, SPARE, SPARE), False, False),
        ((PRIMARY, BACKUP, None), True, False),
        ((PRIMARY, BACKUP, ("starting", False)), True, False),
        ((PRIMARY, BACKUP, BACKUP), False, False),
        ((PRIMARY, BACKUP, ("primary", False)), False, False),
        ((None, None, SPARE), False, False),
        ((None, None, None), False, False),
    ],
)
def test_when_everybody_is_in_its_place(nodes: Any, paired: bool, synced: bool) -> None:
    assert is_paired(status(*nodes)) is paired
    assert is_synced(status(*nodes)) is synced


def test_a_takeover_is_told_of_who_serves_now_and_did_not_before() -> None:
    told = status(PRIMARY, BACKUP, None)
    serves = told["nodes"][0]
    serves["groups"][0]["takeovers"] = [{"cause": "switchover"}, {"cause": "peer-lost"}]
    name = serves["node"]
    assert newest_takeover(told, "another") == {"node": name, "cause": "peer-lost"}
    assert newest_takeover(told, name) is None
    serves["groups"][0]["takeovers"] = []
    assert newest_takeover(told, "another") is None


def test_who_waits_in_vain_is_told_what_keeps_a_server_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab("never-made")
    waiting = status(("starting", False), ("starting", False))
    absent, there = (False, "/none: no such program in PATH"), (True, "serving")
    for node, (healthy, reason) in zip(waiting["nodes"], (absent, there), strict=True):
        node["groups"][0]["server"] = {"healthy": healthy, "reason": reason}
    answers = {"nodes": ALL_NODES[:2], "status": waiting, "node_process": None, "log": "log"}
    for name, answer in answers.items():
        monkeypatch.setattr(lab, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(lab, "_log_tail", lambda node: "")
    with pytest.raises(LabError) as raised:
        lab.wait("synced", 0)
    (state,) = (line for line in str(raised.value).splitlines() if line.startswith("state:"))
    assert "alpha: lab starting, its server: /none: no such program in PATH" in state
    assert "beta: lab starting" in state and "serving" not in state


@pytest.mark.parametrize(
    ("settings", "seed"),
    [
        ((), SPACE_SEED),
        (("experiment.strict_commit=false",), SPACE_SEED),
        (("experiment.space_seed=0",), 0),
        (("experiment.space_seed=5",), 5),
        (("experiment.service_iss=7",), 0),
        (("experiment.service_ts=7",), 0),
    ],
)
def test_connections_begin_at_numbers_of_their_own(
    settings: tuple[str, ...], seed: int, tmp_path: Path
) -> None:
    """Unless the settings say otherwise."""
    file = write_node_files("alpha", tmp_path, "00" * 32, ["80/tcp=true"], settings)
    assert load(file).group[0].experiment.space_seed == seed


def test_numbers_are_drawn_or_fixed(tmp_path: Path) -> None:
    settings = ("experiment.space_seed=5", "experiment.service_iss=7")
    file = write_node_files("alpha", tmp_path, "00" * 32, ["80/tcp=true"], settings)
    with pytest.raises(ConfigError, match="space_seed"):
        load(file)
