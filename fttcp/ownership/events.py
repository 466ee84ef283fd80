"""What happened, as told to the role machine: frozen, in the past tense."""

from __future__ import annotations

from dataclasses import dataclass

from fttcp.ownership.members import Members
from fttcp.ownership.model import Body, Cause, HistoryFailure
from fttcp.ownership.ownership import Outcome, Record


@dataclass(frozen=True, slots=True)
class Started:
    """The engine runs (mode idle, no lease)."""


@dataclass(frozen=True, slots=True)
class PeerHeard:
    """The first authentic heartbeat of a peer's boot, or the first after silence."""

    boot_id: int
    peer: int = 0


@dataclass(frozen=True, slots=True)
class PeerQuiet:
    """A peer is silent, and will soon be lost if that goes on."""

    peer: int = 0


@dataclass(frozen=True, slots=True)
class LossNoticed:
    """No heartbeat of a peer on any link for D * (1 + drift), as the beat thread found a moment ago.

    Its grant is withdrawn now. When that is carried out, ``PeerLost`` follows.
    """

    peer: int = 0


@dataclass(frozen=True, slots=True)
class PeerLost:
    """What came of a loss that was noticed: one heartbeat that came in meanwhile makes it void.

    ``silent_ns``: how long the silence was when the beat thread noticed it, ``lost_ns``: when that
    was, ``heard_ns``: when the last heartbeat came, read after the grant had been withdrawn.
    """

    silent_ns: int
    lost_ns: int
    heard_ns: int
    peer: int = 0


@dataclass(frozen=True, slots=True)
class PeerStated:
    """The peer published a new body."""

    body: Body
    peer: int = 0


@dataclass(frozen=True, slots=True)
class LinkFound:
    """Heartbeats come in on this link."""

    link: int
    peer: int = 0


@dataclass(frozen=True, slots=True)
class LinkLost:
    """Heartbeats stopped on this link."""

    link: int
    peer: int = 0


@dataclass(frozen=True, slots=True)
class LeaseLapsed:
    """Emission stopped at ``lapsed_ns`` because the lease ran out."""

    lapsed_ns: int


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """This much of the lease is left (engine's word); told before each deadline while ``watches_lease``."""

    left_ns: int


@dataclass(frozen=True, slots=True)
class ArbiterAnswered:
    """The arbiter answered a request, or did not (UNREACHABLE); fields as in ``ownership.Answer``."""

    request: int
    outcome: Outcome
    record: Record | None = None
    lease_until_ns: int | None = None
    wait_ns: int = 0


@dataclass(frozen=True, slots=True)
class EpochStored:
    """Epochs up to this one are on stable storage as used."""

    epoch: int


@dataclass(frozen=True, slots=True)
class ServerRecovered:
    """The local server is up and serves."""


@dataclass(frozen=True, slots=True)
class ServerFailed:
    """The local server does not serve (any more): it died, hangs, or fails a check. ``serves``: it is short
    of something, and serves all the same."""

    cause: Cause
    serves: bool = False


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A process that the local server had forked was killed, and the server lives on. ``ends_held``: so many
    connections end here for that, whose ends the engine holds, and live on the other node."""

    ends_held: int


@dataclass(frozen=True, slots=True)
class ServerKnown:
    """The local server was started (``run``: another number each time; 0: it does not run); ``ready``: it
    has what it needs to follow another node's."""

    run: int
    ready: bool


@dataclass(frozen=True, slots=True)
class ClientServed:
    """The local server has had its first client since it was started, in whatever role this node is."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """The server of a cold group is up, and stands where clients stand."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The server of a cold group that was to be promoted did not come up in time."""


@dataclass(frozen=True, slots=True)
class CheckpointEnded:
    """A checkpoint is complete, and no word about an older connection can be under way; or it is not
    ``made``."""

    checkpoint: str
    made: bool


@dataclass(frozen=True, slots=True)
class ProbesSent:
    """An owner tells that it has sent the probes of this number (0: it sends none) the way of what it
    mirrors; ``targets`` has a bit for each that it sends one to."""

    number: int
    targets: int


@dataclass(frozen=True, slots=True)
class ProbeSeen:
    """A probe came in."""

    number: int
    target: int


@dataclass(frozen=True, slots=True)
class CarrierChanged:
    """The service interface gained or lost its carrier."""

    up: bool


@dataclass(frozen=True, slots=True)
class GroundChanged:
    """What a service stands on in this host (addresses, routes, interfaces) began or ceased to bear one."""

    bears: bool


@dataclass(frozen=True, slots=True)
class ReferenceChanged:
    """The reference address in the service network began or ceased to answer this node."""

    reachable: bool


@dataclass(frozen=True, slots=True)
class SwitchoverRequested:
    """The roles are to be exchanged; ``nonce`` is non-zero and new for each request. ``force``: whatever that
    ends; ``now``: it waits for no renewal, nor for anything else."""

    nonce: int
    force: bool = False
    now: bool = False


@dataclass(frozen=True, slots=True)
class FlowsSeen:
    """How the connections of this primary are, as ``LookAtFlows`` asked.

    ``catching``: so many the backup still catches up with, and they would be reset; ``progress``: a number
    that changes whenever it gets on; ``unverified``: protected ones of which both servers have not said the
    same yet; ``failed``: so many were not renewed although that was tried, ever.
    """

    catching: int = 0
    progress: int = 0
    unverified: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class HistoryFailed:
    """The primary's history could not be played to the server of this backup."""

    how: HistoryFailure


@dataclass(frozen=True, slots=True)
class FailoverRequested:
    """An operator wants this backup to take over, whatever the primary says; ``nonce``: see switchover."""

    nonce: int


@dataclass(frozen=True, slots=True)
class MaintenanceChanged:
    """An operator paused or resumed the group here, or it was so when the daemon ended. ``count`` is odd
    while the group is paused; one that is not above the present one is without effect."""

    count: int


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """The configuration has changed; fields as in ``Settings``. What all nodes must agree in cannot."""

    priority: int
    startup_wait_ns: int
    handover_wait_ns: int
    terms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MembersKnown:
    """The arbiter's record of the cluster's nodes is this."""

    members: Members


@dataclass(frozen=True, slots=True)
class PeersNamed:
    """The file names other nodes: ``peers`` are those that there were, and new ones behind them; ``gone``:
    numbers of those that it does not name any more. None of these has the group, or is its backup."""

    peers: tuple[str, ...]
    gone: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The daemon is to stop: hand over if that is possible, then finish."""


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """The time that ``PairMachine.deadline_ns`` named has come."""


Event = (
    Started
    | PeerHeard
    | PeerQuiet
    | LossNoticed
    | PeerLost
    | PeerStated
    | LinkFound
    | LinkLost
    | LeaseLapsed
    | LeaseSeen
    | ArbiterAnswered
    | EpochStored
    | ServerRecovered
    | ServerFailed
    | WorkerDied
    | ServerKnown
    | ClientServed
    | Promoted
    | StartFailed
    | CheckpointEnded
    | ProbesSent
    | ProbeSeen
    | CarrierChanged
    | GroundChanged
    | ReferenceChanged
    | SwitchoverRequested
    | FlowsSeen
    | HistoryFailed
    | FailoverRequested
    | MaintenanceChanged
    | Reconfigured
    | MembersKnown
    | PeersNamed
    | StopRequested
    | DeadlineReached
)
