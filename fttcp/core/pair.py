"""The role machine of a pair: one instance per group and node.

``PairMachine.step(event, now_ns)`` takes what happened and returns what to do, in order. It works
in two halves: the event changes what the node knows (``View``); then the rules of the phase that
the node is in are applied to that knowledge until nothing changes any more. What is true counts,
not which event said so; events may come late, twice or not at all.

Safety rests on these rules (checked after every step, and by simulation):

- A lease of the node's own (SELF) and a grant to the peer never exist at the same time.
- A backup takes over only after the peer's silence has outlasted every grant that it gave, or
  when the primary says that its gate is shut (mode handover).
- A primary that depends on grants takes a lease of its own only when the peer is lost or has
  dropped the pairing.
- Epochs never collide and only grow; a node with a lease of its own yields only to a higher epoch
  that also has one.
"""

from __future__ import annotations

from collections.abc import Callable

from fttcp.core import commands as do
from fttcp.core import events as ev
from fttcp.core.actions import Actions
from fttcp.core.arbitration import Arbiter
from fttcp.core.model import (
    OWNING_MODES,
    OWNING_PHASES,
    PRIMARY_PHASES,
    Body,
    Cause,
    InvariantBroken,
    Mode,
    Phase,
    Refusal,
    Role,
    Settings,
)

_MAX_ROUNDS = 8


class PairMachine(Actions):
    """Decides the role of one node for one group."""

    def __init__(self, settings: Settings, arbiter: Arbiter, now_ns: int) -> None:
        """Create the machine in phase listening; feed it ``Started`` first."""
        super().__init__(settings, arbiter, now_ns)
        self._rules: dict[Phase, Callable[[int], None]] = {
            Phase.LISTENING: self._listening,
            Phase.JOINING: self._joining,
            Phase.FOLLOWING: self._following,
            Phase.SOLO: self._solo,
            Phase.PAIRING: self._pairing,
            Phase.PAIRED: self._paired,
            Phase.UNPAIRING: self._unpairing,
            Phase.HANDOVER: self._handover,
            Phase.SILENT: self._silent,
        }

    # ------------------------------------------------------------------ driving

    def step(self, event: ev.Event, now_ns: int) -> list[do.Command]:
        """Take one event in and return the commands to carry out, in order.

        ``now_ns`` must not run backwards. A broken invariant returns commands that silence and
        fence the group; after that, and after ``Finish``, every event is ignored.
        """
        if self.phase in (Phase.FENCED, Phase.STOPPED):
            return []
        self._out = []
        try:
            self._absorb(event, now_ns)
            self._settle(now_ns)
            self._publish(now_ns)
            self._check()
        except InvariantBroken as broken:
            return self._fenced(str(broken))
        return self._out

    def deadline_ns(self) -> int | None:
        """Return when ``DeadlineReached`` is wanted at the latest; None when the machine is done.

        Besides the times that rules wait for, this is a pulse a few times per lease: by its absence
        the machine notices that the node was halted.
        """
        if self.phase in (Phase.FENCED, Phase.STOPPED):
            return None
        settings, view = self.settings, self.view
        times = [self._stepped_ns + settings.lease_ns // 3, self._alert_until_ns]
        if view.carrier_since_ns is not None:
            times.append(view.carrier_since_ns + settings.settle_ns)
        if self.phase is Phase.LISTENING:
            times.append(self.since_ns + settings.startup_wait_ns)
            times.append(max(self.since_ns, view.peer_since_ns) + settings.settle_ns)
        elif self._orphaned_ns is not None:
            times.append(self._orphaned_ns + settings.patience_ns)
        return min(t for t in times if t > self._stepped_ns)

    def _settle(self, now_ns: int) -> None:
        """Apply the rules of the current phase until the state stands still."""
        for _ in range(_MAX_ROUNDS):
            before = self._key()
            if not (self.phase in PRIMARY_PHASES and self._yielded(now_ns)):
                rule = self._rules.get(self.phase)
                if rule is not None:
                    rule(now_ns)
            if self._key() == before:
                return
        raise InvariantBroken(f"the rules do not settle: {before} became {self._key()}")

    def _absorb(self, event: ev.Event, now_ns: int) -> None:
        """Let the event change what the node knows."""
        if now_ns < self._stepped_ns:
            raise InvariantBroken(f"time ran backwards by {self._stepped_ns - now_ns} ns")
        self._note_gap(now_ns - self._stepped_ns, now_ns)
        self._stepped_ns = now_ns
        view = self.view
        match event:
            case ev.PeerHeard(boot_id=boot_id):
                if boot_id != view.boot_id:
                    view.boot_id, view.peer_since_ns, view.peer = boot_id, now_ns, None
            case ev.PeerLost():
                self._absorb_loss(event, now_ns)
            case ev.PeerStated(body=body):
                if view.peer_alive:
                    self._absorb_body(body)
            case ev.LinkFound(link=link):
                view.links |= 1 << link
            case ev.LinkLost(link=link):
                view.links &= ~(1 << link)
            case ev.LeaseLapsed(lapsed_ns=lapsed_ns):
                if self.phase in OWNING_PHASES and lapsed_ns > self._leased_ns:
                    self._own_lease_lapsed(now_ns)
            case ev.ServerRecovered() if not view.healthy:
                view.healthy = True
                self._out.append(do.Vouch(True))
            case ev.ServerFailed(cause=cause):
                view.healthy = False
                self._server_cause = cause
                self._out.append(do.Vouch(False))
            case ev.CarrierChanged(up=up):
                if up != (view.carrier_since_ns is not None):
                    view.carrier_since_ns = now_ns if up else None
            case ev.ReferenceChanged(reachable=reachable):
                view.reference = reachable
            case ev.SwitchoverRequested(nonce=nonce):
                self._absorb_request(nonce, now_ns)
            case ev.FailoverRequested():
                self._absorb_failover(now_ns)
            case ev.MaintenanceChanged(count=count):
                self._absorb_maintenance(count)
            case ev.StopRequested():
                view.stopping = True

    def _note_gap(self, gap_ns: int, now_ns: int) -> None:
        """This node was halted if its steps are further apart than a lease: what it knows may be old."""
        if gap_ns > self.settings.lease_ns:
            self._gap_ns, self._alert_until_ns = gap_ns, now_ns + self.settings.settle_ns
            self._doubt = self.phase in PRIMARY_PHASES

    def _absorb_loss(self, loss: ev.PeerLost, now_ns: int) -> None:
        """Forget the peer, unless a heartbeat came in after the loss had been noticed."""
        if now_ns - loss.heard_ns < self.settings.patience_ns:
            self._published = None  # the grant was withdrawn to make sure: give it again
            return
        view = self.view
        view.boot_id, view.peer, view.links = 0, None, 0
        view.heard_ns, view.lost_ns = loss.heard_ns, loss.lost_ns
        view.stalled = loss.silent_ns >= 2 * self.settings.patience_ns

    def _absorb_body(self, body: Body) -> None:
        """Note what the peer says and the epochs it has seen."""
        self.view.peer = body
        self._absorb_maintenance(body.maintenance)
        self._seen = max(self._seen, body.epoch)
        if self.phase is Phase.FOLLOWING and body.role is Role.PRIMARY and body.session == self.session:
            self.confirmed |= body.mode in (Mode.PAIRED, Mode.HANDOVER)
        if self.phase not in PRIMARY_PHASES and not self._offered:
            self.epoch = max(self.epoch, body.epoch)
        if body.request not in (0, self._request_seen):
            self._request_seen = body.request
            self._switch_wanted = self.phase is Phase.PAIRED and body.able and not self.paused

    def _absorb_request(self, nonce: int, now_ns: int) -> None:
        """Take an operator's request in, or refuse it."""
        peer_able = self.view.peer is not None and self.view.peer.able
        if self.view.stopping:
            self._out.append(do.Refuse(Refusal.STOPPING))
        elif self.paused:
            self._out.append(do.Refuse(Refusal.PAUSED))
        elif self.phase is Phase.PAIRED:
            self._switch_wanted = peer_able
            if not peer_able:
                self._out.append(do.Refuse(Refusal.PEER_UNABLE))
        elif self.phase is Phase.FOLLOWING and self.confirmed and self.view.peer_alive:
            if self._able(now_ns):
                self._request = nonce
            else:
                self._out.append(do.Refuse(Refusal.SELF_UNABLE))
        else:
            self._out.append(do.Refuse(Refusal.NOT_PAIRED))

    def _absorb_failover(self, now_ns: int) -> None:
        """Stop granting; what was granted is outlasted before anything else is done. Or refuse."""
        peer = self.view.peer
        if self.view.stopping:
            refusal = Refusal.STOPPING
        elif self.paused:
            refusal = Refusal.PAUSED
        elif self.phase in PRIMARY_PHASES:
            refusal = Refusal.IS_PRIMARY
        elif self.phase is Phase.FOLLOWING and self.confirmed:
            if self._able(now_ns):
                self._forced = True
                self._orphaned_ns = self._orphaned_ns or now_ns
                return
            refusal = Refusal.SELF_UNABLE
        elif peer is not None and peer.role is Role.PRIMARY and peer.mode in OWNING_MODES:
            refusal = Refusal.PRIMARY_ALONE
        else:
            refusal = Refusal.NOT_PAIRED
        self._out.append(do.Refuse(refusal))

    def _absorb_maintenance(self, count: int) -> None:
        """Go by the highest count; what an operator wanted before a pause is not wanted any more."""
        if count > self.maintenance:
            self.maintenance = count
            self._out.append(do.KeepMaintenance(count))
            if self.paused:
                self._switch_wanted, self._request, self._forced = False, 0, False

    # ------------------------------------------------------------------ rules of the backup's side

    def _listening(self, now_ns: int) -> None:
        """Nobody is known to own the group: wait for an owner, or become it."""
        settings, view, peer = self.settings, self.view, self.view.peer
        waited = now_ns >= self.since_ns + settings.startup_wait_ns
        if view.stopping:
            self._finish(now_ns)
        elif not view.peer_alive:
            if waited and self._able(now_ns):
                self._own(now_ns, self._claim_cause, view.heard_ns or now_ns, view.lost_ns or now_ns)
        elif peer is None:
            return
        elif peer.role is Role.PRIMARY:
            self._offered = 0
            self._enter(Phase.JOINING, now_ns)
        elif peer.role is Role.STARTING and peer.mode is Mode.HANDOVER:
            self._take(peer, self._claim_cause, now_ns)
        elif peer.role is Role.STARTING and self._preferred(peer):
            self._listening_first(peer, waited, now_ns)

    def _listening_first(self, peer: Body, waited: bool, now_ns: int) -> None:
        """Both nodes start and this one has the first say: own the group, or offer it to the peer."""
        if now_ns < max(self.since_ns, self.view.peer_since_ns) + self.settings.settle_ns:
            return
        if self._offered and peer.refused != self._offered:
            return
        if self._able(now_ns):
            self._own(now_ns, self._claim_cause, self.view.heard_ns or now_ns, now_ns)
        elif waited and peer.able:
            self._offered = self.epoch = self._new_epoch()

    def _joining(self, now_ns: int) -> None:
        """The peer owns the group: wait for a pairing, or for an offer of the role."""
        view, peer = self.view, self.view.peer
        if view.stopping:
            self._finish(now_ns)
        elif peer is None:
            if not view.peer_alive:
                self._listen_again(now_ns)
        elif peer.role is not Role.PRIMARY:
            self._listen_again(now_ns)
        elif peer.mode is Mode.HANDOVER and peer.session == 0:
            self._take(peer, peer.reason, now_ns)
        elif peer.mode is Mode.PAIRING and peer.session != 0 and view.healthy:
            self._follow(peer.session, now_ns)

    def _following(self, now_ns: int) -> None:
        """In a pairing as backup: take over, keep on, or drop it."""
        view, peer = self.view, self.view.peer
        if not view.healthy or view.stopping:
            self._drop(now_ns)
        elif not view.peer_alive:
            if not self.confirmed or view.stalled:
                self._drop(now_ns)
            elif self._able(now_ns):
                self._own(now_ns, Cause.PEER_LOST, view.heard_ns, view.lost_ns)
        elif peer is None or peer.role is not Role.PRIMARY:
            self._orphaned(now_ns)
        elif peer.session != self.session or peer.mode not in (Mode.PAIRING, Mode.PAIRED, Mode.HANDOVER):
            self._drop(now_ns)
        elif self._forced and peer.mode is not Mode.HANDOVER:
            self._force(now_ns)
        else:
            self._orphaned_ns, self._forced = None, False
            if peer.mode is Mode.HANDOVER:
                self._take(peer, peer.reason, now_ns)

    def _force(self, now_ns: int) -> None:
        """An operator wants the role without the primary's consent: outlast its grants, then take over."""
        since_ns = self._orphaned_ns or now_ns
        if now_ns >= since_ns + self.settings.patience_ns:
            if self._able(now_ns):
                self._own(now_ns, Cause.FAILOVER, since_ns, since_ns)
            else:
                self._orphaned_ns, self._forced = None, False

    def _orphaned(self, now_ns: int) -> None:
        """The peer lives but is no primary any more (it restarted): outlast its grants, then take over."""
        if self._orphaned_ns is None:
            self._orphaned_ns = now_ns
        elif now_ns >= self._orphaned_ns + self.settings.patience_ns:
            if self.confirmed and self._able(now_ns):
                self._own(now_ns, Cause.PEER_LOST, self._orphaned_ns, self._orphaned_ns)
            else:
                self._drop(now_ns)

    # ------------------------------------------------------------------ rules of the primary's side

    def _yielded(self, now_ns: int) -> bool:
        """Give the role up if the peer has it with better right; True if so."""
        peer = self.view.peer
        if peer is None or peer.role is not Role.PRIMARY:
            return False
        peer_owns, self_owns = peer.mode in OWNING_MODES, self.phase in OWNING_PHASES
        if self_owns and not peer_owns:
            return False
        if self_owns == peer_owns and peer.epoch < self.epoch:
            return False
        self._demote(now_ns)
        return True

    def _solo(self, now_ns: int) -> None:
        """Owner without a backup: pair when a fit one is there."""
        if self.view.stopping:
            self._finish(now_ns)
        elif self.view.carrier_since_ns is None:
            self._go_silent(now_ns)
        else:
            if self._seen > self.epoch:
                self.epoch = self._new_epoch()
            if self.view.follower() is not None and self.view.peer_link:
                self._offer_session(now_ns)

    def _pairing(self, now_ns: int) -> None:
        """Owner that offered a session: pair when the backup follows it."""
        view, peer = self.view, self.view.peer
        if view.stopping:
            self._finish(now_ns)
        elif view.carrier_since_ns is None:
            self._go_silent(now_ns)
        elif peer is None or not peer.healthy or not view.peer_link or peer.role is not Role.BACKUP:
            self._withdraw_session(now_ns)
        elif view.follows(self.session):
            self._pair(now_ns)

    def _paired(self, now_ns: int) -> None:
        """Primary in step with its backup."""
        view, peer = self.view, self.view.peer
        cause = self._wish_to_leave()
        if now_ns >= self._alert_until_ns and view.follows(self.session):
            self._doubt = False
        if not view.peer_alive:
            self._backup_lost(now_ns)
        elif peer is None or not view.follows(self.session):
            self._backup_left(now_ns)
        elif cause is not None and peer.able and not self._doubt:
            self._hand_over(cause, self.session, now_ns)
        elif not view.peer_link:
            self.epoch = self._new_epoch()
            self._enter(Phase.UNPAIRING, now_ns)
        elif view.stopping:
            self._finish(now_ns)

    def _backup_lost(self, now_ns: int) -> None:
        """The backup fell silent: serve alone if this node is sound, else keep the gate shut."""
        if self.view.stopping:
            self._finish(now_ns)
        elif self.view.stalled or self._doubt:
            self._abandon(now_ns)
        elif self._granted_by_arbiter(now_ns):
            self._go_solo(now_ns)
        else:
            self._hand_over(Cause.LINK_LOST, self.session, now_ns)

    def _backup_left(self, now_ns: int) -> None:
        """The backup dropped the pairing: serve alone, unless it may have served in the meantime."""
        if self._doubt:
            self._abandon(now_ns)
        else:
            self._go_solo(now_ns)

    def _wish_to_leave(self) -> Cause | None:
        """Why this primary wants its backup to take over now, or None."""
        if self.paused:
            return None
        if not self.view.healthy:
            return self._server_cause
        if self.view.carrier_since_ns is None:
            return Cause.LINK_LOST
        if not self.view.reference and self.view.peer is not None and self.view.peer.reference:
            return Cause.REFERENCE_LOST
        if self._switch_wanted:
            return Cause.SWITCHOVER
        return Cause.STOP if self.view.stopping else None

    def _unpairing(self, now_ns: int) -> None:
        """The peer link is broken: go on under the peer's grants until it has dropped the pairing."""
        if not self.view.peer_alive:
            self._backup_lost(now_ns)
        elif not self.view.follows(self.session):
            self._backup_left(now_ns)

    def _handover(self, now_ns: int) -> None:
        """The gate is shut and the role is offered: wait until it is taken, declined, or nobody is there."""
        view, peer = self.view, self.view.peer
        if view.stopping and now_ns >= self.since_ns + 3 * self.settings.lease_ns:
            self._finish(now_ns)
        elif view.boot_id != self._peer_boot or self._doubt:
            self._abandon(now_ns)  # it may have served before it was lost
        elif peer is None:
            return
        elif peer.refused == self.epoch:
            if self.session and view.follows(self.session) and not view.stopping:
                self._resume(now_ns)
            else:
                self._go_silent(now_ns)
        elif self.session and not view.follows(self.session):
            self._go_silent(now_ns)

    def _silent(self, now_ns: int) -> None:
        """Primary without lease: listen for another owner before the lease is taken again."""
        view, peer = self.view, self.view.peer
        following = peer is not None and peer.session != 0
        if view.stopping:
            self._finish(now_ns)
        elif self._doubt and self._gap_ns >= self.settings.startup_wait_ns:
            self._abandon(now_ns)
        elif view.carrier_since_ns is None:
            candidate = view.follower()
            if candidate is not None and candidate.able and not self.paused:
                self._hand_over(Cause.LINK_LOST, 0, now_ns)
        elif (view.peer_alive and peer is None) or following:
            return
        elif now_ns >= self.since_ns + self.settings.settle_ns:
            self._go_solo(now_ns)
