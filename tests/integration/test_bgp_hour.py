"""BGP sessions outlive the host of their router after as many KEEPALIVEs as an hour has.

By default a KEEPALIVE leaves each second on every session, 45 of them: as many as an hour has at a hold time
of 240 s. So timers and streams of both nodes have had as many occasions to come apart. This form does not
have sessions that rest for 80 s, and the 120 and 3,600 KEEPALIVEs of an hour at 90 and 3 s. With
FTTCP_BGP_HOUR=1 it is an hour, each session at the pace of its own hold time. In either form both nodes have
the clock of one machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES
from lab.probe.recipe_files import BIRD_COMMAND, BIRD_SETTINGS, bird
from tests.integration.netns import needs_root
from tests.integration.routers import Bird, Frr, all_spoken, flows, routes_of

pytestmark = needs_root

HOUR_S = 3600
WHOLE = os.environ.get("FTTCP_BGP_HOUR") == "1"
HOLDS = (3, 90, 240)
APART_MS = 500
"""Half of the time between two KEEPALIVEs at the shortest hold time."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Both nodes run BIRD."""
    lab = Lab(f"test-bgp-hour-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.down()


def rested(lab: Lab, node: str) -> dict[str, int]:
    """For how many ms a node's router has said nothing to each peer."""
    words = ["ss", "-Htin", "state", "established", "sport", "=", ":179"]
    told = lab.exec(node, words).stdout
    return {peer: int(ms) for peer, ms in re.findall(r"([0-9.]+):\d+\s*\n.* lastsnd:(\d+)", told)}


def apart(lab: Lab) -> dict[str, int]:
    """By how many ms one router is ahead of its copy with each peer, of whose last KEEPALIVE both are old."""
    alpha, beta = (rested(lab, node) for node in NODES)
    both = [peer for peer in alpha if min(alpha[peer], beta.get(peer, 0)) > APART_MS / 2]
    return {peer: alpha[peer] - beta[peer] for peer in both}


@pytest.mark.timeout(3 * HOUR_S)
def test_an_hour_of_keepalives(lab: Lab, tmp_path: Path) -> None:
    """Hold times of 3, 90 and 240 s, with BIRD and FRR."""
    peers: list[Bird | Frr] = []
    for number, hold in enumerate(HOLDS):
        for kind, last in ((Bird, 21 + number), (Frr, 31 + number)):
            home = tmp_path / str(last)
            home.mkdir()
            peers.append(kind(lab, home, last, hold, keepalive=0 if WHOLE else 1))
    text = bird([peer.address for peer in peers], "passive;" if WHOLE else "passive; keepalive time 1;")
    patient = [
        "timing.heartbeat_ms=50",
        "timing.heartbeat_misses=20",
    ]  # for an hour the machine does not stand still
    lab.up(
        [f"179/tcp={BIRD_COMMAND}"], ["lockstep=connection", *BIRD_SETTINGS, *(patient if WHOLE else [])],
        prepare=lambda host: (host.home / "root" / "bird.conf").write_text(text) and None,
    )  # fmt: skip
    for peer in peers:
        lab.exec(CLIENT, ["ip", "address", "add", f"{peer.address}/24", "dev", "eth0"])
    running = [peer.start() for peer in peers]
    try:
        await_condition(lambda: all(peer.session() for peer in peers), 30, "all sessions")
        total = sum(peer.routes for peer in peers) + 1
        for node in NODES:
            await_condition(lambda node=node: routes_of(lab, node) == total, 20, f"all routes at {node}")  # type: ignore[misc]
        before = [peer.session() for peer in peers]
        paces = {peer.address: peer.hold // 3 if WHOLE else 1 for peer in peers}
        all_spoken(lab, {at: HOUR_S // pace if WHOLE else 45 for at, pace in paces.items()}, 2 * HOUR_S)
        await_condition(lambda: len(apart(lab)) == len(peers), HOUR_S, "a moment between KEEPALIVEs", 0.05)
        assert all(abs(ms) < APART_MS for ms in apart(lab).values()), apart(lab)
        known = flows(lab, "primary")
        assert {flow["protection"] for flow in known.values()} == {"protected"}, known
        assert [peer.session() for peer in peers] == before
        make_fault(lab, "crash-host", "primary")
        longest = max(paces.values())
        all_spoken(
            lab, {at: max(2 * longest // pace, 6 if pace == 1 else 2) for at, pace in paces.items()}, HOUR_S
        )
        assert [peer.session() for peer in peers] == before
        assert [peer.trouble() for peer in peers] == [[]] * len(peers)
    finally:
        for process in running:
            process.kill()
            process.wait()
