"""Rules of a node that serves, or served until a moment ago."""

from __future__ import annotations

from fttcp.ownership import commands as do
from fttcp.ownership.actions import SOLO, Actions
from fttcp.ownership.arbitration import Goal
from fttcp.ownership.model import OWNING_MODES, OWNING_PHASES, Cause, Lease, Mode, Phase, Refusal, Role
from fttcp.ownership.moment import PLANNED, Turn
from fttcp.ownership.ownership import Ownership
from fttcp.ownership.view import Peer


class PrimaryRules(Actions):
    """One method for each phase; each is applied until nothing changes any more."""

    def _yielded(self, now_ns: int) -> bool:
        """Give the role up if a peer has it with better right; True if so."""
        rival = self.view.owner()
        said = rival.said if rival is not None else None
        if said is None:
            return False
        peer_owns, self_owns = said.mode in OWNING_MODES, self.phase in OWNING_PHASES
        if self.settings.arbitrated:
            if said.epoch <= self.epoch or not (peer_owns or said.mode is Mode.PAIRED):
                return False
        elif (self_owns and not peer_owns) or (self_owns == peer_owns and said.epoch < self.epoch):
            return False
        self._demote(now_ns)
        return True

    def _replaced(self) -> bool:
        """True if the arbiter says that another node holds the group."""
        record = self.arbitration.record
        if not self.settings.arbitrated or not self.arbitration.certain or record is None:
            return False
        return record.holder != self.settings.name

    # ------------------------------------------------------------------ alone

    def _promoting(self, now_ns: int) -> None:
        """Owner whose server starts. Nobody is spoken to, so a carrier that is lost changes nothing yet."""
        if self.view.stopping:
            self._finish(now_ns)
        elif self._replaced() and self._lease is Lease.SELF:
            self._abandon(now_ns)
        elif self.settings.exclusive and self._woken and any(peer.goes_on for peer in self.view.peers):
            self._abandon(now_ns)  # it was taken for dead
        else:
            self._hold_solo(now_ns)
            self._wake()
            if self._serves:
                self._serve(now_ns)

    def _solo(self, now_ns: int) -> None:
        """Owner without a backup: pair when a fit one is there."""
        view, arbitration = self.view, self.arbitration
        if view.stopping:
            self._finish(now_ns)
        elif view.carrier_since_ns is None:
            self._go_silent(now_ns)
        elif self._replaced() and self._lease is Lease.SELF:
            self._abandon(now_ns)
        elif arbitration.stands(Ownership.SOLO) and self._seen <= self.epoch:
            arbitration.forget_goal()
            self._keep_lease(now_ns)
            follower = view.follower(lambda peer: self.unfit(peer) is None)
            if follower is not None and self._lease is Lease.SELF:
                if view.complete() or now_ns >= self.since_ns + self.settings.settle_ns:
                    self._offer_session(follower, now_ns)
            elif not view.healthy:
                self._offer_to_successor(self._server_cause, now_ns)
        elif not self._hold_solo(now_ns) and not view.healthy and self._lease is Lease.GRANTED:
            self._offer_to_successor(self._server_cause, now_ns)

    def _hold_solo(self, now_ns: int) -> bool:
        """See to it that the record says that this node serves alone; True if it does by now."""
        arbitration = self.arbitration
        stands = arbitration.stands(Ownership.SOLO) and self._seen <= self.epoch
        self._keep_lease(now_ns)
        if not stands and not arbitration.pursue(SOLO):
            return False
        if not stands and arbitration.won is not None:
            self.epoch = arbitration.won.epoch
        arbitration.forget_goal()
        self._keep_lease(now_ns)
        return True

    def _keep_lease(self, now_ns: int) -> None:
        """Emit by the arbiter's lease as long as that lasts, else by the consent of the only other node."""
        if not self.settings.arbitrated:
            self._set_lease(Lease.SELF, now_ns)
            return
        until_ns = self.arbitration.solo_until_ns() or 0
        said = self.view.peers[0].said
        if until_ns > now_ns + self.settings.lease_ns:
            self._set_lease(Lease.SELF, now_ns, until_ns)
        elif self.settings.pair and said is not None and said.yields and now_ns < (self._limit_ns or 0):
            self._set_lease(Lease.GRANTED, now_ns)  # before anybody else can have served

    def _pairing(self, now_ns: int) -> None:
        """Owner that offered a session: pair when the backup follows it."""
        view, peer = self.view, self.partner
        assert peer is not None
        said = peer.said
        if view.stopping:
            self._finish(now_ns)
        elif view.carrier_since_ns is None:
            self._go_silent(now_ns)
        elif (
            said is None
            or not peer.peer_link
            or said.role is not Role.BACKUP
            or not (said.healthy and said.ready)
        ):
            self._withdraw_session(now_ns)
        elif self._replaced():
            self._abandon(now_ns)
        elif peer.follows(self.session):
            self._depend(now_ns)
            if self.arbitration.pursue(Goal(Ownership.PAIRED, peer.name)):
                self._pair(now_ns)
        elif self._lease is Lease.SELF:
            self._keep_lease(now_ns)
            if self._waited(now_ns) and any(other.waits() for other in view.peers if other is not peer):
                peer.declined_ns = now_ns
                self._withdraw_session(now_ns)

    # ------------------------------------------------------------------ with a backup

    def _paired(self, now_ns: int) -> None:
        """Primary in step with its backup."""
        view, peer = self.view, self.partner
        assert peer is not None
        cause = self._wish_to_leave()
        follows = peer.follows(self.session)
        if now_ns >= self._alert_until_ns and follows:
            self._doubt = peer.stalled = False
        leaves = cause is not None and peer.said is not None and peer.said.able and not self._doubt
        if not leaves:
            self.moment.forget()
        if cause is Cause.SWITCHOVER and peer.said is not None and not peer.said.able:
            self._want_no_switch()  # nobody expects it when it could be carried out, whenever that is
            self._out.append(do.Refuse(Refusal.PEER_UNABLE))
        if not peer.alive:
            self._backup_lost(now_ns)
        elif peer.said is None or not follows:
            self._backup_left(now_ns)
        elif self._arbiter_ends(peer, now_ns):
            self._hand_over(Cause.LINK_LOST, peer, self.session, now_ns)
        elif self._grants_low:
            self._backup_lost(now_ns)
        elif cause is not None and leaves and self._may_leave(cause, now_ns):
            self._hand_over(cause, peer, self.session, now_ns)
        elif not peer.peer_link and not self._hears_soon(now_ns):
            if peer.beats:
                peer.declined_ns = now_ns  # a spare may get what is mirrored
            self._enter(Phase.UNPAIRING, now_ns)
        elif view.stopping and not leaves:
            self._finish(now_ns)
        else:
            self._keep_record(peer.name, now_ns)

    def _may_leave(self, cause: Cause, now_ns: int) -> bool:
        """True at once if this node cannot serve on, else when the moment has come. An operator's wish is
        given up if it does not come, unless it was to be carried out whatever that ends."""
        ailing = cause is self._server_cause and self.view.vouched
        if not (cause in PLANNED or ailing) or self._switch_now:
            return True
        if cause is not Cause.SWITCHOVER and not (self.partner and self.partner.peer_link):
            return True  # without the peer link no renewal gets on, and the pairing is about to end
        turn = self.moment.turn(self.settings.handover_wait_ns, self.since_ns, now_ns)
        if turn is Turn.MISSED and cause is Cause.SWITCHOVER and not self._switch_forced:
            self._want_no_switch()
            self._out.append(do.Refuse(Refusal.RENEWING))
            return False
        return turn is not Turn.WAIT

    def _arbiter_ends(self, peer: Peer, now_ns: int) -> bool:
        """True if the right to emit ends with what is in doubt at an arbiter that only the backup reaches."""
        said = peer.said
        if self._limit_ns is None or self.arbitration.reachable is not False or self.paused or self._doubt:
            return False
        fit = said is not None and said.able and not said.barred
        return fit and now_ns >= self._limit_ns - self.settings.lease_ns

    def _keep_record(self, backup: str, now_ns: int) -> None:
        """The arbiter shall name this pair again, if it was asked for something else meanwhile."""
        arbitration = self.arbitration
        if not self.settings.arbitrated or arbitration.stands(Ownership.PAIRED, backup):
            arbitration.forget_goal()
        elif arbitration.pursue(Goal(Ownership.PAIRED, backup)) and arbitration.won is not None:
            self.epoch = arbitration.won.epoch
            arbitration.forget_goal()
        self._set_lease(Lease.GRANTED, now_ns, self._grants_limit(now_ns))

    def _backup_lost(self, now_ns: int) -> None:
        """The backup fell silent: serve alone if this node is sound and the arbiter agrees."""
        peer = self.partner
        assert peer is not None
        if self.view.stopping:
            self._finish(now_ns)
        elif not self.settings.arbitrated and (peer.stalled or self._doubt):
            if peer.alive or not self._hears_soon(now_ns):
                self._abandon(now_ns)
        elif not self._fit(now_ns):
            if peer.alive:
                self._hand_over(Cause.LINK_LOST, peer, self.session, now_ns)
            else:  # nobody would hear the offer
                (self._go_silent if self.settings.arbitrated else self._abandon)(now_ns)
        elif self._replaced():
            self._abandon(now_ns)
        elif self._solo_won(now_ns):
            self._go_solo(now_ns)

    def _solo_won(self, now_ns: int) -> bool:
        """Ask for the group alone. What the proposal may bring limits the grants before it is sent: else a
        daemon that stands still then would emit under them after the record has lapsed."""
        if self.arbitration.pursue(SOLO):
            return True
        self._set_lease(Lease.GRANTED, now_ns, self._grants_limit(now_ns))
        return False

    def _backup_left(self, now_ns: int) -> None:
        """The backup dropped the pairing: serve alone, unless it may have served in the meantime."""
        peer = self.partner
        broken = self._lapsed or peer is None or peer.boot_id != self._peer_boot
        if not self.settings.arbitrated:
            if self._doubt or (peer is not None and peer.stalled):
                if (peer is not None and peer.said is not None) or not self._hears_soon(now_ns):
                    self._abandon(now_ns)
            elif self._fit(now_ns):
                if self._solo_won(now_ns):
                    self._go_solo(now_ns)
            elif now_ns >= self._alert_until_ns:
                self._go_silent(now_ns)
        elif self._replaced():
            self._abandon(now_ns)
        elif not self._fit(now_ns):
            self._go_silent(now_ns)
        elif self._solo_won(now_ns) or (not broken and self._consents(peer)):
            self._go_solo(now_ns)
        elif broken and self.arbitration.stuck:
            if self.settings.pair:
                self._abandon(now_ns)
            else:
                self._go_silent(now_ns)

    def _wish_to_leave(self) -> Cause | None:
        """Why this primary wants its backup to take over now, or None; first what it cannot serve on with."""
        peer = self.partner
        if self.paused:
            return None
        ailing = not self.view.healthy
        if ailing and not self.view.vouched:
            return self._server_cause
        if self.view.carrier_since_ns is None:
            return Cause.LINK_LOST
        if not self.view.reference and peer is not None and peer.said is not None and peer.said.reference:
            return Cause.REFERENCE_LOST
        if ailing:
            return self._server_cause
        if self.view.stopping:
            return Cause.STOP
        return Cause.SWITCHOVER if self._switch_wanted else None

    def _unpairing(self, now_ns: int) -> None:
        """The peer link is broken: go on under the peer's grants until it has dropped the pairing."""
        assert self.partner is not None
        if not self.partner.alive:
            self._backup_lost(now_ns)
        elif not self.partner.follows(self.session):
            self._backup_left(now_ns)

    # ------------------------------------------------------------------ silent

    def _handover(self, now_ns: int) -> None:
        """The gate is shut and the role is offered: wait until it is taken, declined, or nobody is there."""
        view, peer = self.view, self.partner
        assert peer is not None
        if view.stopping and now_ns >= self.since_ns + self._offer_lasts_ns():
            self._finish(now_ns)
        elif self._doubt and self._hears_soon(now_ns):
            return  # what the backup said before counts no more
        elif peer.boot_id != self._peer_boot or not self._offer_stands(peer):
            self._abandon(now_ns)  # it may have served before it was lost
        elif peer.said is None:
            return
        elif peer.said.refused == self._offer:
            if self.session and peer.follows(self.session) and not view.stopping:
                self._resume(now_ns)
            else:
                self.promises.void()
                self._go_silent(now_ns)
        elif self.session and not peer.follows(self.session):
            self._go_silent(now_ns)
        elif not self.settings.pair and self._waited(now_ns):
            self._go_silent(now_ns)  # it agreed, but the arbiter does not hear it: take the role back there

    def _offer_stands(self, peer: Peer) -> bool:
        """False if this node stood still since it made its offer, and is not sure that the backup has not
        served: one that is still heard in the same pairing has not."""
        if self._doubt:
            self._doubt = self.settings.arbitrated or not (self.session and peer.follows(self.session))
        return not self._doubt

    def _offer_lasts_ns(self) -> int:
        """How long a node that stops waits until its offer is taken."""
        return (10 if self.settings.arbitrated else 3) * self.settings.lease_ns

    def _silent(self, now_ns: int) -> None:
        """Primary without lease: find out whether there is another owner before the lease is taken again. An
        exclusive one has no flows to save, and what runs here must not when another node serves."""
        view, peer = self.view, self.view.peers[0]
        settled = now_ns >= self.since_ns + self.settings.settle_ns
        follows = peer.alive and (peer.said is None or peer.said.session != 0)
        if view.stopping:
            self._finish(now_ns)
        elif self.settings.arbitrated:
            self._silent_asking(now_ns)
        elif self._doubt and self._gap_ns >= self.settings.startup_wait_ns:
            self._abandon(now_ns)
        elif view.carrier_since_ns is None:
            self._offer_to_successor(Cause.LINK_LOST, now_ns)
        elif not follows and settled and self._fit(now_ns) and self.arbitration.pursue(SOLO):
            self._go_solo(now_ns)
        if self.settings.exclusive and self.phase is Phase.SILENT:
            asks = self.arbitration.goal is not None and self._fit(now_ns)
            if self.settings.arbitrated or (settled and not asks):
                self._abandon(now_ns)

    def _offer_to_successor(self, cause: Cause, now_ns: int) -> None:
        """Nobody can pair now, and this node cannot serve: let a joined peer do better, without the flows."""
        successor = self.view.successor()
        if successor is not None and not self.paused:
            self._hand_over(cause, successor, 0, now_ns)

    def _silent_asking(self, now_ns: int) -> None:
        """The arbiter knows whether anybody else has served: go on with the flows only if nobody has."""
        if self._replaced():
            self._abandon(now_ns)
        elif not self._fit(now_ns):
            if self.view.carrier_since_ns is None:
                self._offer_to_successor(Cause.LINK_LOST, now_ns)
        elif not self.promises.free(now_ns):
            return
        elif self.arbitration.pursue(SOLO):
            if self.arbitration.unbroken_since(self.epoch):
                self._go_solo(now_ns)
            else:
                self._abandon(now_ns)
        elif self.arbitration.stuck and self._others_may_do_better(now_ns):
            self._abandon(now_ns)

    def _others_may_do_better(self, now_ns: int) -> bool:
        """Of two nodes that hear each other one can serve with the consent of both; of more, one that the
        arbiter hears. They all wait as long as this node calls itself the primary."""
        if self.settings.pair:
            return self.view.peers[0].alive
        successor = self.view.successor()
        heard = successor is not None and successor.said is not None and not successor.said.barred
        return heard and self._waited(now_ns)
