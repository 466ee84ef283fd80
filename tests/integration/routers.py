"""Routers in the client's host, with whom a service that is a BIRD has BGP sessions."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT

CONTROL = "/run/bird.ctl"
KEEPALIVE = 19
"""Bytes, RFC 4271 section 4.4."""
_BIRD = """
log "{log}" all; debug protocols {{ states, events }};
router id {address}; protocol device {{ }}
protocol static all_along {{ ipv4; {routes} }}
protocol static later {{ disabled; ipv4; route 203.0.113.{last}/32 blackhole; }}
protocol bgp service {{
  local {address} as {number}; neighbor 10.77.0.100 as 65001; strict bind;
  hold time {hold}; connect delay time 1; {how}
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
"""
_NETWORK = re.compile(r"^[0-9.]+/[0-9]+", re.M)
_FRR = """
hostname peer
router bgp {number}
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


def networks(first: int, count: int) -> list[str]:
    """So many networks of four addresses each, from this address on."""
    return [f"{IPv4Address(first + 4 * i)}/30" for i in range(count)]


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
    number: int = 65002
    """Of its autonomous system."""
    keepalive: int = 0
    """Seconds between two KEEPALIVEs; 0: a third of the hold time."""

    @property
    def address(self) -> str:
        """One that the client's host has beside its own."""
        return f"10.77.0.{self.last}"

    def own(self) -> list[str]:
        """What it announces: networks of its own."""
        return networks((100 << 24) + (self.last << 18), self.routes)

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
                number=self.number,
                routes=routes,
                last=self.last,
                hold=self.hold,
                how=f"{self.how} keepalive time {self.keepalive};" if self.keepalive else self.how,
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
        return f"number {self.sessions()}, updates and withdraws {sums}"

    def sessions(self) -> int:
        """How many there were so far."""
        return (self.home / "log").read_text().count("BGP session established")

    def withdrawn(self) -> int:
        """How many networks the service has taken back."""
        found = re.search(r"Import withdraws: +(\d+)", self.say("show", "protocols", "all", "service"))
        return int(found[1]) if found else 0

    def learned(self) -> set[str]:
        """Which networks the service has announced to it."""
        return set(_NETWORK.findall(self.say("show", "route", "protocol", "service")))

    def trouble(self) -> list[str]:
        """What it noticed of an end."""
        log = (self.home / "log").read_text()
        return re.findall(r".*(?:Received:|closed|Error|expired).*", log)


class Frr(Peer):
    """FRRouting's bgpd. With ``how``, seconds between two attempts, it is connected to as well."""

    def start(self) -> subprocess.Popen[Any]:
        """Let it connect."""
        routes = "\n".join(f"  network {network}" for network in self.own())
        keepalive = self.keepalive or max(self.hold // 3, 1)
        file = self.home / "peer.conf"
        file.write_text(
            _FRR.format(
                address=self.address,
                number=self.number,
                keepalive=keepalive,
                hold=self.hold,
                routes=routes,
                retry=self.how or 1,
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

    def learned(self) -> set[str]:
        """As BIRD's."""
        words = ["vtysh", "--vty_socket", str(self.home), "-c", "show bgp ipv4 unicast json"]
        routes = json.loads(self.ask(*words))["routes"]
        return {
            network
            for network, ways in routes.items()
            if any(way.get("peerId") == "10.77.0.100" for way in ways)
        }

    def trouble(self) -> list[str]:
        """As BIRD's."""
        told = self._told()
        kept = {key: told.get(key, 0) for key in ("connectionsDropped", "lastNotificationReason")}
        return [f"{key}: {value}" for key, value in kept.items() if value]


def flows(lab: Lab, role: str) -> dict[str, dict[str, Any]]:
    """The sessions as a node knows them, by their peers' addresses; of two connections the one that lives."""
    told = lab.ask(lab.node_in_role(role), {"op": "connections"}, 5)["connections"]
    return {
        flow["remote"]: flow for flow in told if not flow["closed"] and flow["bytes_in"] and flow["bytes_out"]
    }


def table_of(lab: Lab, node: str) -> set[str]:
    """The networks that a BIRD of ours knows."""
    return set(_NETWORK.findall(str(lab.exec(node, ["birdc", "-s", CONTROL, "show", "route"]).stdout)))


def routes_of(lab: Lab, node: str) -> int:
    """How many networks a BIRD of ours knows."""
    told = lab.exec(node, ["birdc", "-s", CONTROL, "show", "route", "count"]).stdout
    found = re.search(r"(\d+) of \d+ routes", told)
    return int(found[1]) if found else -1


def spoken(lab: Lab, address: str, times: int, within_s: float = 20) -> None:
    """Wait until the peer there was sent so many KEEPALIVEs more."""
    all_spoken(lab, {address: times}, within_s)


def all_spoken(lab: Lab, times: dict[str, int], within_s: float) -> None:
    """Wait until the peers at these addresses were sent so many KEEPALIVEs more."""

    def sent() -> dict[str, int]:
        known = flows(lab, "primary")
        return {address: known[address]["local_snd_nxt"] for address in times}

    first = sent()
    await_condition(
        lambda: all((now - first[at]) % (1 << 32) >= times[at] * KEEPALIVE for at, now in sent().items()),
        within_s,
        "KEEPALIVEs",
        within_s / 1000,
    )
