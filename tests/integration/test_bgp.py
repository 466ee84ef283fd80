"""BGP sessions with BIRD outlive its host: their peers see no NOTIFICATION, no withdrawal, no new session."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.probe.recipe_files import BIRD_COMMAND, BIRD_SETTINGS, bird
from tests.integration.netns import needs_root

pytestmark = needs_root

CONTROL = "/run/bird.ctl"
BOTH_SYNS = str(Path(__file__).with_name("both_syns.py"))
PASSWORD = 'password "of both";'
KEEPALIVE = 19
"""Bytes, RFC 4271 section 4.4."""
_BIRD = """
log "{log}" all; debug protocols {{ states, events }};
router id {address}; protocol device {{ }}
protocol static all_along {{ ipv4; {routes} }}
protocol static later {{ disabled; ipv4; route 203.0.113.{last}/32 blackhole; }}
protocol bgp service {{
  local {address} as 65002; neighbor 10.77.0.100 as 65001; strict bind;
  hold time {hold}; connect delay time 1; {how}
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
"""
_FRR = """
hostname peer
router bgp 65002
 bgp router-id {address}
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 10.77.0.100 remote-as 65001
 neighbor 10.77.0.100 disable-connected-check
 neighbor 10.77.0.100 update-source {address}
 neighbor 10.77.0.100 timers {keepalive} {hold}
 neighbor 10.77.0.100 timers connect {retry}
 address-family ipv4 unicast
{routes}
 exit-address-family
"""


@dataclass(frozen=True)
class Peer:
    """A router in the client's host."""

    lab: Lab
    home: Path
    last: int
    hold: int
    routes: int = 3
    how: str = ""
    """What else its session has."""

    @property
    def address(self) -> str:
        """One that the client's host has beside its own."""
        return f"10.77.0.{self.last}"

    def own(self) -> list[str]:
        """What it announces: networks of its own."""
        block = self.last << 16
        numbers = [(100 << 24) + block + 4 * i for i in range(self.routes)]
        return [f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/30" for n in numbers]

    def ask(self, *words: str) -> str:
        """What a program in its host says."""
        return str(self.lab.exec(CLIENT, words, timeout=20).stdout)


class Bird(Peer):
    """BIRD."""

    def start(self) -> subprocess.Popen[Any]:
        """Let it connect."""
        routes = " ".join(f"route {network} blackhole;" for network in self.own())
        file = self.home / "peer.conf"
        file.write_text(
            _BIRD.format(
                log=self.home / "log",
                address=self.address,
                routes=routes,
                last=self.last,
                hold=self.hold,
                how=self.how,
            )
        )
        words = ["bird", "-f", "-c", str(file), "-s", str(self.home / "ctl"), "-P", str(self.home / "pid")]
        return self.lab.popen(CLIENT, words)

    def say(self, *words: str) -> str:
        """Tell it something."""
        return self.ask("birdc", "-s", str(self.home / "ctl"), *words)

    def session(self) -> str:
        """Which one it is, "" while it is not up; with all that it was told."""
        told = self.say("show", "protocols", "all", "service")
        if "Established" not in told:
            return ""
        sums = re.findall(r"Import (?:updates|withdraws): +(\d+)", told)
        number = (self.home / "log").read_text().count("BGP session established")
        return f"number {number}, updates and withdraws {sums}"

    def trouble(self) -> list[str]:
        """What it noticed of an end."""
        log = (self.home / "log").read_text()
        return re.findall(r".*(?:Received:|closed|Error|expired).*", log)


class Frr(Peer):
    """FRRouting's bgpd. With ``how``, seconds between two attempts, it is connected to as well."""

    def start(self) -> subprocess.Popen[Any]:
        """Let it connect."""
        routes = "\n".join(f"  network {network}" for network in self.own())
        keepalive = max(self.hold // 3, 1)
        file = self.home / "peer.conf"
        file.write_text(
            _FRR.format(
                address=self.address, keepalive=keepalive, hold=self.hold, routes=routes, retry=self.how or 1
            )
        )
        hears = ["-p", "179", "-l", self.address] if self.how else ["-p", "0"]
        words = ["/usr/lib/frr/bgpd", "-Z", "-S", *hears, "-P", "0", "-f", str(file)]
        return self.lab.popen(CLIENT, [*words, "-i", str(self.home / "pid"), "--vty_socket", str(self.home)])

    def _told(self) -> dict[str, Any]:
        words = ["vtysh", "--vty_socket", str(self.home), "-c", "show bgp neighbors 10.77.0.100 json"]
        told = self.ask(*words)
        return dict(json.loads(told)["10.77.0.100"]) if told.lstrip().startswith("{") else {}

    def session(self) -> str:
        """As BIRD's."""
        told = self._told()
        if told.get("bgpState") != "Established":
            return ""
        updates = told["messageStats"]["updatesRecv"]
        return f"number {told['connectionsEstablished']}, updates {updates}"

    def trouble(self) -> list[str]:
        """As BIRD's."""
        told = self._told()
        kept = {key: told.get(key, 0) for key in ("connectionsDropped", "lastNotificationReason")}
        return [f"{key}: {value}" for key, value in kept.items() if value]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Both nodes run BIRD."""
    lab = Lab(f"test-bgp-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.down()


def flows(lab: Lab, role: str) -> dict[str, dict[str, Any]]:
    """The sessions as a node knows them, by their peers' addresses; of two connections the one that lives."""
    told = lab.ask(lab.node_in_role(role), {"op": "connections"}, 5)["connections"]
    return {
        flow["remote"]: flow for flow in told if not flow["closed"] and flow["bytes_in"] and flow["bytes_out"]
    }


def routes_of(lab: Lab, node: str) -> int:
    """How many networks a BIRD of ours knows."""
    told = lab.exec(node, ["birdc", "-s", CONTROL, "show", "route", "count"]).stdout
    found = re.search(r"(\d+) of \d+ routes", told)
    return int(found[1]) if found else -1


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


def spoken(lab: Lab, address: str, times: int) -> None:
    """Wait until the peer there was sent so many KEEPALIVEs more."""

    def sent() -> int:
        return int(flows(lab, "primary")[address]["local_snd_nxt"])

    first = sent()
    await_condition(lambda: (sent() - first) % (1 << 32) >= times * KEEPALIVE, 20, "KEEPALIVEs")
