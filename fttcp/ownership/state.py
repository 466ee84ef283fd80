"""The role machine's state: what it is, what it told the engine and the peers, what it promised.

The machine keeps in mind what it told the engine (mode, lease, grants), so that the invariants of
its own orders can be checked after every step.
"""

from __future__ import annotations

from fttcp.ownership import commands as do
from fttcp.ownership import phases
from fttcp.ownership.arbitration import Arbitration
from fttcp.ownership.checkpoints import Checkpoints
from fttcp.ownership.mirror import MirrorWatch
from fttcp.ownership.model import (
    OWNING_MODES,
    OWNING_PHASES,
    PRIMARY_PHASES,
    Body,
    Cause,
    EngineMode,
    InvariantBroken,
    Lease,
    Mode,
    Phase,
    Role,
    Settings,
)
from fttcp.ownership.moment import Moment
from fttcp.ownership.promises import Promises
from fttcp.ownership.view import Peer, View

_MODES = {
    Phase.FOLLOWING: Mode.PAIRING,
    Phase.PROMOTING: Mode.SOLO,
    Phase.SOLO: Mode.SOLO,
    Phase.PAIRING: Mode.PAIRING,
    Phase.PAIRED: Mode.PAIRED,
    Phase.UNPAIRING: Mode.UNPAIRING,
    Phase.HANDOVER: Mode.HANDOVER,
    Phase.SILENT: Mode.SILENT,
    Phase.STOPPED: Mode.HANDOVER,
}
_SESSION_PHASES = frozenset({Phase.FOLLOWING, Phase.PAIRING, Phase.PAIRED, Phase.UNPAIRING, Phase.HANDOVER})
_EPOCHS_AHEAD = 32
"""So many epochs are stored as used before they are: a takeover then waits for no disk."""


class State:
    """State of the machine; what changes it is in actions.py."""

    def __init__(self, settings: Settings, now_ns: int) -> None:
        """Start in phase listening at ``now_ns``."""
        self.settings = settings
        self.view = View(settings.peers, run=int(settings.exclusive))
        self.arbitration = Arbitration(settings)
        self.view.mirror, self.view.served = not settings.mirror_tested, settings.watched
        self.phase = Phase.LISTENING
        self.since_ns = now_ns
        self.epoch = 0
        self.session = 0
        """The pairing offered, followed or kept; 0 without one."""
        self.partner: Peer | None = None
        """With whom the session is, or was last."""
        self.mirrored = 0
        """Index of the peer that clients' packets are mirrored to while this node serves."""
        self.confirmed = False
        """Backup: the primary said that it depends on our grants for this session."""
        self._left = 0
        """The pairing that this node left a moment ago; its primary may not know yet."""
        self._out: list[do.Command] = []
        self._stepped_ns = now_ns
        self._leased_ns = now_ns
        self._gap_ns = 0
        self._alert_until_ns = self._quiet_until_ns = 0
        self._doubt = False
        self._lapsed = False
        """The lease ran out since this node last got the right to emit: somebody else may have served."""
        self._grants_end_ns: int | None = None
        self._grants_low = False
        """When the grants were last looked at, it was time to ask the arbiter before they end."""
        self._peer_boot = 0
        self._seen = 0
        """The highest epoch that a record or a peer acts under."""
        self._used = settings.stored_epoch
        """The highest epoch that any node may have used, as far as this one knows."""
        self._stored = settings.stored_epoch
        self._storing = settings.stored_epoch
        self._numbers = 0
        self._engine = EngineMode.IDLE
        self._engine_session = 0
        self._engine_peer = 0
        self._lease = Lease.NONE
        self._limit_ns: int | None = None
        self._published: tuple[Body, int] | None = None
        self.promises = Promises(settings.patience_ns)
        self._orphaned_ns: int | None = None
        self._claimed_ns: int | None = None
        self._seeking = False
        self._offer = 0
        self._refused = 0
        self._request = 0
        self._request_seen = 0
        self._switch_wanted = self._switch_forced = self._switch_now = False
        self.checkpoints = Checkpoints(settings.checkpoint_every_ns)
        self.moment = Moment()
        self.mirror = MirrorWatch()
        self._watched = False
        """The engine looks at the server, and holds what its children say after its death."""
        self._reason = Cause.START
        self._server_cause = Cause.SERVER_DIED
        self._claim_cause = Cause.START
        self._forced = False
        """Backup: an operator wants it to take over as soon as its grants are void."""
        self._serves = not settings.cold
        """The server runs, or may be started at any time: a cold one from a promotion to the next end."""
        self._woken = False
        """Of a promotion: the server was told to start."""
        self._taking: tuple[Cause, int, int] = (Cause.START, 0, 0)
        """Of a promotion: what ``NoteTakeover`` is to tell."""
        self.maintenance = 0

    # ------------------------------------------------------------------ what is published

    @property
    def role(self) -> Role:
        """The role as published."""
        if self.phase in PRIMARY_PHASES:
            return Role.PRIMARY
        return Role.BACKUP if self.phase in (Phase.JOINING, Phase.FOLLOWING) else Role.STARTING

    @property
    def mode(self) -> Mode:
        """The mode as published."""
        if self.phase is Phase.LISTENING:
            return Mode.HANDOVER if self._offer else Mode.IDLE
        if self.phase is Phase.FOLLOWING and self.confirmed:
            return Mode.PAIRED
        return _MODES.get(self.phase, Mode.IDLE)

    @property
    def reason(self) -> Cause:
        """Why this node has the role or gave it up; when another node took it, that node's reason."""
        owner = self.view.owner() if self.role is not Role.PRIMARY else None
        return owner.said.reason if owner is not None and owner.said is not None else self._reason

    @property
    def in_step(self) -> bool:
        """True while both nodes hold the protected flows: the other one is heard, in the same session."""
        said = self.partner.said if self.partner is not None else None
        paired = self.phase is Phase.PAIRED or (self.phase is Phase.FOLLOWING and self.confirmed)
        return paired and said is not None and said.session == self.session

    @property
    def watches_lease(self) -> bool:
        """True while it matters how much of the grants is left, which the engine alone knows."""
        return self.settings.arbitrated and self.phase is Phase.PAIRED

    @property
    def awaits_mirror(self) -> bool:
        """True while this node should get what an owner mirrors. A spare's owner mirrors to another one."""
        waits = self.phase is Phase.JOINING and len(self.settings.peers) == 1
        return waits or self.phase is Phase.FOLLOWING

    @property
    def probed(self) -> Peer | None:
        """To whom this node sends probes of the mirror: the one that it mirrors to, if it serves."""
        peer = self.view.peers[self.mirrored]
        return peer if self.role is Role.PRIMARY and peer.alive else None

    @property
    def spare(self) -> bool:
        """True while this node waits beside an owner that is paired, or about to be, with another one."""
        owner = self.view.owner()
        said = owner.said if owner is not None else None
        return (
            self.phase is Phase.JOINING and said is not None and said.partner not in ("", self.settings.name)
        )

    @property
    def paused(self) -> bool:
        """True during maintenance: no node takes the group over, and the primary does not hand it over."""
        return self.maintenance % 2 == 1

    @property
    def switchover_wanted(self) -> bool:
        """True while this primary is to leave the service to its backup, as somebody wants."""
        return self._switch_wanted

    @property
    def failover_wanted(self) -> bool:
        """True while this backup is about to take over without the primary's consent."""
        return self._forced

    @property
    def hurries(self) -> bool:
        """True while clients wait for what this node decides next, or are about to: of a pair in step the
        other node is silent, or the arbiter's answer says who serves."""
        partner = self.partner
        if self.phase not in (Phase.FOLLOWING, Phase.PAIRED) or partner is None:
            return False
        quiet = partner.silent or not partner.alive or self._stepped_ns < self._quiet_until_ns
        return quiet or self.arbitration.goal is not None

    @property
    def awaits_epoch(self) -> bool:
        """True while no epoch is stored under which this node could own the group."""
        return self._epoch_at_hand() is None

    @property
    def granting(self) -> bool:
        """True while this node promises a peer not to take over within D of each heartbeat."""
        return self.grantee() is not None

    def grantee(self) -> Peer | None:
        """Return the peer to which this node grants the right to emit."""
        peer = self._willing()
        if self.phase is Phase.JOINING and peer is not None and peer.said is not None:
            said = peer.said
            alone = said.mode in OWNING_MODES  # else it may take us for a backup of which we know nothing
            left = said.mode in (Mode.PAIRED, Mode.UNPAIRING) and said.session == self._left
            return peer if alone or left else None
        return peer

    def _willing(self) -> Peer | None:
        """Return the peer to which this node would leave the right to emit."""
        partner = self.partner
        if self.arbitration.goal is not None or partner is None or not partner.alive or partner.silent:
            partner = None
        if self.phase is Phase.FOLLOWING:
            return partner if partner and self._orphaned_ns is None and self._harmless(partner) else None
        return self._yields_to() if self.settings.pair and self.settings.arbitrated else None

    def _harmless(self, owner: Peer) -> bool:
        """True unless that owner was replaced, as the arbiter says, or may be by a proposal of this node.

        A third node could serve then, or soon, while the old owner emits under the grants of this one.
        """
        if self.settings.pair or not self.settings.arbitrated:
            return True
        return not self.arbitration.replaces(owner.name, owner.said.epoch if owner.said is not None else 0)

    def _yields_to(self) -> Peer | None:
        """Of two nodes: return the other one if this one leaves the group to it, arbiter or not."""
        peer = self.view.peers[0]
        said = peer.said
        if said is None or peer.silent or self.arbitration.goal is not None:
            return None
        if self.phase is Phase.HANDOVER:
            return peer
        if self.phase is Phase.JOINING:
            outdated = said.epoch < self.epoch  # it was replaced and does not know
            serving = said.role is Role.PRIMARY and said.mode is not Mode.HANDOVER
            return peer if serving and not outdated else None
        if self.phase is Phase.LISTENING and said.role is Role.STARTING:
            return peer if said.seeking and not self._seeking else None
        return None

    def body(self, now_ns: int) -> Body:
        """Return what this node tells its peers at ``now_ns``."""
        settings, view, arbitration = self.settings, self.view, self.arbitration
        session = self.session if self.phase in _SESSION_PHASES else 0
        with_partner = session != 0 or self.phase is Phase.HANDOVER
        return Body(
            group=settings.group,
            name=settings.name,
            role=self.role,
            mode=self.mode,
            epoch=self.epoch,
            session=session,
            healthy=view.healthy and not view.stopping,
            carrier=self._carrier_settled(now_ns),
            priority=settings.priority,
            links=self._links(),
            request=self._request,
            refused=self._refused,
            reason=self._reason,
            lease_ns=settings.lease_ns,
            maintenance=self.maintenance,
            reference=view.reference,
            partner=self.partner.name if with_partner and self.partner is not None else "",
            offer=self._offer,
            yields=self._willing() is not None,
            used=max(self._seen, self._used),
            run=view.run,
            ready=view.ready,
            served=view.served,
            offered_to=(self.partner or view.peers[0]).boot_id if self._offer else 0,
            seeking=self._seeking,
            barred=settings.arbitrated and (arbitration.barred(now_ns) or not settings.member),
            terms=settings.terms,
            mirror=view.mirror or self.phase in PRIMARY_PHASES,
            speaks=settings.speaks,
            checkpoint=self.checkpoints.told,
        )

    def _links(self) -> int:
        """Return eight bits for each node, by places: the links on which it is heard."""
        places = ((peer, self.settings.place_of(peer.name)) for peer in self.view.named)
        return sum(peer.links << 8 * place for peer, place in places if place is not None)

    def _publish(self, now_ns: int) -> None:
        """Publish the body if it, or a grant, changed.

        A lease of its own is told before it is used, everything else after it was done: a daemon that stands
        still between two orders is never taken for one that leaves the group to others while it emits.
        """
        grantee = self.grantee()
        granted = 0 if grantee is None else 1 << grantee.index
        state = (self.body(now_ns), granted)
        if state != self._published:
            self._published = state
            emits = any(isinstance(order, do.SetLease) and order.policy is Lease.SELF for order in self._out)
            self._out.insert(0 if emits else len(self._out), do.Publish(*state))
        self.promises.give(granted)

    # ------------------------------------------------------------------ questions

    def _waited(self, now_ns: int) -> bool:
        """True if the phase has lasted for as long as a starting node waits for the others."""
        return now_ns >= self.since_ns + self.settings.startup_wait_ns

    def _carrier_settled(self, now_ns: int) -> bool:
        up_ns = self.view.carrier_for_ns(now_ns)
        return up_ns is not None and up_ns >= self.settings.settle_ns

    def _fit(self, now_ns: int) -> bool:
        """True if the service link is up and, where no arbiter knows better, all knowledge is fresh."""
        return self._carrier_settled(now_ns) and (self.settings.arbitrated or now_ns >= self._alert_until_ns)

    def _hears_soon(self, now_ns: int) -> bool:
        """True while a node that stood still, and has no arbiter to ask, may not have heard yet that its
        partner did, too: then nobody has served meanwhile, and the pairing goes on. Until it hears so a
        primary's grants are void, and a backup takes nothing."""
        return not self.settings.arbitrated and now_ns < self._alert_until_ns

    def _able(self, now_ns: int) -> bool:
        """True if this node could serve now, and no maintenance forbids it: during maintenance only a node
        that has just started may become the owner."""
        first = self.phase is Phase.LISTENING and self._claim_cause is Cause.START
        if self.paused and not first:
            return False
        return self.view.healthy and self._fit(now_ns)

    def _consents(self, peer: Peer | None) -> bool:
        """True if the arbiter gives no group now, but the only other node leaves it to this one."""
        if not self.settings.pair or not self.settings.arbitrated or peer is None or peer.said is None:
            return False
        return peer.said.yields and self.arbitration.stuck and self._epoch_at_hand() is not None

    # ------------------------------------------------------------------ epochs

    def _epoch_at_hand(self) -> int | None:
        """Return the next epoch of this node; None while it is not stored as used, or there is none."""
        if not self.settings.member:
            return None
        epoch = self.settings.next_epoch(max(self._seen, self._used, self.epoch))
        return epoch if epoch <= self._stored else None

    def _draw_epoch(self) -> int | None:
        """Return a new epoch and count it as seen; None while none is stored as used."""
        epoch = self._epoch_at_hand()
        if epoch is not None:
            self._seen = epoch
        return epoch

    def _store_epochs(self) -> None:
        """Have the next epochs stored as used before they are needed."""
        used = max(self._seen, self._used)
        if used + _EPOCHS_AHEAD // 2 > self._storing:
            self._storing = used + _EPOCHS_AHEAD
            self._out.append(do.StoreEpoch(self._storing))

    # ------------------------------------------------------------------ orders

    def _set_lease(self, policy: Lease, now_ns: int, limit_ns: int | None = None) -> None:
        """Order a lease; NONE every time, since it voids the grants that came in since the last one."""
        if policy is Lease.NONE or (policy, limit_ns) != (self._lease, self._limit_ns):
            self._lease, self._limit_ns, self._leased_ns = policy, limit_ns, now_ns
            self._out.append(do.SetLease(policy, limit_ns, now_ns))

    def _set_mode(self, mode: EngineMode, session: int) -> None:
        peer = self.partner.index if self.partner is not None else self._engine_peer
        if (mode, session, peer) != (self._engine, self._engine_session, self._engine_peer):
            self._engine, self._engine_session, self._engine_peer = mode, session, peer
            self._out.append(do.SetMode(mode, session, peer))

    def _vouch(self, alive: bool) -> None:
        if not (alive and self.view.vouched):
            self._watched, self.view.vouched = self._watched or alive, alive
            self._out.append(do.Vouch(alive))

    def _settle_last_words(self) -> None:
        """If nobody is about to take over, the server's children speak for themselves: they may serve on."""
        if self._watched and not self.view.vouched and self.phase is not Phase.HANDOVER:
            self._watched = False
            self._out.append(do.Unwatch())

    def _want_switch(self, can: bool, force: bool, now: bool) -> None:
        """A wish that can be carried out adds to one that waits; one that cannot leaves none."""
        if not can:
            self._want_no_switch()
            return
        self._switch_wanted = True
        self._switch_forced |= force
        self._switch_now |= now

    def _want_no_switch(self) -> None:
        self._switch_wanted = self._switch_forced = self._switch_now = False
        self.moment.forget()

    def _lead_mirror(self) -> None:
        """A primary mirrors to its partner: as soon as it offers a session, before anything depends on it."""
        partner = self.partner
        if partner is not None and self.role is Role.PRIMARY and partner.index != self.mirrored:
            self.mirrored = partner.index
            self._out.insert(0, do.MirrorTo(partner.index))

    def _enter(self, phase: Phase, now_ns: int) -> None:
        phases.check(self.phase, phase)
        self.phase, self.since_ns = phase, now_ns
        self.arbitration.forget_goal()
        self._claimed_ns, self._seeking = None, False
        if phase is Phase.JOINING:
            self.arbitration.barred_until_ns = 0  # it wants nothing any more
        if phase is not Phase.FOLLOWING:
            self.view.mirror = not self.settings.mirror_tested  # it is known anew when an owner has probed
            self.confirmed, self._orphaned_ns, self._request, self._forced = False, None, 0, False
        if phase is not Phase.PAIRED:
            self._want_no_switch()
            self._grants_low = False
            self._grants_end_ns = None
        if phase is not Phase.HANDOVER:
            self._offer = 0
        if phase is not Phase.JOINING:
            self._left = 0

    # ------------------------------------------------------------------ invariants

    def _key(self) -> tuple[object, ...]:
        """What must stand still for a step to be complete."""
        forced = self._orphaned_ns, self._forced
        return (self.phase, self.epoch, self.session, self._offer, self._refused, *forced)

    def _check(self) -> None:
        """Raise InvariantBroken if the orders given contradict the phase."""
        owning = self.phase in OWNING_PHASES
        granted = self.phase in (Phase.PAIRED, Phase.UNPAIRING)
        allowed = {Lease.GRANTED} if granted else {Lease.NONE}
        if owning:
            consented = self.settings.arbitrated or self.phase is Phase.PAIRING
            allowed = {Lease.SELF, Lease.GRANTED} if consented else {Lease.SELF}
        _require(self._lease in allowed, f"phase {self.phase} with lease {self._lease.name}")
        _require(not (self.promises.given and self._lease is not Lease.NONE), "a grant beside an own lease")
        following, promoting = self.phase is Phase.FOLLOWING, self.phase is Phase.PROMOTING
        wrong = f"phase {self.phase} with engine mode {self._engine.name}"
        _require(not owning or promoting or self._engine is EngineMode.SOLO, wrong)
        _require(not promoting or self._engine in (EngineMode.IDLE, EngineMode.BACKUP), wrong)
        _require(not granted or self._engine is EngineMode.PAIRED, wrong)
        _require(promoting or following == (self._engine is EngineMode.BACKUP), wrong)
        if following or granted:
            same = self.session != 0 and self.session == self._engine_session
            _require(same, f"session {self.session:#x}, engine has {self._engine_session:#x}")
        if owning:
            ours = not self.settings.member or self.settings.made_here(self.epoch)
            _require(ours, f"epoch {self.epoch} in phase {self.phase} was not made by this node")
            _require(self.epoch <= self._stored, f"epoch {self.epoch} was not stored before it was used")
        _require(self.epoch <= self._seen, f"epoch {self.epoch} above every epoch seen ({self._seen})")


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise InvariantBroken(broken)
