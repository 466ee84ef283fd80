"""What a node knows: itself, its links, its peers. Changed by events only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fttcp.ownership.model import PEER_LINK, Body, Mode, Role
from fttcp.ownership.terms import Term


@dataclass(slots=True)
class Peer:
    """Facts about one of the other nodes."""

    index: int
    name: str
    boot_id: int = 0
    """0 while the peer is not heard."""
    since_ns: int = 0
    heard_ns: int = 0
    """Its last sign of life before it was lost."""
    lost_ns: int = 0
    """When it was found lost."""
    stalled: bool = False
    """The last loss was noticed so late that this node itself must have been halted."""
    silent: bool = False
    """Its loss was noticed, and it is not known yet whether it has been heard since."""
    links: int = 0
    said: Body | None = None
    """What it says; None while it is not heard or has said nothing yet. Of its links those to this node."""
    told_links: int = 0
    """All that it says of links, by places of nodes."""
    last_boot: int = 0
    last_run: int | None = None
    """When it was lost: its boot, and its server that ran then (0: none did; None: it had not said)."""
    declined_ns: int = 0
    """When it last let an offered pairing run out; 0: never in this boot."""
    arbiter: int | None = None
    """The digest of its arbiter, as it told last; kept when it is lost. None: it never told."""
    gone: bool = False
    """The file does not name it any more: its place among the peers stays empty."""

    @property
    def alive(self) -> bool:
        """True while its heartbeats come in."""
        return self.boot_id != 0

    @property
    def beats(self) -> bool:
        """True if both nodes hear each other on the peer link, as far as is known."""
        bit = 1 << PEER_LINK
        return bool(self.links & bit) and self.said is not None and bool(self.said.links & bit)

    @property
    def peer_link(self) -> bool:
        """True if the peer link carries heartbeats both ways, and to that node what is mirrored."""
        return self.beats and self.said is not None and self.said.mirror

    def idle(self) -> bool:
        """True if it is a backup without a pairing, whose server is healthy."""
        said = self.said
        if said is None or said.role is not Role.BACKUP or said.mode is not Mode.IDLE:
            return False
        return said.healthy and said.session == 0

    def waits(self) -> bool:
        """True if it is a backup that could be paired with."""
        return self.idle() and self.peer_link

    def follows(self, session: int) -> bool:
        """True if it follows this pairing as backup."""
        said = self.said
        return said is not None and said.role is Role.BACKUP and session != 0 and said.session == session

    def hear(self, body: Body, links_of: Callable[[int], int]) -> None:
        """It says this now. ``links_of``: see ``Settings``."""
        self.said, self.told_links = body, body.links
        self.place(links_of)
        if len(body.terms) > Term.ARBITER:
            self.arbiter = body.terms[Term.ARBITER]

    def place(self, links_of: Callable[[int], int]) -> None:
        """This node may have another place by now: see what is said of that."""
        if self.said is not None:
            self.said = self.said._replace(links=links_of(self.told_links))

    def forget(self) -> None:
        """It is not heard any more."""
        if self.alive:
            self.last_boot, self.last_run = self.boot_id, self.said.run if self.said is not None else None
        self.boot_id, self.said, self.links, self.silent = 0, None, 0, False

    @property
    def goes_on(self) -> bool:
        """True if it was lost, and is heard again with the server that ran then."""
        run = self.said.run if self.said is not None else 0
        return run != 0 and (self.boot_id, run) == (self.last_boot, self.last_run)


class View:
    """Facts about this node and the others; no decisions."""

    def __init__(self, peers: tuple[str, ...], run: int) -> None:
        """``run``: that of the local server before anybody has looked."""
        self.healthy = False
        self.vouched = False
        """What the local server says is its own doing."""
        self.run = run
        """The start of the local server, by a number; 0 while it does not run."""
        self.served = False
        """It has had a client since it was started, or that is not known."""
        self.ready = True
        """The local server has what it needs to follow."""
        self.mirror = True
        """What the owner mirrors arrives here."""
        self.stopping = False
        self.carrier, self.bears = False, True
        """The service interface has a carrier; what else a service stands on in this host bears one."""
        self.carrier_since_ns: int | None = None
        """Since when both are so; None: they are not."""
        self.reference = True
        """False while the reference address does not answer; true as well when there is none."""
        self.peers = tuple(Peer(i, name) for i, name in enumerate(peers))

    def name_peers(self, names: tuple[str, ...], gone: frozenset[int]) -> None:
        """Other peers come behind those that there are; those whose numbers are in ``gone`` are gone."""
        new = tuple(Peer(i, name) for i, name in enumerate(names))[len(self.peers) :]
        self.peers += new
        for peer in self.peers:
            peer.gone = peer.index in gone

    def stand(self, carrier: bool, bears: bool, now_ns: int) -> None:
        """A node on whose ground no service stands is as one without a carrier."""
        self.carrier, self.bears = carrier, bears
        if (carrier and bears) != (self.carrier_since_ns is not None):
            self.carrier_since_ns = now_ns if carrier and bears else None

    def carrier_for_ns(self, now_ns: int) -> int | None:
        """How long the service interface has had a carrier, on ground that bears; None without one."""
        return None if self.carrier_since_ns is None else max(0, now_ns - self.carrier_since_ns)

    def follower(self, fit: Callable[[Peer], bool] = lambda peer: True) -> Peer | None:
        """Return the peer to pair with: of those that wait and are ``fit``, the first in line."""
        waiting = [peer for peer in self.peers if peer.waits() and fit(peer)]
        return min(waiting, key=lambda peer: (peer.declined_ns, *_rank(peer)), default=None)

    @property
    def named(self) -> tuple[Peer, ...]:
        """Those that the file names."""
        return tuple(peer for peer in self.peers if not peer.gone)

    @property
    def absent(self) -> bool:
        """True while a node is not heard that the file names."""
        return any(not peer.alive for peer in self.named)

    def complete(self) -> bool:
        """True if every node that is heard has found its owner: none before the others in line is to come."""
        heard = [peer.said for peer in self.peers if peer.alive]
        return all(said is not None and said.role is Role.BACKUP for said in heard)

    def successor(self) -> Peer | None:
        """Return the peer that could serve, without the flows, over whatever link it is heard: the first in
        line."""
        able = [peer for peer in self.peers if peer.idle() and peer.said is not None and peer.said.able]
        return min(able, key=_rank, default=None)

    def owner(self) -> Peer | None:
        """Return the peer that says that it is primary; the newest epoch counts."""
        primaries = [p for p in self.peers if p.said is not None and p.said.role is Role.PRIMARY]
        return max(primaries, key=lambda p: p.said.epoch if p.said else 0, default=None)


def _rank(peer: Peer) -> tuple[bool, int, str]:
    """Order peers: whom the arbiter hears, priority, name."""
    assert peer.said is not None
    return (peer.said.barred, -peer.said.priority, peer.name)
