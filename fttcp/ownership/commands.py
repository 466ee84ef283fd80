"""What the role machine wants done, in order: frozen, imperative. Carry them out as they come."""

from __future__ import annotations

from dataclasses import dataclass, field

from fttcp.ownership.model import Body, Cause, EngineMode, Lease, Refusal
from fttcp.ownership.ownership import Record


@dataclass(frozen=True, slots=True)
class SetLease:
    """Change where the right to emit comes from; it ends at ``limit_ns`` at the latest (None: no limit).

    A lease of the node's own counts from ``decided_ns``: if the node was halted before this is carried out,
    it opens nothing that somebody else may own by now.
    """

    policy: Lease
    limit_ns: int | None = None
    decided_ns: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class SetMode:
    """Change the engine's mode; ``session`` names the pairing whose flows it continues, ``peer`` the
    partner."""

    mode: EngineMode
    session: int
    peer: int = 0


@dataclass(frozen=True, slots=True)
class Vouch:
    """Tell the engine whether ends of flows are the server's own doing or its death."""

    alive: bool


@dataclass(frozen=True, slots=True)
class Unwatch:
    """No takeover follows from the server's end: what its children still say is their own doing."""


@dataclass(frozen=True, slots=True)
class LookAtFlows:
    """Say how the connections are; answer with ``FlowsSeen``."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the service network where the service addresses are now."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Put the body into every heartbeat; ``grant_to`` has a bit for each peer to which this node promises
    not to take over within D of each beat."""

    body: Body
    grant_to: int = 0


@dataclass(frozen=True, slots=True)
class Propose:
    """Ask the arbiter to replace ``expected`` by ``wanted``; answer with ``ArbiterAnswered``."""

    request: int
    expected: Record | None
    wanted: Record


@dataclass(frozen=True, slots=True)
class RenewLease:
    """Ask the arbiter to extend the lease of this node's own solo record."""

    request: int
    record: Record


@dataclass(frozen=True, slots=True)
class Inquire:
    """Ask the arbiter which record stands."""

    request: int


@dataclass(frozen=True, slots=True)
class Anticipate:
    """A takeover may be near: let the arbiter find out beforehand what can be."""


@dataclass(frozen=True, slots=True)
class StoreEpoch:
    """Put on stable storage that epochs up to this one are used; answer with ``EpochStored``."""

    epoch: int


@dataclass(frozen=True, slots=True)
class NoteTakeover:
    """Note a takeover. ``zero_ns``: last sign of life of the old primary, or when the cause was noticed."""

    cause: Cause
    epoch: int
    zero_ns: int
    detected_ns: int


@dataclass(frozen=True, slots=True)
class MirrorTo:
    """Lead the mirror of what clients send to this peer from now on. Before the first time: to peer 0."""

    peer: int


@dataclass(frozen=True, slots=True)
class ShapeRoutes:
    """Give the service's routes the attributes of a backup (quick acknowledgements) or of a primary."""

    backup: bool


@dataclass(frozen=True, slots=True)
class RestartServer:
    """Start the server afresh, if it runs: the connections that it holds are continued nowhere. The machine
    counts it as down until ``ServerRecovered`` comes, at once if it is left as it is. A cold one: end it."""


@dataclass(frozen=True, slots=True)
class Promote:
    """Of a cold group: start the server, and have it told what clients have sent. ``Promoted`` follows.
    ``checkpoint``: one that a warm server is brought to first; ``lost``: it cannot be, none is known here."""

    checkpoint: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class MakeCheckpoint:
    """Of a warm group: have a checkpoint made, under this name; answer with ``CheckpointEnded``."""

    checkpoint: str


@dataclass(frozen=True, slots=True)
class EndCheckpoint:
    """The one that is being made is not wanted any more."""


@dataclass(frozen=True, slots=True)
class LetGoOlder:
    """Of a warm group: let go of all connections followed so far, what they have said is in a checkpoint."""


@dataclass(frozen=True, slots=True)
class KeepMaintenance:
    """Store the count of pauses and resumes, so that a restart knows it. Odd: the group is paused."""

    count: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the request that was just made with a refusal."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class Fence:
    """An invariant broke: close the engine of this group for good. ``why`` is a sentence for people."""

    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The role is given up: the group can be taken down."""


Command = (
    SetLease
    | SetMode
    | Vouch
    | Unwatch
    | LookAtFlows
    | Announce
    | Publish
    | Propose
    | RenewLease
    | Inquire
    | Anticipate
    | StoreEpoch
    | NoteTakeover
    | MirrorTo
    | ShapeRoutes
    | RestartServer
    | Promote
    | MakeCheckpoint
    | EndCheckpoint
    | LetGoOlder
    | KeepMaintenance
    | Refuse
    | Fence
    | Finish
)
