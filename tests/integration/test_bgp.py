"""BGP sessions with BIRD outlive its host: their peers see no NOTIFICATION, no withdrawal, no new session."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.probe.recipe_files import BIRD_COMMAND, BIRD_SETTINGS, bird
from tests.integration.netns import needs_root
from tests.integration.routers import Bird, Frr, Peer, flows, routes_of, spoken

pytestmark = needs_root

BOTH_SYNS = str(Path(__file__).with_name("both_syns.py"))
PASSWORD = 'password "of both";'


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Both nodes run BIRD."""
    lab = Lab(f"test-bgp-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.down()


def test_sessions_outlive_the_host_of_their_router(lab: Lab, tmp_path: Path) -> None:
    """Hold times of 3 s to 240 s, a table of 50,000 routes; and what is announced later arrives."""
    kinds: list[tuple[type[Bird] | type[Frr], int, int]] = [
        (Bird, 3, 50_000), (Frr, 3, 20), (Bird, 90, 3), (Bird, 240, 3),
    ]  # fmt: skip
    peers = []
    for number, (kind, hold, routes) in enumerate(kinds):
        home = tmp_path / str(number)
        home.mkdir()
        peers.append(kind(lab, home, 21 + number, hold, routes))
    text = bird([peer.address for peer in peers])
    lab.up(
        [f"179/tcp={BIRD_COMMAND}"], ["lockstep=connection", *BIRD_SETTINGS],
        prepare=lambda host: (host.home / "root" / "bird.conf").write_text(text) and None,
    )  # fmt: skip
    for peer in peers:
        lab.exec(CLIENT, ["ip", "address", "add", f"{peer.address}/24", "dev", "eth0"])
    total = sum(peer.routes for peer in peers) + 1
    running = [peer.start() for peer in peers]
    try:
        await_condition(lambda: all(peer.session() for peer in peers), 20, "all sessions")
        for node in ("alpha", "beta"):
            await_condition(lambda node=node: routes_of(lab, node) == total, 20, f"all routes at {node}")  # type: ignore[misc]
        fast = peers[0].address
        spoken(lab, fast, 5)
        assert {flow["protection"] for flow in flows(lab, "primary").values()} == {"protected"}
        before = [peer.session() for peer in peers]
        make_fault(lab, "crash-host", "primary")
        spoken(lab, fast, 6)  # twice its hold time
        assert [peer.session() for peer in peers] == before
        assert [peer.trouble() for peer in peers] == [[], [], [], []]
        for peer in peers:
            if isinstance(peer, Bird):
                peer.say("enable", "later")
        now = total + sum(isinstance(peer, Bird) for peer in peers)
        primary = lab.node_in_role("primary")
        await_condition(lambda: routes_of(lab, primary) == now, 30, "what is announced later")
        assert [peer.session() for peer in peers] == before
    finally:
        for process in running:
            process.kill()
            process.wait()


def open_to(lab: Lab, peers: Sequence[Peer], how: str = "", settings: Sequence[str] = ()) -> None:
    """A pair of routers that connect to these peers. (With multihop no socket is bound to an interface.)"""
    text = bird([peer.address for peer in peers], f"connect delay time 2; multihop; {how}")
    lab.up(
        [f"179/tcp={BIRD_COMMAND}"],
        ["lockstep=connection", 'opens=["179/tcp"]', "timing.opens_wait_ms=10000", *BIRD_SETTINGS, *settings],
        prepare=lambda host: (host.home / "root" / "bird.conf").write_text(text) and None,
    )
    for peer in peers:
        lab.exec(CLIENT, ["ip", "address", "add", f"{peer.address}/24", "dev", "eth0"])


def test_a_session_with_a_password_that_fttcp_does_not_know(lab: Lab, tmp_path: Path) -> None:
    """TCP-MD5 (RFC 2385): it is served, not protected, and that is told."""
    peer = Bird(lab, tmp_path, 21, 90, 3, f"passive; {PASSWORD}")
    open_to(lab, [peer], PASSWORD)
    running = peer.start()
    try:
        await_condition(lambda: bool(peer.session()), 30, "the session")
        primary = lab.node_in_role("primary")
        flow = flows(lab, "primary")[peer.address]
        assert (flow["protection"], flow["reason"]) == ("unprotected", "signed")
        events = lab.ask(primary, {"op": "events", "since": 0}, 5)["events"]
        assert any(event["event"] == "unsupported" and event["reason"] == "signed" for event in events)
    finally:
        running.kill()
        running.wait()


def test_signed_sessions_outlive_the_host_of_their_router(lab: Lab, tmp_path: Path) -> None:
    """... with the key they are protected, whichever end has opened them."""
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("of both\n")
    peers = []
    for last, hold, how in ((21, 3, "passive;"), (22, 90, "passive;"), (23, 90, "")):
        home = tmp_path / str(last)
        home.mkdir()
        peers.append(Bird(lab, home, last, hold, 100, f"{how} {PASSWORD}"))
    open_to(lab, peers, PASSWORD, [f'md5=[{{peer="10.77.0.0/24", key_file="{key}"}}]'])
    running = [peer.start() for peer in peers]
    try:
        await_condition(lambda: all(peer.session() for peer in peers), 60, "all sessions")
        for node in ("alpha", "beta"):
            await_condition(lambda node=node: routes_of(lab, node) == 301, 30, f"all routes at {node}")  # type: ignore[misc]
        spoken(lab, peers[0].address, 3)
        known = flows(lab, "primary")
        assert {flow["protection"] for flow in known.values()} == {"protected"}, known
        before = [(peer.session(), peer.trouble()) for peer in peers]
        make_fault(lab, "crash-host", "primary")
        spoken(lab, peers[0].address, 6)  # twice its hold time
        peers[0].say("enable", "later")
        primary = lab.node_in_role("primary")
        await_condition(lambda: routes_of(lab, primary) == 302, 30, "what is announced later")
        assert [(peer.session(), peer.trouble()) for peer in peers] == before
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_sessions_that_the_router_opens(lab: Lab, tmp_path: Path) -> None:
    """... to peers that wait for it. Others connect as well, and are faster."""
    kinds = [(21, 3, 50_000, "passive;"), (22, 90, 3, "passive;"), (23, 90, 3, ""), (201, 90, 3, "")]
    peers = []
    for last, hold, routes, how in kinds:
        home = tmp_path / str(last)
        home.mkdir()
        peers.append(Bird(lab, home, last, hold, routes, how))
    open_to(lab, peers)
    total = sum(peer.routes for peer in peers) + 1
    running = [peer.start() for peer in peers]
    try:
        await_condition(lambda: all(peer.session() for peer in peers), 60, "all sessions")
        for node in ("alpha", "beta"):
            await_condition(lambda node=node: routes_of(lab, node) == total, 30, f"all routes at {node}")  # type: ignore[misc]
        fast = peers[0].address
        spoken(lab, fast, 3)
        known = flows(lab, "primary")
        assert {flow["protection"] for flow in known.values()} == {"protected"}, known
        assert [known[peer.address]["opener"] for peer in peers[:2]] == ["local", "local"]
        before = [(peer.session(), peer.trouble()) for peer in peers]
        make_fault(lab, "crash-host", "primary")
        spoken(lab, fast, 6)
        assert [(peer.session(), peer.trouble()) for peer in peers] == before
        peers[0].say("enable", "later")
        primary = lab.node_in_role("primary")
        await_condition(lambda: routes_of(lab, primary) == total + 1, 30, "what is announced later")
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_a_collision(lab: Lab, tmp_path: Path) -> None:
    """Both ends open at once (RFC 4271 section 6.8): the connection goes on that the router with the higher
    identifier has opened, on both nodes, and outlives the host."""
    kinds: list[tuple[type[Bird] | type[Frr], int, str, str]] = [
        (Bird, 21, "", "local"), (Bird, 201, "", "remote"),
        (Frr, 22, "30", "local"), (Frr, 202, "30", "remote"),
    ]  # fmt: skip
    peers = []
    for kind, last, how, _ in kinds:
        home = tmp_path / str(last)
        home.mkdir()
        peers.append(kind(lab, home, last, 3, 3, how))
    open_to(lab, peers)
    hold = lab.popen(
        CLIENT,
        [sys.executable, BOTH_SYNS, *(peer.address for peer in peers)],
        stdout=subprocess.PIPE,
        text=True,
    )
    running = [hold]
    try:
        assert hold.stdout and hold.stdout.readline() == "holds\n"
        running += [peer.start() for peer in peers]
        assert sorted(hold.stdout.readline() for _ in peers) == sorted(f"{peer.address}\n" for peer in peers)
        await_condition(lambda: all(peer.session() for peer in peers), 30, "all sessions")
        for peer in peers:
            spoken(lab, peer.address, 1)
        known = flows(lab, "primary")
        closed = lab.ask(lab.node_in_role("primary"), {"op": "connections", "all": True}, 5)["connections"]
        lost = [
            flow["remote"] for flow in closed if flow["closed"] and flow["bytes_in"] and flow["bytes_out"]
        ]
        assert sorted(lost) == sorted(peer.address for peer in peers)
        assert {flow["protection"] for flow in known.values()} == {"protected"}, known
        assert [known[peer.address]["opener"] for peer in peers] == [opener for *_, opener in kinds]
        before = [(peer.session(), peer.trouble()) for peer in peers]
        make_fault(lab, "crash-host", "primary")
        spoken(lab, peers[0].address, 6)  # twice the hold time
        for peer in peers[1:]:
            spoken(lab, peer.address, 1)
        assert [(peer.session(), peer.trouble()) for peer in peers] == before
    finally:
        for process in running:
            process.kill()
            process.wait()
