"""The words of the role machine: roles, modes, leases, causes, and what one node tells its peer.

Times are nanoseconds of a monotonic clock and are passed in; this package never reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from fttcp import _numbers
from fttcp.ownership.members import MOST_NODES, Members
from fttcp.ownership.versions import Versions

NS_PER_MS = 1_000_000
PEER_LINK = 0
"""Index of the link that carries the mirror and the commit channel."""


class Role(StrEnum):
    """What a node is for a group, as published to the peer."""

    STARTING = "starting"
    BACKUP = "backup"
    PRIMARY = "primary"


class Mode(StrEnum):
    """How a node fills its role, as published to the peer."""

    IDLE = "idle"
    PAIRING = "pairing"
    """Primary: offers a session while still solo. Backup: follows it, not yet confirmed."""
    PAIRED = "paired"
    UNPAIRING = "unpairing"
    """Primary that waits, under the backup's grants, until the backup has dropped its flows."""
    SOLO = "solo"
    HANDOVER = "handover"
    """The gate is shut; the peer may take the role over."""
    SILENT = "silent"
    """Primary whose lease lapsed: listens before it emits again."""


class Phase(StrEnum):
    """The states of the role machine (finer than role and mode)."""

    LISTENING = "listening"
    JOINING = "joining"
    FOLLOWING = "following"
    PROMOTING = "promoting"
    """Owner of a cold group whose server starts: not a word to clients yet."""
    SOLO = "solo"
    PAIRING = "pairing"
    PAIRED = "paired"
    UNPAIRING = "unpairing"
    HANDOVER = "handover"
    SILENT = "silent"
    STOPPED = "stopped"
    FENCED = "fenced"


OWNING_PHASES = frozenset({Phase.PROMOTING, Phase.SOLO, Phase.PAIRING})
"""Phases with a lease of the node's own; everywhere else emission needs the peer's grant, or is off."""
PRIMARY_PHASES = OWNING_PHASES | {Phase.PAIRED, Phase.UNPAIRING, Phase.HANDOVER, Phase.SILENT}
OWNING_MODES = frozenset({Mode.SOLO, Mode.PAIRING})

EngineMode = _numbers.Mode
HistoryFailure = _numbers.HistoryFailure

Lease = _numbers.LeasePolicy
"""Where the right to emit comes from."""


class Cause(StrEnum):
    """Why a role changes hands."""

    START = "start"
    PEER_LOST = "peer-lost"
    SWITCHOVER = "switchover"
    SERVER_DIED = "server-died"
    SERVER_HUNG = "server-hung"
    LINK_LOST = "link-lost"
    PROBE_FAILED = "probe-failed"
    RESOURCES_EXHAUSTED = "resources-exhausted"
    REFERENCE_LOST = "reference-lost"
    NO_UNITS = "no-units"
    """More important groups need the units of the primary's host."""
    STOP = "stop"
    FAILOVER = "failover"
    """An operator let the backup take over without the primary's consent."""
    OTHER = "other"
    """One that another release has, and this one does not know."""


class Refusal(StrEnum):
    """Why a switchover or a failover cannot be done now; GROUP stands for the group's name."""

    NOT_PAIRED = "the pair is not in step: there is no backup that holds the connections"
    PEER_UNABLE = "the peer cannot take over: its server is not healthy, or its service link is not (yet) up"
    SELF_UNABLE = "this node cannot take over: its server is not healthy, or its service link is not (yet) up"
    IS_SPARE = "this node is a spare: ask the primary, or the backup that is in step with it"
    STOPPING = "the daemon is stopping"
    RENEWING = "the backup has not caught up with all connections: try again, or go ahead with --force"
    PAUSED = "the group is paused (maintenance): roles stay where they are until `fttcp resume GROUP`"
    IS_PRIMARY = "this node is the primary: ask the backup, or exchange the roles by a switchover"
    PRIMARY_ALONE = (
        "the primary serves alone, under a lease of its own: nobody can take it away while it holds"
    )


class Body(NamedTuple):
    """What a node tells its peer in every heartbeat: its state, never a message that could be lost. Each step
    of the role machine makes one: a tuple is made and compared in a tenth of a frozen dataclass's time.

    ``session`` is non-zero only while the node offers, follows or keeps a pairing. ``links`` has eight
    bits for each node, by places: the links on which the sender hears that one. ``request``
    is a number that a backup draws to ask for a switchover. ``offer`` is the number of the role's offer
    that a sender in mode handover makes, ``offered_to`` the boot of the node that it is made to: a recorded
    one means nothing to any other boot. ``refused`` is the number of an offer that the sender declined.
    ``lease_ns`` is the lease D that the sender counts with; all nodes must count with the same.
    ``maintenance`` counts pauses and resumes of the group: odd while it is paused. All nodes go by the
    highest that they have seen.
    ``reference`` is false while the sender cannot reach the reference address that it was given.
    ``partner`` is the node with which the session is. ``yields``: the sender grants its peer the right
    to emit, whatever the arbiter says (only where there are two nodes). ``seeking``: the sender wants
    the group. ``barred``: it cannot have it from the arbiter now. ``used`` is the highest epoch
    that any node may have used, as far as the sender knows. ``run`` numbers the start of the sender's
    server, 0 while it does not run; ``ready``: that server has what it needs to follow; ``served``: it has
    had a client, or that is not known (told where ``Settings.memory``). ``terms``: digests of what all nodes
    should have alike, in the order of ``terms.Term``. ``mirror`` is false while the sender, which waits or
    follows, does not get what the owner mirrors, or does not know yet that it does.
    ``speaks``: in which versions its engine can speak with another one. ``checkpoint``: the last complete
    one of a warm group that the sender serves, "0" before the first; "": it does not serve.
    """

    group: str
    name: str
    role: Role
    mode: Mode
    epoch: int
    session: int
    healthy: bool
    carrier: bool
    priority: int
    links: int
    request: int = 0
    refused: int = 0
    reason: Cause = Cause.START
    lease_ns: int = 0
    maintenance: int = 0
    reference: bool = True
    partner: str = ""
    offer: int = 0
    yields: bool = False
    seeking: bool = False
    barred: bool = False
    used: int = 0
    offered_to: int = 0
    run: int = 0
    ready: bool = True
    served: bool = False
    terms: tuple[int, ...] = ()
    mirror: bool = True
    speaks: Versions = (0, 0)
    checkpoint: str = ""

    @property
    def able(self) -> bool:
        """True if the sender's server is healthy and its service link is up."""
        return self.healthy and self.carrier


@dataclass(frozen=True, slots=True)
class Settings:
    """What the machine of one group knows from the start. Durations in nanoseconds.

    ``peers``: names of the other nodes, in the order in which events number them; the file does not name
    those whose numbers are ``gone`` any more. ``members``: the arbiter's record of all nodes, as far as it is
    known; None: there is none, and the nodes are this one and its peers, in the order of names.
    ``solo_lease_ns``: how long the arbiter leaves the group to a solo holder that does not renew; 0 without
    an arbiter (none).
    ``stored_epoch``: the epochs up to this one may have been used by an earlier life of this node.
    ``boot_id``: names this life of the node, as its heartbeats do. ``memory``: a server keeps in memory what
    it was told, so none may follow that has not been there from the beginning; ``watched``: somebody else
    runs it, or it is several processes, so what it was told before is not known. ``terms``: as in ``Body``.
    ``cold``: a node that does not serve runs no server; it is started when the node is to serve, and if it is
    ``exclusive`` when that of no other node that is heard runs any more.
    ``mirror_tested``: nobody follows before it is known that what is mirrored arrives.
    ``speaks``: as in ``Body``. ``handover_wait_ns``: how long a planned act waits for a renewal.
    ``checkpoint_every_ns``: from the end of one checkpoint to the next; 0: the group is not warm.
    ``saves_workers``: the other node is to carry on what a worker that was killed has lost.
    """

    group: str
    name: str
    peers: tuple[str, ...]
    priority: int
    lease_ns: int
    drift_ppm: int
    startup_wait_ns: int
    solo_lease_ns: int = 0
    stored_epoch: int = 0
    boot_id: int = 0
    memory: bool = False
    watched: bool = False
    terms: tuple[int, ...] = ()
    mirror_tested: bool = False
    speaks: Versions = (0, 0)
    cold: bool = False
    exclusive: bool = False
    handover_wait_ns: int = 5_000 * NS_PER_MS
    checkpoint_every_ns: int = 0
    saves_workers: bool = False
    members: Members | None = None
    gone: frozenset[int] = frozenset()

    @property
    def arbitrated(self) -> bool:
        """True if an arbiter keeps the record, so that nobody else can own the group meanwhile."""
        return self.solo_lease_ns > 0

    @property
    def pair(self) -> bool:
        """True if there are two nodes, and the arbiter lets no third one in without their word: what one of
        them grants, all others grant."""
        named = {name for number, name in enumerate(self.peers) if number not in self.gone}
        if len(named) != 1:
            return False
        return self.members is None or self.members.leaves_to(self.name) == named

    @property
    def patience_ns(self) -> int:
        """Silence after which a grant given to the peer is void for certain: D * (1 + drift)."""
        return self.lease_ns + self.lease_ns * self.drift_ppm // 1_000_000

    @property
    def pulse_ns(self) -> int:
        """Between two steps of a machine at most: by a longer gap it notices that the node was halted."""
        return self.lease_ns // 3

    @property
    def settle_ns(self) -> int:
        """How long a node listens, with working links, to be sure to have heard a living peer."""
        return 2 * self.lease_ns

    @property
    def ask_ahead_ns(self) -> int:
        """How long before the end of its grants a primary asks the arbiter for the group alone."""
        return self.lease_ns // 3

    @property
    def retry_ns(self) -> int:
        """Time between two requests to an arbiter that does not answer, or refuses."""
        return self.lease_ns

    @property
    def watch_ns(self) -> int:
        """Time between two looks at the record of a pair of others, for its end."""
        return max(self.retry_ns, self.solo_lease_ns // 4)

    def discounted_ns(self, sent_ns: int, until_ns: int) -> int:
        """Return when a lease counted from ``sent_ns`` ends on a clock that may be slow."""
        return until_ns - (until_ns - sent_ns) * self.drift_ppm // 1_000_000

    def next_epoch(self, seen: int) -> int:
        """Return this node's smallest epoch above every epoch seen: no two nodes ever make the same."""
        place, places = self._places()
        return seen + 1 + (place - seen) % places

    def links_of(self, links: int) -> int:
        """Return the bits of ``Body.links`` that are about this node: none while it has no place."""
        place = self.place_of(self.name)
        return 0 if place is None else links >> 8 * place & 0xFF

    @property
    def member(self) -> bool:
        """True if this node may own the group, as far as the record of the nodes says. What has no place
        there has no epochs."""
        return self.members is None or (self.members.version > 0 and not self.members.refusal(self.name))

    def place_of(self, name: str) -> int | None:
        """Return the place of a node; None: it has none, as far as is known."""
        if self.members is not None:
            return self.members.place(name)
        return sorted((self.name, *self.peers)).index(name)

    def _places(self) -> tuple[int, int]:
        """Return this node's place, and how many there are. (Without one it is 0, and not used.)"""
        count = len(self.peers) + 1 if self.members is None else MOST_NODES
        return self.place_of(self.name) or 0, count

    def made_here(self, epoch: int) -> bool:
        """True if ``epoch`` is one of those that only this node makes."""
        return self.next_epoch(epoch - 1) == epoch


class Unfit(StrEnum):
    """Why a node that waits is not made the backup."""

    NOT_READY = "not-ready"
    """Its server lacks what it needs to follow (the hook ready_to_follow)."""
    YOUNGER = "younger"
    """Its server lacks, or has more than, what this one has in memory: clients have come in between."""
    NO_MEMBER = "no-member"
    """It may own nothing: the arbiter's record of the nodes does not have it, or not yet."""
    DIFFERS = "differs"
    """It has other settings, and as a pair the two would break a promise."""
    RELEASE = "release"
    """There is no version in which both engines can speak."""


class InvariantBroken(Exception):
    """The machine reached a state that must not exist; the node is fenced."""
