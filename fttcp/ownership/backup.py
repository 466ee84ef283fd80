"""Rules of a node that does not serve: it listens, joins, or follows."""

from __future__ import annotations

from fttcp.ownership.actions import SOLO, Actions
from fttcp.ownership.model import Body, Cause, Mode, Phase, Role
from fttcp.ownership.ownership import Ownership
from fttcp.ownership.view import Peer


class BackupRules(Actions):
    """One method for each phase; each is applied until nothing changes any more."""

    def _listening(self, now_ns: int) -> None:
        """Nobody is known to own the group: wait for an owner, or become it."""
        self._seeking = False
        if self.view.stopping:
            self._finish(now_ns)
        elif self.view.owner() is not None:
            self._enter(Phase.JOINING, now_ns)
        elif self.contested:
            self._heed(self.view.peers[0], now_ns)
        elif self.settings.arbitrated:
            self._seek(now_ns)
        else:
            self._listen_for_one(now_ns)

    def _settled(self, now_ns: int) -> bool:
        """True if all that are there have been heard for a while."""
        heard_ns = max((peer.since_ns for peer in self.view.peers if peer.alive), default=0)
        return now_ns >= max(self.since_ns, heard_ns) + self.settings.settle_ns

    # ------------------------------------------------------------------ with an arbiter

    def _seek(self, now_ns: int) -> None:
        """Ask for the group if this node is the first in line of those that could serve."""
        peers = [peer for peer in self.view.peers if peer.alive]
        complete = not self.view.absent and all(peer.said for peer in peers)
        if not self._settled(now_ns) or not (complete or self._waited(now_ns)):
            return
        if any(peer.said is None or peer.said.role is Role.BACKUP for peer in peers):
            return  # it may know an owner
        if not self._able(now_ns):
            self._make_way(now_ns)
            return
        others = [peer.said for peer in peers if not self._elsewhere(peer)]
        if self.arbitration.won is None and any(self._before(said, now_ns) for said in others):
            self.arbitration.forget_goal()  # else nobody would have our consent
            return
        self._seeking = True
        zero_ns = max((peer.heard_ns for peer in self.view.peers), default=0) or now_ns
        if self._claim(now_ns) or (self.promises.free(now_ns) and self._consents(self.view.peers[0])):
            self._own(now_ns, self._claim_cause, zero_ns, self._claimed_ns or now_ns)

    def _make_way(self, now_ns: int) -> None:
        """This node cannot serve, and its pair's record lets nobody in but its old partner: end the pair.

        Another node can own the group when the lease that begins with that, and is not kept up, has lapsed.
        """
        arbitration, record = self.arbitration, self.arbitration.record
        if self.settings.pair or self.paused or not arbitration.certain or record is None:
            return
        member = self.settings.name in (record.holder, record.backup)
        others = any(p.said is not None and p.said.able and not p.said.barred for p in self.view.peers)
        if member and record.mode is Ownership.PAIRED and others and self.promises.free(now_ns):
            arbitration.pursue(SOLO)

    def _before(self, said: Body | None, now_ns: int) -> bool:
        """True if the one that said this comes before this node: whom the arbiter hears, priority, name.

        A node that starts and whose server is not up yet counts, too, until this one has waited long enough.
        """
        if said is None or (not said.able and self._waited(now_ns)):
            return False
        mine = (self.arbitration.barred(now_ns), -self.settings.priority, self.settings.name)
        return (said.barred, -said.priority, said.name) < mine

    # ------------------------------------------------------------------ without one: two nodes that agree

    def _listen_for_one(self, now_ns: int) -> None:
        peer = self.view.peers[0]
        said, waited = peer.said, self._waited(now_ns)
        if not peer.alive:
            self._offer = 0
            if waited and self._able(now_ns) and self._claim(now_ns):
                lost_ns = peer.lost_ns or now_ns
                self._own(now_ns, self._claim_cause, peer.heard_ns or now_ns, lost_ns)
        elif said is None:
            return
        elif said.role is Role.STARTING and said.mode is Mode.HANDOVER:
            self._take(peer, said, self._claim_cause, now_ns)
        elif said.role is Role.STARTING and self._preferred(said):
            self._listening_first(peer, said, waited, now_ns)

    def _heed(self, peer: Peer, now_ns: int) -> None:
        """Of its own accord this node takes nothing; what another one leaves to it, it may."""
        said = peer.said
        offers = said is not None and said.role is Role.STARTING and said.mode is Mode.HANDOVER
        if said is not None and offers and not self.settings.arbitrated:
            self._take(peer, said, self._claim_cause, now_ns)

    def _preferred(self, said: Body) -> bool:
        """True if this node is first in line: higher priority, then smaller name."""
        return (-self.settings.priority, self.settings.name) < (-said.priority, said.name)

    def _listening_first(self, peer: Peer, said: Body, waited: bool, now_ns: int) -> None:
        """Both nodes start and this one has the first say: own the group, or offer it to the peer."""
        if not self._settled(now_ns):
            return
        if self._offer and said.refused != self._offer:
            return
        if self._able(now_ns):
            if self._claim(now_ns):
                self._own(now_ns, self._claim_cause, peer.heard_ns or now_ns, now_ns)
        elif waited and said.able:
            self._offer = self._number()

    # ------------------------------------------------------------------ with an owner

    def _joining(self, now_ns: int) -> None:
        """A peer owns the group: wait for a pairing, or for an offer of the role."""
        owner = self.view.owner()
        said = owner.said if owner is not None else None
        if self.view.stopping:
            self._finish(now_ns)
        elif owner is None or said is None:
            if not any(peer.alive and peer.said is None for peer in self.view.peers):
                self._listen_again(now_ns)
        elif said.partner not in ("", self.settings.name):
            return
        else:
            self.partner = owner
            if said.mode is Mode.HANDOVER and said.session == 0:
                self._take(owner, said, said.reason, now_ns)
                return
            if self.arbitration.goal is not None and self.arbitration.certain:
                self.arbitration.forget_goal()
            offered = said.mode is Mode.PAIRING and said.session != 0
            if offered and self.view.healthy and self._harmless(owner) and self._agreed(owner):
                self._follow(owner, said.session, now_ns)

    def _following(self, now_ns: int) -> None:
        """In a pairing as backup: take over, keep on, or drop it."""
        view, peer = self.view, self.partner
        assert peer is not None
        said = peer.said
        if not view.healthy or view.stopping:
            self._drop(now_ns)
        elif not peer.alive:
            if self.confirmed and peer.stalled and self._hears_soon(now_ns):
                return
            if not self.confirmed or (peer.stalled and not self.settings.arbitrated):
                self._drop(now_ns)
            else:
                self._succeed(Cause.PEER_LOST, peer.heard_ns, peer.lost_ns, now_ns)
        elif said is None or said.role is not Role.PRIMARY:
            stood_still = peer.stalled and not self.settings.arbitrated
            if stood_still and (said is not None or not self._hears_soon(now_ns)):
                self._drop(now_ns)  # it may have served alone since it was heard last
            else:
                self._orphaned(now_ns)
        elif said.session != self.session or said.mode not in (Mode.PAIRING, Mode.PAIRED, Mode.HANDOVER):
            self._drop(now_ns)
        elif self._forced and said.mode is not Mode.HANDOVER:
            self._force(now_ns)
        else:
            self._orphaned_ns, self._forced, peer.stalled = None, False, False
            if said.mode is Mode.HANDOVER:
                self._take(peer, said, said.reason, now_ns)
            elif self._harmless(peer):
                self.arbitration.forget_goal()  # it is there after all
                self._claimed_ns = None
            else:  # it is too late for it if the group is ours, or another's
                self._succeed(Cause.PEER_LOST, now_ns, now_ns, now_ns)

    def _force(self, now_ns: int) -> None:
        """An operator wants the role without the primary's consent: outlast its grants, then take over."""
        since_ns = self._orphaned_ns or now_ns
        if not self._able(now_ns):
            if self.partner is None or self._harmless(self.partner):
                self._orphaned_ns, self._forced = None, False
        elif now_ns >= since_ns + self.settings.patience_ns:
            self._succeed(Cause.FAILOVER, since_ns, since_ns, now_ns)

    def _orphaned(self, now_ns: int) -> None:
        """The peer lives but is no primary any more (it restarted): outlast its grants, then take over."""
        since_ns = self._orphaned_ns
        if since_ns is None:
            self._orphaned_ns = now_ns
        elif now_ns < since_ns + self.settings.patience_ns:
            return
        elif not self.confirmed or not self._able(now_ns):
            self._drop(now_ns)
        else:
            longest_ns = self.settings.patience_ns + 4 * self.settings.retry_ns
            if not self._succeed(Cause.PEER_LOST, since_ns, since_ns, now_ns):
                stuck = self.arbitration.stuck and now_ns >= since_ns + longest_ns
                if self.phase is Phase.FOLLOWING and stuck:
                    self._drop(now_ns)

    def _succeed(self, cause: Cause, zero_ns: int, detected_ns: int, now_ns: int) -> bool:
        """Take over with the flows, if the arbiter lets this node; drop them if another one was faster."""
        arbitration, record = self.arbitration, self.arbitration.record
        ours = record is not None and self.settings.name in (record.holder, record.backup)
        if self._able(now_ns) and self._claim(now_ns):
            self._own(now_ns, cause, zero_ns, detected_ns)
            return True
        if self.settings.arbitrated and arbitration.certain and not ours:
            self._drop(now_ns)
        return False

    def _take(self, peer: Peer, said: Body, cause: Cause, now_ns: int) -> None:
        """Answer the peer's offer: own the group, or decline that offer for good."""
        if said.offered_to != self.settings.boot_id or self._refused == said.offer:
            return
        if not self.settings.arbitrated and now_ns < self._alert_until_ns:
            return
        if not self._able(now_ns) or self._epoch_at_hand() is None:
            if self.arbitration.certain or not self.settings.arbitrated:
                self.arbitration.forget_goal()
                self._refused = said.offer
            return
        self.promises.void()
        alone = not self.settings.arbitrated and self._epoch_at_hand() is not None  # its word is enough
        if alone or self._claim(now_ns) or self._consents(peer):
            noticed_ns = self._claimed_ns or now_ns
            self._own(now_ns, cause, noticed_ns, noticed_ns)
