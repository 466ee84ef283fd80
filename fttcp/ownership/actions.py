"""What the role machine can do: each action changes its state and gives the commands that follow from it."""

from __future__ import annotations

from fttcp.ownership import commands as do
from fttcp.ownership.arbitration import Goal
from fttcp.ownership.fitness import Fitness
from fttcp.ownership.model import Cause, EngineMode, InvariantBroken, Lease, Phase
from fttcp.ownership.ownership import Ownership
from fttcp.ownership.view import Peer

SOLO = Goal(Ownership.SOLO)


class Actions(Fitness):
    """The steps the machine can take; the rules that choose them are in backup.py and primary.py."""

    # ------------------------------------------------------------------ actions of the backup's side

    def _claim(self, now_ns: int) -> bool:
        """Ask the arbiter for the group alone, once no grant of ours is in use; True when it is ours."""
        if not self.promises.free(now_ns):
            return False
        if self._claimed_ns is None:
            self._claimed_ns = now_ns
        return self.arbitration.pursue(SOLO)

    def _own(self, now_ns: int, cause: Cause, zero_ns: int, detected_ns: int) -> None:
        """Take the group over: lease, then gate, then announcement. It was won, or the peer consents. Before
        the gate opens a server is started that does not run."""
        self._reason, self._taking = cause, (cause, zero_ns, detected_ns)
        self._note_elders(self._engine is not EngineMode.BACKUP, now_ns)
        self._take_right(now_ns)
        self.session = 0
        if self._serves:
            self._serve(now_ns)
        else:
            self._woken = False
            self._enter(Phase.PROMOTING, now_ns)
            self._wake()

    @property
    def hinders(self) -> Peer | None:
        """Whose server runs, or may run, so that this node's own must not start."""
        if not self.settings.exclusive or self.phase is not Phase.PROMOTING or self._woken:
            return None
        return next((peer for peer in self.view.peers if self._may_run(peer)), None)

    def _may_run(self, peer: Peer) -> bool:
        """True if its server runs for all that it says; for a while, if it was lost during this promotion."""
        if peer.alive:
            return peer.said is None or peer.said.run != 0
        lately = self._stepped_ns < peer.lost_ns + self.settings.startup_wait_ns
        return lately and peer.heard_ns > self.since_ns and peer.last_run != 0

    def _wake(self) -> None:
        """Have the server started, once for each promotion."""
        if not self._woken and self.hinders is None:
            self._woken = True
            self._out.append(self.checkpoints.promotion())

    def _serve(self, now_ns: int) -> None:
        """Open the gate, of a group that this node owns, and whose server runs; tell where it is."""
        cause, zero_ns, detected_ns = self._taking
        was_backup = self._engine is EngineMode.BACKUP
        self._set_mode(EngineMode.SOLO, self._engine_session if was_backup else 0)
        self._out.append(do.Announce())
        self._enter(Phase.SOLO, now_ns)
        if cause is not Cause.START:
            self._out.append(do.NoteTakeover(cause, self.epoch, zero_ns, detected_ns))
        self._out.append(do.ShapeRoutes(backup=False))

    def _take_right(self, now_ns: int) -> None:
        """Begin to act as the owner: by the record that was won, else by the peer's consent."""
        won = self.arbitration.won
        epoch = won.epoch if won is not None else self._draw_epoch()
        if epoch is None:
            raise InvariantBroken("the group is to be owned under an epoch that is not stored")
        self.epoch = epoch
        self.promises.void()
        self._doubt = self._lapsed = False
        if won is None and self.settings.arbitrated:
            self._set_lease(Lease.GRANTED, now_ns)
        else:
            self._set_lease(Lease.SELF, now_ns, self.arbitration.solo_until_ns() if won is not None else None)

    def _follow(self, peer: Peer, session: int, now_ns: int) -> None:
        """Follow the primary's session and grant it the right to emit."""
        self.session, self.partner = session, peer
        self._set_mode(EngineMode.BACKUP, session)
        self._enter(Phase.FOLLOWING, now_ns)
        self._out.append(do.ShapeRoutes(backup=True))

    def _drop(self, now_ns: int) -> None:
        """Leave the pairing: flows are dropped. Of two nodes the other one goes on under our grants until it
        says that it serves alone: it may have lost the arbiter as well."""
        left, self.session = self.session, 0
        self._set_mode(EngineMode.IDLE, 0)
        if self.view.owner() is not None:
            self._enter(Phase.JOINING, now_ns)
            self._left = left
        else:
            self._listen_again(now_ns)
        self._out.append(do.ShapeRoutes(backup=False))
        self._renew_server()

    def _listen_again(self, now_ns: int) -> None:
        """The owner is gone or gave up: look for another one."""
        self._claim_cause = Cause.PEER_LOST
        self.arbitration.known = not self.settings.arbitrated
        self._enter(Phase.LISTENING, now_ns)

    def _finish(self, now_ns: int) -> None:
        """Give everything up for good."""
        self._set_lease(Lease.NONE, now_ns)
        self._set_mode(EngineMode.IDLE, 0)
        self.session = 0
        self._enter(Phase.STOPPED, now_ns)
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
        """A server that lost its connections may wait for them for ever: begin anew. It counts as down at
        once: nobody may pair with the one that is about to end."""
        if not self.view.stopping:
            self.view.healthy = self.view.vouched = False
            self._serves = not self.settings.cold
            self._out.append(do.RestartServer())

    def _offer_session(self, peer: Peer, now_ns: int) -> None:
        """Offer a new pairing to the backup that waits."""
        self.session, self.partner = self._number(), peer
        if peer.said is not None:
            self._elders -= {peer.said.run}  # from here on it misses something whenever it does not follow
        self._enter(Phase.PAIRING, now_ns)

    def _number(self) -> int:
        """Return a number that this node never used before: for a session or an offer."""
        self._numbers += 1
        return (self.epoch & 0xFFFFFFFF) << 32 | self._numbers & 0xFFFFFFFF

    def _withdraw_session(self, now_ns: int) -> None:
        self.session = 0
        self._enter(Phase.SOLO, now_ns)

    def _depend(self, now_ns: int) -> None:
        """The backup follows: from here on emission needs its grants, too, as the record may soon name it."""
        self._set_mode(EngineMode.SOLO, self._engine_session)
        self._set_lease(Lease.GRANTED, now_ns, self._grants_limit(now_ns))

    def _grants_limit(self, now_ns: int) -> int | None:
        """Return when the right to emit ends although the partner grants it.

        As long as the record may be a solo one of this node, or be made one by what is sent now, a third node
        may replace it when that has lapsed; only where there is no third node the partner's grant is enough.
        """
        arbitration, settings = self.arbitration, self.settings
        name = self.partner.name if self.partner is not None else ""
        if settings.pair or not settings.arbitrated:
            return None
        record, ends = arbitration.record, [arbitration.doubtful_until_ns()]
        if arbitration.goal == SOLO:
            ends.append(settings.discounted_ns(now_ns, now_ns + settings.solo_lease_ns))
        elif arbitration.stands(Ownership.PAIRED, name):
            return None
        if record is not None and (record.holder, record.mode) == (settings.name, Ownership.SOLO):
            ends.append(arbitration.lease_until_ns or 0)
        known = [end for end in ends if end is not None]
        return min(known) if known else 0

    def _pair(self, now_ns: int) -> None:
        """The record names the pair: emission depends on the backup's grants and commits."""
        assert self.arbitration.won is not None
        self.epoch = self.arbitration.won.epoch
        self._set_lease(Lease.GRANTED, now_ns)
        self._set_mode(EngineMode.PAIRED, self.session)
        self._lapsed = False
        assert self.partner is not None
        self._peer_boot, self.partner.declined_ns = self.partner.boot_id, 0
        self._elders = frozenset()  # whoever is left over misses what this pair serves
        self._enter(Phase.PAIRED, now_ns)

    def _go_solo(self, now_ns: int) -> None:
        """Serve without a backup: the group was won, or the peer consents. The flows go on."""
        self._take_right(now_ns)
        self._set_mode(EngineMode.SOLO, self._engine_session)
        self.session = 0
        self._enter(Phase.SOLO, now_ns)

    def _go_silent(self, now_ns: int) -> None:
        """Shut the gate and listen."""
        self._set_lease(Lease.NONE, now_ns)
        self.session = 0
        self._enter(Phase.SILENT, now_ns)

    def _abandon(self, now_ns: int) -> None:
        """Drop the flows, since another node may have gone on with them; look for an owner."""
        self._set_lease(Lease.NONE, now_ns)
        self._set_mode(EngineMode.IDLE, 0)
        self.session, self._doubt, self._lapsed = 0, False, False
        self._listen_again(now_ns)
        self._renew_server()

    def _hand_over(self, cause: Cause, peer: Peer, session: int, now_ns: int) -> None:
        """Shut the gate and offer the role to the follower of ``session`` (0: to a joined peer)."""
        self._set_lease(Lease.NONE, now_ns)
        self._reason, self.session, self.partner = cause, session, peer
        self._peer_boot = peer.boot_id
        self._enter(Phase.HANDOVER, now_ns)
        self._offer = self._number()

    def _resume(self, now_ns: int) -> None:
        """The backup declined: go on as before under its grants."""
        self.promises.void()
        self._set_lease(Lease.GRANTED, now_ns, self._grants_limit(now_ns))
        self._enter(Phase.PAIRED, now_ns)

    def _fenced(self, why: str) -> list[do.Command]:
        """Return the commands that silence this node whatever state it believes to be in."""
        self.phase = Phase.FENCED
        self._lease, self._engine = Lease.NONE, EngineMode.IDLE
        return [do.SetLease(Lease.NONE), do.SetMode(EngineMode.IDLE, 0), do.Fence(why)]
