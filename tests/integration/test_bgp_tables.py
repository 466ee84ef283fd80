"""Whole tables go through BGP sessions while the host of their router dies: to it, from it, between peers.

At 1 Mbit/s, so the crash comes when a part of each is there. Sockets of the nodes take a whole table at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.faults import make_fault
from lab.hosts import Host, await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, sysctl
from lab.probe.recipe_files import BIRD_COMMAND, BIRD_SETTINGS, bird
from tests.integration.netns import needs_root
from tests.integration.routers import Bird, Peer, flows, networks, spoken, table_of

pytestmark = needs_root

OURS = networks(60 << 24, 50_000)
SOME = 3000
"""Networks: more than is under way at once."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Both nodes run BIRD."""
    lab = Lab(f"test-bgp-tables-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.down()


def up(lab: Lab, peers: Sequence[Peer], ours: Sequence[str], export: str) -> None:
    """A pair of routers with networks of its own."""
    text = bird([peer.address for peer in peers], "passive;", ours, export)

    def prepare(host: Host) -> None:
        (host.home / "root" / "bird.conf").write_text(text)
        sysctl(host, {"net.ipv4.tcp_wmem": "4096 67108864 67108864"})

    lab.up([f"179/tcp={BIRD_COMMAND}"], ["lockstep=connection", *BIRD_SETTINGS], prepare=prepare)
    for peer in peers:
        lab.exec(CLIENT, ["ip", "address", "add", f"{peer.address}/24", "dev", "eth0"])
    make_fault(lab, "rate", "client", 1)


def partly(known: int, of: int) -> bool:
    """Is a table on its way?"""
    return SOME < known < of - SOME


def crash(lab: Lab) -> None:
    """The primary's host dies, in the midst of what is protected."""
    known = flows(lab, "primary")
    assert {flow["protection"] for flow in known.values()} == {"protected"}, known
    make_fault(lab, "crash-host", "primary")


def unmoved(lab: Lab, peers: Sequence[Bird]) -> None:
    """The peers notice nothing, for longer than their hold time."""
    spoken(lab, peers[0].address, 6)
    assert [peer.sessions() for peer in peers] == [1] * len(peers)
    assert [peer.trouble() for peer in peers] == [[]] * len(peers)
    assert [peer.withdrawn() for peer in peers] == [0] * len(peers)


def test_tables_cross_while_the_host_dies(lab: Lab, tmp_path: Path) -> None:
    """50,000 networks to the router, and as many from it, at a hold time of 3 s."""
    peer = Bird(lab, tmp_path, 21, 3, len(OURS))
    up(lab, [peer], OURS, "where source = RTS_STATIC")
    theirs = set(peer.own())
    running = peer.start()
    try:
        await_condition(lambda: partly(len(peer.learned()), len(OURS)), 30, "some of ours")
        primary = lab.node_in_role("primary")
        await_condition(
            lambda: partly(len(table_of(lab, primary) & theirs), len(theirs)), 30, "some of theirs"
        )
        assert partly(len(peer.learned()), len(OURS))
        crash(lab)
        primary = lab.node_in_role("primary")
        await_condition(lambda: peer.learned() == set(OURS), 30, "all of ours", 0.1)
        await_condition(lambda: table_of(lab, primary) == {*OURS, *theirs}, 30, "all of theirs", 0.1)
        unmoved(lab, [peer])
    finally:
        running.kill()
        running.wait()


def test_a_table_of_one_peer_goes_on_to_another(lab: Lab, tmp_path: Path) -> None:
    """One peer is there; the other one comes with its table, while the host dies."""
    peers = []
    for last, routes, how in ((21, 3, ""), (22, 20_000, "disabled;")):
        home = tmp_path / str(last)
        home.mkdir()
        peers.append(Bird(lab, home, last, 3, routes, how, number=65000 + last))
    there, comes = peers
    up(lab, peers, OURS[:SOME], "all; next hop self")
    running = [peer.start() for peer in peers]
    table = {*OURS[:SOME], *comes.own()}
    try:
        await_condition(lambda: len(there.learned()) == SOME, 30, "ours")
        await_condition(lambda: "down" in comes.say("show", "protocols", "service"), 30, "the other peer")
        comes.say("enable", "service")
        await_condition(lambda: partly(len(there.learned()) - SOME, comes.routes), 30, "some of the table")
        crash(lab)
        await_condition(lambda: there.learned() == table, 30, "all of the table", 0.1)
        assert comes.learned() == {*OURS[:SOME], *there.own()}
        unmoved(lab, peers)
    finally:
        for process in running:
            process.kill()
            process.wait()
