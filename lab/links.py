"""What the links of the lab are like: delay, jitter, reordering, duplicates, loss, a rate.

A link that is not plain has a wire (``lab.wire``). On the link of a client one wire does both directions; it
is called as its client is: "client", or a client of a segment. On the peer link each node has one, for what
that node sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any
from zlib import crc32

from lab import network, segments, wire
from lab.errors import LabError
from lab.network import CLIENT, PEER_LINK, SERVICE_LINK, SWITCH, Cable
from lab.state import LabState, locked
from lab.wire import PLAIN, Hosts, Terms

SERVICE = "service"
"""The other end of a client's link, as a sender."""
LINKS = (SERVICE_LINK, PEER_LINK)
"""Those that every lab has."""


def senders(link: str, nodes: Iterable[str]) -> tuple[str, ...]:
    """Who sends on a link."""
    return tuple(nodes) if link == PEER_LINK else (link, SERVICE)


def apply(lab: Hosts, link: str, terms: Terms, sender: str | None = None, seed: int = 1) -> None:
    """Make a link so, for what `sender` sends (None: everybody). Raises LabError."""
    with locked(lab.name):
        state = LabState.load(lab.name)
        _apply(lab, state, link, dict.fromkeys(_senders(state, link, sender), terms), seed)


def worsen(lab: Hosts, link: str, terms: Terms, seed: int = 1) -> None:
    """Add these terms to what a link is like, both ways. Raises LabError."""
    with locked(lab.name):
        state = LabState.load(lab.name)
        now = state.links.get(link, {})
        old = {one: Terms(**now[one]["terms"]) if one in now else PLAIN for one in _senders(state, link)}
        _apply(lab, state, link, {one: terms.on_top_of(before) for one, before in old.items()}, seed)


def _senders(state: LabState, link: str, sender: str | None = None) -> tuple[str, ...]:
    """Those of a link that are meant. Raises LabError."""
    known_links = (*LINKS, *segments.cables(state))
    if link not in known_links:
        raise LabError(f"link {link!r}: there is no such link; links are {', '.join(known_links)}")
    known = senders(link, state.nodes)
    if sender not in (None, *known):
        raise LabError(f"link {link}: nobody sends there who is called {sender!r}; {', '.join(known)} do")
    return known if sender is None else (sender,)


def _apply(lab: Hosts, state: LabState, link: str, told: Mapping[str, Terms], seed: int) -> None:
    """Under the lab's lock."""
    for terms in told.values():
        if trouble := terms.trouble():
            raise LabError(f"link {link}: {trouble}")
    now = state.links.setdefault(link, {})
    for sender, terms in told.items():
        now[sender] = {"terms": asdict(terms), "seed": seed + crc32(f"{link} {sender}".encode())}
    state.save()
    for cable in _cables(state, link):
        _restore(lab, state, link, cable)


def _cables(state: LabState, link: str) -> list[Cable]:
    """Where a link's wires are, if it has some."""
    if link == PEER_LINK:
        return [cable for node in state.nodes for cable in network.cables(node, PEER_LINK)]
    return network.cables(CLIENT) if link == SERVICE_LINK else [segments.cables(state)[link]]


def restore(lab: Hosts, name: str, state: LabState) -> None:
    """Make the links of a host that lives as they are to be; to be called under the lab's lock."""
    for link in state.links:
        for cable in _cables(state, link):
            if cable.host == name:
                _restore(lab, state, link, cable)


def _restore(lab: Hosts, state: LabState, link: str, cable: Cable) -> None:
    """Make the link of a cable as it is to be, if its host lives."""
    if cable.host not in state.hosts or not lab.host(cable.host).alive():
        return
    told = state.links[link]
    ways = (told.get(cable.host), told.get(SERVICE) if link != PEER_LINK else None)
    wire.put(lab, cable, [(Terms(**way["terms"]), way["seed"]) if way else (PLAIN, 0) for way in ways])
    if link in LINKS:
        hosts = [host for host in map(lab.host, (CLIENT, *state.nodes)) if host.alive()]
        network.settle_offload(lab.host(SWITCH), hosts, link)
    else:
        _settle_offload(lab, cable)


def _settle_offload(lab: Hosts, cable: Cable) -> None:
    """Segmentation offload of a client on a segment: off at both ends of its wire, so that single frames are
    lost or late."""
    switch = lab.host(SWITCH)
    wired = cable.wire_port in network.ports(switch)
    network.set_offload(lab.host(cable.host), cable.interface, on=not wired)
    if wired:
        network.set_offload(switch, cable.wire_port, on=False)


def show(lab: Hosts) -> list[dict[str, Any]]:
    """What the wires that are in have done, for each sender: frames, bytes, and what was dropped by cause."""
    found = []
    state = LabState.load(lab.name)
    for link, told in state.links.items():
        for cable in _cables(state, link):
            for sender, way in zip((cable.host, SERVICE), wire.counts(lab, cable), strict=False):
                if sender in told:
                    found.append({"link": link, "from": sender, **told[sender], **way})
    return found
