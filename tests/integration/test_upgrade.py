"""A rolling upgrade on real kernels: this release beside the next one, and beside one too far away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.nodeconfig import GROUP
from tests.integration import next_release
from tests.integration.pair import Pair, pair_named, who_serves
from tests.integration.test_odd_peers import PORT, Talk

ECHO = f"{PORT}/tcp=socat TCP6-LISTEN:{PORT},ipv6only=0,fork,reuseaddr PIPE"
PLAIN = (
    "-c",
    "import socket, sys\n"
    "stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).makefile('rwb')\n"
    "for line in sys.stdin.buffer:\n"
    "    stream.write(line); stream.flush(); assert stream.readline() == line\n"
    "    print('answered', flush=True)\n",
)
OURS = [next_release.NEWEST - 1, next_release.NEWEST - 1]
NEXT = [next_release.NEWEST - 1, next_release.NEWEST]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A pair of this release that serves an echo."""
    for one in pair_named("upgrade"):
        one.lab.up((ECHO,))
        yield one


@pytest.fixture
def trio() -> Iterator[Pair]:
    """... and a spare."""
    for one in pair_named("upgrade-trio"):
        one.lab.up((ECHO,), arbiter="witness", nodes=3)
        yield one


def upgrade(pair: Pair, node: str, command: list[str]) -> None:
    """Another release on a node that serves nothing."""
    make_fault(pair.lab, "crash-host", node)
    pair.lab.programs[node] = command
    make_fault(pair.lab, "restart-host", node)


def speaks(pair: Pair, node: str) -> dict[str, Any]:
    """Who speaks which versions, as this node knows."""
    return {one["name"]: one["speaks"] for one in pair.group(node)["nodes"]}


def protection(pair: Pair, node: str) -> list[str]:
    """Of the connections of the group."""
    flows = pair.lab.ask(node, {"op": "connections", "group": GROUP}, timeout_s=5)["connections"]
    return sorted(flow["protection"] for flow in flows if not flow["closed"])


def renewed(pair: Pair, node: str) -> bool:
    """True if all its connections are protected."""
    return set(protection(pair, node)) == {"protected"}


def test_a_rolling_upgrade(pair: Pair, tmp_path: Path) -> None:
    """Both orders: this release serves and the next one follows, and the other way round."""
    lab, command = pair.lab, next_release.make(tmp_path)
    old, new = lab.node_in_role("primary"), lab.node_in_role("backup")
    first = Talk(lab, 4, PLAIN)
    talks = [first]
    try:
        first.ask("before")
        upgrade(pair, new, command)
        lab.wait("synced", 20)
        assert speaks(pair, old) == speaks(pair, new) == {old: OURS, new: NEXT}
        assert "RELEASES" in pair.shown(old)
        second = Talk(lab, 6, PLAIN)
        talks.append(second)
        second.ask("beside the next release")
        assert "protected" in protection(pair, old)
        counters = pair.group(old)["counters"]
        assert counters["records_skipped"] > 0 == counters["records_refused"]
        first.end()  # it had no backup for a while
        told = pair.order(old, "switchover", GROUP)
        assert told["status"] == 0, told
        await_condition(lambda: who_serves(lab) == [new], 30, "the next release to serve")
        second.ask("served by the next release")
        lab.wait("synced", 20)
        third = Talk(lab, 4, PLAIN)
        talks.append(third)
        third.ask("and followed by this one")
        await_condition(
            lambda: renewed(pair, new), 20, "the connection that was handed over is protected again"
        )
        for node in (old, new):
            counters = pair.group(node)["counters"]
            assert counters["channel_malformed"] == counters["channel_bad_mac"] == 0
        upgrade(pair, old, command)
        lab.wait("synced", 20)
        assert speaks(pair, new) == {old: NEXT, new: NEXT}
        fourth = Talk(lab, 6, PLAIN)
        talks.append(fourth)
        fourth.ask("in the new version")
        await_condition(lambda: renewed(pair, new), 20, "all connections are protected again")
        make_fault(lab, "crash-host", new)
        for talk in talks[1:]:
            talk.ask("which survives a crash")
        assert who_serves(lab) == [old]
    finally:
        for talk in talks:
            talk.end()


def test_a_rolling_upgrade_of_three(trio: Pair, tmp_path: Path) -> None:
    """First who serves nothing, the spare before the backup; then the service moves. One connection lives
    through all of it, and is protected at the end."""
    lab, command = trio.lab, next_release.make(tmp_path)
    first, second, third = map(lab.node_in_role, ("primary", "backup", "spare"))
    talk = Talk(lab, 4, PLAIN)
    try:
        talk.ask("before")
        for node in (third, second):
            upgrade(trio, node, command)
            lab.wait("synced", 20)
        await_condition(lambda: renewed(trio, first), 20, "it is protected by the next release")
        told = trio.order(first, "switchover", GROUP)
        assert told["status"] == 0, told
        await_condition(lambda: who_serves(lab) not in ([], [first]), 30, "the next release to serve")
        talk.ask("served by the next release")
        upgrade(trio, first, command)
        lab.wait("synced", 20)
        (serves,) = who_serves(lab)
        await_condition(lambda: renewed(trio, serves), 20, "it is protected again")
        assert all(one["speaks"] == NEXT for one in trio.group(serves)["nodes"])
        make_fault(lab, "crash-host", serves)
        talk.ask("which survives a crash")
    finally:
        talk.end()


def test_a_release_that_is_too_far_away(pair: Pair, tmp_path: Path) -> None:
    """No pair forms, and people read why; but only one serves, and the service moves when it is told to."""
    lab, command = pair.lab, next_release.make_far(tmp_path)
    old, far = lab.node_in_role("primary"), lab.node_in_role("backup")
    upgrade(pair, far, command)
    for node in (old, far):
        await_condition(lambda node=node: "peer-release" in pair.reasons(node), 20, f"{node} to say why")
        doctor = lab.exec(node, pair.command(node, "doctor"))
        for told in (pair.shown(node), doctor.stdout):
            assert "commit channel speaks version" in told
    assert who_serves(lab) == [old]
    talk = Talk(lab, 4, PLAIN)
    try:
        talk.ask("alone")
        assert protection(pair, old) == ["unprotected"]
    finally:
        talk.end()
    told = pair.order(old, "stop", "--force")
    assert told["status"] == 0, told
    await_condition(lambda: who_serves(lab) == [far], 30, "the other release to serve")
    talk = Talk(lab, 6, PLAIN)
    try:
        talk.ask("served by the other release")
    finally:
        talk.end()
