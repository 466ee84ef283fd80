"""What the role machine can do: each action changes its state and the commands that follow from it.

The machine keeps in mind what it told the engine (mode, lease, grant), so that the invariants of
its own orders can be checked after every step.
"""

from __future__ import annotations

from fttcp.core import commands as do
from fttcp.core.arbitration import Arbiter, Claim
from fttcp.core.model import (
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
from fttcp.core.view import View

_MODES = {
    Phase.FOLLOWING: Mode.PAIRING,
    Phase.SOLO: Mode.SOLO,
    Phase.PAIRING: Mode.PAIRING,
    Phase.PAIRED: Mode.PAIRED,
    Phase.UNPAIRING: Mode.UNPAIRING,
    Phase.HANDOVER: Mode.HANDOVER,
    Phase.SILENT: Mode.SILENT,
    Phase.STOPPED: Mode.HANDOVER,
}
_SESSION_PHASES = frozenset({Phase.FOLLOWING, Phase.PAIRING, Phase.PAIRED, Phase.UNPAIRING, Phase.HANDOVER})


class Actions:
    """State of the machine and the steps it can take; the rules that choose them are in pair.py."""

    def __init__(self, settings: Settings, arbiter: Arbiter, now_ns: int) -> None:
        """Start in phase listening at ``now_ns``."""
        self.settings = settings
        self.view = View()
        self.phase = Phase.LISTENING
        self.since_ns = now_ns
        self.epoch = 0
        self.session = 0
        """The pairing offered, followed or kept; 0 without one."""
        self.confirmed = False
        """Backup: the primary said that it depends on our grants for this session."""
        self._arbiter = arbiter
        self._out: list[do.Command] = []
        self._stepped_ns = now_ns
        self._leased_ns = now_ns
        self._gap_ns = 0
        self._alert_until_ns = 0
        self._doubt = False
        self._peer_boot = 0
        self._seen = 0
        self._sessions = 0
        self._engine = EngineMode.IDLE
        self._engine_session = 0
        self._lease = Lease.NONE
        self._published: tuple[Body, bool] | None = None
        self._orphaned_ns: int | None = None
        self._offered = 0
        self._refused = 0
        self._request = 0
        self._request_seen = 0
        self._switch_wanted = False
        self._reason = Cause.START
        self._server_cause = Cause.SERVER_DIED
        self._claim_cause = Cause.START
        self._forced = False
        """Backup: an operator wants it to take over as soon as its grants are void."""
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
            return Mode.HANDOVER if self._offered else Mode.IDLE
        if self.phase is Phase.FOLLOWING and self.confirmed:
            return Mode.PAIRED
        return _MODES.get(self.phase, Mode.IDLE)

    @property
    def reason(self) -> Cause:
        """Why this node has the role or gave it up; when another node took it, that node's reason."""
        peer = self.view.peer
        if self.role is not Role.PRIMARY and peer is not None and peer.role is Role.PRIMARY:
            return peer.reason
        return self._reason

    @property
    def in_step(self) -> bool:
        """True while both nodes hold the protected flows."""
        return self.phase is Phase.PAIRED or (self.phase is Phase.FOLLOWING and self.confirmed)

    @property
    def paused(self) -> bool:
        """True during maintenance: no node takes the group over, and the primary does not hand it over."""
        return self.maintenance % 2 == 1

    @property
    def failover_wanted(self) -> bool:
        """True while this backup is about to take over without the primary's consent."""
        return self._forced

    @property
    def granting(self) -> bool:
        """True while this node promises not to take over within D of each heartbeat."""
        return self.phase is Phase.FOLLOWING and self._orphaned_ns is None and self.view.peer_alive

    @property
    def peer_boot(self) -> int:
        """The peer's boot id; 0 while it is not heard."""
        return self.view.boot_id

    @property
    def peer_alive(self) -> bool:
        """True while heartbeats of the peer come in."""
        return self.view.peer_alive

    def body(self, now_ns: int) -> Body:
        """Return what this node tells its peer at ``now_ns``."""
        settings = self.settings
        return Body(
            group=settings.group,
            name=settings.name,
            role=self.role,
            mode=self.mode,
            epoch=self.epoch,
            session=self.session if self.phase in _SESSION_PHASES else 0,
            healthy=self.view.healthy and not self.view.stopping,
            carrier=self._carrier_settled(now_ns),
            priority=settings.priority,
            links=self.view.links,
            request=self._request,
            refused=self._refused,
            reason=self._reason,
            lease_ns=settings.lease_ns,
            maintenance=self.maintenance,
            reference=self.view.reference,
        )

    def _publish(self, now_ns: int) -> None:
        """Publish the body if it, or the grant, changed."""
        state = (self.body(now_ns), self.granting)
        if state != self._published:
            self._published = state
            self._out.append(do.Publish(*state))

    # ------------------------------------------------------------------ questions

    def _carrier_settled(self, now_ns: int) -> bool:
        up_ns = self.view.carrier_for_ns(now_ns)
        return up_ns is not None and up_ns >= self.settings.settle_ns

    def _granted_by_arbiter(self, now_ns: int) -> bool:
        """True if what this node knows is fresh and the arbiter lets it own the group."""
        settings = self.settings
        if now_ns < self._alert_until_ns:
            return False
        epoch, up_ns = settings.next_epoch(self._seen), self.view.carrier_for_ns(now_ns)
        return self._arbiter.grants(Claim(settings.group, settings.name, epoch, self._reason, up_ns))

    def _able(self, now_ns: int) -> bool:
        """True if the server is healthy, the arbiter lets this node own the group, and no maintenance forbids
        it: during maintenance only a node that has just started may become the owner."""
        first = self.phase is Phase.LISTENING and self._claim_cause is Cause.START
        if self.paused and not first:
            return False
        return self.view.healthy and self._granted_by_arbiter(now_ns)

    def _preferred(self, peer: Body) -> bool:
        """True if this node is first in line: higher priority, then smaller name."""
        mine = (-self.settings.priority, self.settings.name)
        return mine < (-peer.priority, peer.name)

    # ------------------------------------------------------------------ orders to the engine

    def _set_lease(self, policy: Lease, now_ns: int) -> None:
        if policy != self._lease:
            self._lease, self._leased_ns = policy, now_ns
            self._out.append(do.SetLease(policy))

    def _set_mode(self, mode: EngineMode, session: int) -> None:
        if (mode, session) != (self._engine, self._engine_session):
            self._engine, self._engine_session = mode, session
            self._out.append(do.SetMode(mode, session))

    def _enter(self, phase: Phase, now_ns: int) -> None:
        self.phase, self.since_ns = phase, now_ns
        if phase is not Phase.FOLLOWING:
            self.confirmed, self._orphaned_ns, self._request, self._forced = False, None, 0, False
        if phase is not Phase.PAIRED:
            self._switch_wanted = False
        if phase in PRIMARY_PHASES or phase in (Phase.JOINING, Phase.FOLLOWING):
            self._offered = 0

    def _new_epoch(self) -> int:
        self._seen = self.settings.next_epoch(max(self._seen, self.epoch))
        return self._seen

    # ------------------------------------------------------------------ actions of the backup's side

    def _own(self, now_ns: int, cause: Cause, zero_ns: int, detected_ns: int) -> None:
        """Take the group over: lease, then gate, then announcement."""
        was_backup = self._engine is EngineMode.BACKUP
        self.epoch, self._reason = self._new_epoch(), cause
        self._set_lease(Lease.SELF, now_ns)
        self._set_mode(EngineMode.SOLO, self.session if was_backup else 0)
        self._out.append(do.Announce())
        self.session, self._doubt = 0, False
        self._enter(Phase.SOLO, now_ns)
        if cause is not Cause.START:
            self._out.append(do.RecordTakeover(cause, self.epoch, zero_ns, detected_ns))
        self._out.append(do.ShapeRoutes(backup=False))

    def _take(self, peer: Body, cause: Cause, now_ns: int) -> None:
        """Answer the peer's offer: own the group, or decline that epoch for good."""
        if self._refused == peer.epoch or now_ns < self._alert_until_ns:
            return
        if self._able(now_ns):
            self._own(now_ns, cause, now_ns, now_ns)
        else:
            self._refused = peer.epoch

    def _follow(self, session: int, now_ns: int) -> None:
        """Follow the primary's session and grant it the right to emit."""
        self.session = session
        self._set_mode(EngineMode.BACKUP, session)
        self._enter(Phase.FOLLOWING, now_ns)
        self._out.append(do.ShapeRoutes(backup=True))

    def _drop(self, now_ns: int) -> None:
        """Leave the pairing: flows are dropped, nothing is granted any more."""
        self.session = 0
        self._set_mode(EngineMode.IDLE, 0)
        if self.view.peer_alive:
            self._enter(Phase.JOINING, now_ns)
        else:
            self._listen_again(now_ns)
        self._out.append(do.ShapeRoutes(backup=False))
        self._renew_server()

    def _listen_again(self, now_ns: int) -> None:
        """The owner is gone or gave up: look for another one."""
        self._claim_cause = Cause.PEER_LOST
        self._enter(Phase.LISTENING, now_ns)

    def _finish(self, now_ns: int) -> None:
        """Give everything up for good."""
        self._set_lease(Lease.NONE, now_ns)
        self._set_mode(EngineMode.IDLE, 0)
        self.session = 0
        self._enter(Phase.STOPPED, now_ns)
        self.epoch = self._new_epoch()
        self._out.append(do.Finish())

    # ------------------------------------------------------------------ actions of the primary's side

    def _demote(self, now_ns: int) -> None:
        """Another node owns the group: fall silent, drop the flows, join."""
        self._set_lease(Lease.NONE, now_ns)
        self._set_mode(EngineMode.IDLE, 0)
        self.session = 0
        self._enter(Phase.JOINING, now_ns)
        self._renew_server()

    def _renew_server(self) -> None:
        """A server that lost its connections may wait for them for ever: begin anew."""
        if not self.view.stopping:
            self._out.append(do.RestartServer())

    def _offer_session(self, now_ns: int) -> None:
        """Offer a new pairing to the backup that waits."""
        self._sessions += 1
        self.session = (self.epoch & 0xFFFFFFFF) << 32 | self._sessions & 0xFFFFFFFF
        self._enter(Phase.PAIRING, now_ns)

    def _withdraw_session(self, now_ns: int) -> None:
        self.session = 0
        self._enter(Phase.SOLO, now_ns)

    def _pair(self, now_ns: int) -> None:
        """The backup follows: from here on emission depends on its grants and commits."""
        self._set_lease(Lease.GRANTED, now_ns)
        self._set_mode(EngineMode.PAIRED, self.session)
        self._enter(Phase.PAIRED, now_ns)

    def _go_solo(self, now_ns: int) -> None:
        """Serve without a backup if the arbiter lets this node, else fall silent."""
        if now_ns < self._alert_until_ns:
            return
        if not self._granted_by_arbiter(now_ns):
            if self.phase is not Phase.SILENT:
                self._go_silent(now_ns)
            return
        self.epoch = self._new_epoch()
        self._set_lease(Lease.SELF, now_ns)
        self._set_mode(EngineMode.SOLO, self._engine_session)
        self.session, self._doubt = 0, False
        self._enter(Phase.SOLO, now_ns)

    def _go_silent(self, now_ns: int) -> None:
        """Shut the gate and listen."""
        self._set_lease(Lease.NONE, now_ns)
        self.session = 0
        self._enter(Phase.SILENT, now_ns)

    def _own_lease_lapsed(self, now_ns: int) -> None:
        """This node was halted while it served alone: who else may have taken the service?"""
        if self._gap_ns >= self.settings.startup_wait_ns:
            self._abandon(now_ns)
        else:
            self._go_silent(now_ns)

    def _abandon(self, now_ns: int) -> None:
        """Drop the flows, since the other node may have gone on with them; look for an owner."""
        self._set_lease(Lease.NONE, now_ns)
        self._set_mode(EngineMode.IDLE, 0)
        self.session, self._doubt = 0, False
        self._listen_again(now_ns)
        self._renew_server()

    def _hand_over(self, cause: Cause, session: int, now_ns: int) -> None:
        """Shut the gate and offer the role to the follower of ``session`` (0: to a joined peer)."""
        self._set_lease(Lease.NONE, now_ns)
        self.epoch, self._reason, self.session = self._new_epoch(), cause, session
        self._peer_boot = self.view.boot_id
        self._enter(Phase.HANDOVER, now_ns)

    def _resume(self, now_ns: int) -> None:
        """The backup declined: go on as before under its grants."""
        self.epoch = self._new_epoch()
        self._set_lease(Lease.GRANTED, now_ns)
        self._enter(Phase.PAIRED, now_ns)

    # ------------------------------------------------------------------ invariants

    def _key(self) -> tuple[object, ...]:
        """What must stand still for a step to be complete."""
        forced = self._orphaned_ns, self._forced
        return (self.phase, self.epoch, self.session, self._offered, self._refused, *forced)

    def _check(self) -> None:
        """Raise InvariantBroken if the orders given contradict the phase."""
        owning = self.phase in OWNING_PHASES
        granted = self.phase in (Phase.PAIRED, Phase.UNPAIRING)
        expected = Lease.SELF if owning else Lease.GRANTED if granted else Lease.NONE
        _require(self._lease is expected, f"phase {self.phase} with lease {self._lease.name}")
        _require(not (self.granting and self._lease is not Lease.NONE), "a grant beside an own lease")
        following = self.phase is Phase.FOLLOWING
        wrong = f"phase {self.phase} with engine mode {self._engine.name}"
        _require(not owning or self._engine is EngineMode.SOLO, wrong)
        _require(not granted or self._engine is EngineMode.PAIRED, wrong)
        _require(following == (self._engine is EngineMode.BACKUP), wrong)
        if following or granted:
            same = self.session != 0 and self.session == self._engine_session
            _require(same, f"session {self.session:#x}, engine has {self._engine_session:#x}")
        if owning:
            ours = self.epoch % 2 == self.settings.parity
            _require(ours, f"epoch {self.epoch} in phase {self.phase} was not made by this node")
        _require(self.epoch <= self._seen, f"epoch {self.epoch} above every epoch seen ({self._seen})")

    def _fenced(self, why: str) -> list[do.Command]:
        """Return the commands that silence this node whatever state it believes to be in."""
        self.phase = Phase.FENCED
        self._lease, self._engine = Lease.NONE, EngineMode.IDLE
        return [do.SetLease(Lease.NONE), do.SetMode(EngineMode.IDLE, 0), do.Fence(why)]


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise InvariantBroken(broken)
