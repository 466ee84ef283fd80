"""The role machine of a pair: one instance per group and node.

``PairMachine.step(event, now_ns)`` takes what happened and returns what to do, in order. It works
in two halves: the event changes what the node knows (``View``); then the rules of the phase that
the node is in are applied to that knowledge until nothing changes any more. What is true counts,
not which event said so; events may come late, twice or not at all.

Safety rests on these rules (checked after every step, and by simulation):

- A lease of the node's own (SELF) and a grant to a peer never exist at the same time.
- A node takes nothing while a grant that it gave may still let a peer emit: it waits D * (1 + drift)
  from the last heartbeat that it answered, or until the peer says that its gate is shut.
- With an arbiter a node emits alone only under a record that it won, until that record's lease ends;
  and beside a backup only under that backup's grants. While it does not know which of the two stands,
  it needs both. Of two nodes the grants of the other one are enough, whatever the record says.
- The flows are taken over, or kept, only if the record shows that nobody else served meanwhile.
- Epochs never collide and only grow, also over restarts: they are stored before they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.backup import BackupRules
from fttcp.ownership.model import (
    OWNING_MODES,
    OWNING_PHASES,
    PRIMARY_PHASES,
    HistoryFailure,
    InvariantBroken,
    Mode,
    Phase,
    Refusal,
    Role,
    Settings,
)
from fttcp.ownership.ownership import Ownership, Record
from fttcp.ownership.primary import PrimaryRules
from fttcp.ownership.view import Peer

_MAX_ROUNDS = 8
NEVER_NS = 1 << 63
_BEGIN_ANEW = frozenset({HistoryFailure.CUT, HistoryFailure.NOT_FRESH})
"""Another server, or the same one begun anew, may have more luck with the history."""
_RESTING = frozenset({Phase.FOLLOWING, Phase.PAIRED})


class PairMachine(PrimaryRules, BackupRules):
    """Decides the role of one node for one group."""

    def __init__(self, settings: Settings, now_ns: int) -> None:
        """Create the machine in phase listening; feed it ``Started`` first."""
        super().__init__(settings, now_ns)
        self._rests_until_ns = 0
        """Of a machine that waits for nothing but time: the first time that a rule waits for."""
        self._rules: dict[Phase, Callable[[int], None]] = {
            Phase.LISTENING: self._listening,
            Phase.JOINING: self._joining,
            Phase.FOLLOWING: self._following,
            Phase.PROMOTING: self._promoting,
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
        self._out, self._rests_until_ns = [], 0
        try:
            self._absorb(event, now_ns)
            if isinstance(event, ev.LossNoticed):  # a grant is withdrawn; the rules follow with ``PeerLost``
                self._publish(now_ns)
                self._check()
                return self._out
            self._judge_mirror(now_ns)
            self._apply_rules(now_ns)
            self._out += self.checkpoints.look(self.phase, self.epoch, now_ns)
            self._settle_last_words()
            self._publish(now_ns)
            self._lead_mirror()
            if self.moment.looks(now_ns):
                self._out.append(do.LookAtFlows())
            self._check()
            self._ask(now_ns)
        except InvariantBroken as broken:
            return self._fenced(str(broken))
        wants = self._orphaned_ns is not None or self._forced or self.settings.arbitrated
        if self.phase in _RESTING and not wants:
            self._rests_until_ns = self._due_ns()
        return self._out

    def pulse(self, now_ns: int) -> bool:
        """True if ``DeadlineReached`` would decide nothing now, for no rule waited for a time since the last
        step: it need not be told. The pulse, for which alone it is due then, counts. A pair in step is at
        rest nearly always, and pulses many times in a second."""
        rests = now_ns < self._rests_until_ns and 0 <= now_ns - self._stepped_ns <= self.settings.lease_ns
        if rests:
            self._stepped_ns = now_ns
        return rests

    def deadline_ns(self) -> int | None:
        """Return when ``DeadlineReached`` is wanted at the latest; None when the machine is done.

        Besides the times that rules wait for, this is a pulse a few times per lease: by its absence
        the machine notices that the node was halted.
        """
        if self.phase in (Phase.FENCED, Phase.STOPPED):
            return None
        return min(self._stepped_ns + self.settings.pulse_ns, self._rests_until_ns or self._due_ns())

    @property
    def rests_until_ns(self) -> int | None:
        """When a rule of a machine at rest is due (beyond all times if none is); None: it is not at rest."""
        return self._rests_until_ns or None

    def _due_ns(self) -> int:
        """The first time after the last step that a rule waits for."""
        settings, view = self.settings, self.view
        times = [self._alert_until_ns]
        times.append(self.promises.deadline_ns(self._stepped_ns))
        times += [self.mirror.deadline_ns(), self.checkpoints.deadline_ns()]
        times += self.moment.deadlines_ns(settings.handover_wait_ns)
        if view.carrier_since_ns is not None:
            times.append(view.carrier_since_ns + settings.settle_ns)
        if self.phase is Phase.LISTENING:
            times.append(self.since_ns + settings.startup_wait_ns)
            times.append(self.since_ns + settings.settle_ns)
            times += [peer.since_ns + settings.settle_ns for peer in view.peers]
        elif self._orphaned_ns is not None:
            times.append(self._orphaned_ns + settings.patience_ns)
        if self._grants_end_ns is not None:
            times.append(self._grants_end_ns - settings.ask_ahead_ns)
        if self.phase is Phase.PAIRING:
            times.append(self.since_ns + settings.startup_wait_ns)
        asks_ns = self.arbitration.deadline_ns(self.phase in OWNING_PHASES, settings.arbitrated)
        if asks_ns is not None:
            times.append(asks_ns)
        return min((t for t in times if t > self._stepped_ns), default=NEVER_NS)

    def _apply_rules(self, now_ns: int) -> None:
        """Apply the rules of the current phase until the state stands still."""
        for _ in range(_MAX_ROUNDS):
            before = self._key()
            if not (self.phase in PRIMARY_PHASES and self._yielded(now_ns)):
                rule = self._rules.get(self.phase)
                if rule is not None:
                    rule(now_ns)
            if self._key() == before:
                return
        raise InvariantBroken(f"the rules find no rest: {before} became {self._key()}")

    def _ask(self, now_ns: int) -> None:
        """Send what is to be asked of the arbiter, after all orders: a grant that ends has ended by then."""
        if self.phase in (Phase.FENCED, Phase.STOPPED):
            return
        self._store_epochs()
        solo = self.phase in OWNING_PHASES
        request = self.arbitration.ask(now_ns, self._draw_epoch, solo, self.settings.arbitrated)
        if request is not None:
            self._out.append(request)

    # ------------------------------------------------------------------ what happened

    def _absorb(self, event: ev.Event, now_ns: int) -> None:
        """Let the event change what the node knows."""
        if now_ns < self._stepped_ns:
            raise InvariantBroken(f"time ran backwards by {self._stepped_ns - now_ns} ns")
        self._note_gap(now_ns - self._stepped_ns, now_ns)
        self._stepped_ns = now_ns
        self.promises.carried_out(now_ns)
        view = self.view
        match event:
            case ev.LossNoticed(peer=peer):
                view.peers[peer].silent = view.peers[peer].alive
                self.promises.silence(peer)
            case ev.PeerHeard() | ev.PeerLost() | ev.PeerStated() | ev.LinkFound() | ev.LinkLost():
                self._absorb_peer(event, view.peers[event.peer], now_ns)
            case ev.PeerQuiet(peer=peer):
                if self.phase is Phase.FOLLOWING and self.in_step and view.peers[peer] is self.partner:
                    self._quiet_until_ns = now_ns + self.settings.lease_ns
                    self._out.append(do.Anticipate())
            case ev.LeaseLapsed(lapsed_ns=lapsed_ns):
                if lapsed_ns > self._leased_ns:
                    self._lease_lapsed(now_ns)
            case ev.LeaseSeen(left_ns=left_ns) if self.watches_lease:
                self._grants_end_ns = now_ns + left_ns
                self._grants_low = left_ns < self.settings.ask_ahead_ns
            case ev.ArbiterAnswered():
                self.arbitration.answered(event, now_ns)
                self._seen = max(self._seen, event.record.epoch if event.record else 0)
            case ev.EpochStored(epoch=epoch):
                self._stored = max(self._stored, epoch)
            case ev.ServerRecovered() | ev.ServerFailed() | ev.ServerKnown() | ev.ClientServed():
                self._absorb_server(event)
            case ev.Promoted() if self.phase is Phase.PROMOTING:
                self._serves = True
            case ev.StartFailed() if self.phase is Phase.PROMOTING:
                self._abandon(now_ns)
            case ev.CheckpointEnded(checkpoint=name, made=made):
                self.checkpoints.ended(name, made, now_ns)
            case ev.ProbesSent(number=number, targets=targets):
                self.mirror.told(number, targets, self.awaits_mirror, now_ns)
            case ev.ProbeSeen(number=number, target=target):
                self.mirror.seen(number, target)
            case ev.CarrierChanged(up=up):
                view.stand(up, view.bears, now_ns)
            case ev.GroundChanged(bears=bears):
                view.stand(view.carrier, bears, now_ns)
            case ev.ReferenceChanged(reachable=reachable):
                view.reference = reachable
            case ev.HistoryFailed(how=how) if self.phase is Phase.FOLLOWING and how in _BEGIN_ANEW:
                self._drop(now_ns)
            case ev.WorkerDied(ends_held=held) if held and self.settings.saves_workers:
                if self.phase is Phase.PAIRED and view.stopping:
                    self._switch_now = True  # the stop waits no longer
                elif self.role is Role.PRIMARY and view.vouched:
                    self._absorb_request(ev.SwitchoverRequested(1, now=True), now_ns)
            case ev.FlowsSeen():
                self.moment.told(event, now_ns)
            case ev.SwitchoverRequested():
                self._absorb_request(event, now_ns)
            case ev.FailoverRequested(nonce=nonce):
                self._absorb_failover(nonce, now_ns)
            case ev.MaintenanceChanged(count=count):
                self._absorb_maintenance(count)
            case ev.Reconfigured() | ev.MembersKnown() | ev.PeersNamed():
                self._absorb_settings(event, now_ns)
            case ev.StopRequested():
                view.stopping = True

    def _absorb_settings(self, event: ev.Reconfigured | ev.MembersKnown | ev.PeersNamed, now_ns: int) -> None:
        """Go by another configuration, or record of the nodes. Who was taken out of that owns nothing any
        more, whatever it thinks."""
        match event:
            case ev.Reconfigured():
                changed = {one.name: getattr(event, one.name) for one in fields(event)}
                self.settings = replace(self.settings, **changed)
            case ev.MembersKnown(members=members):
                place = self.settings.place_of(self.settings.name)
                self.settings = replace(self.settings, members=members)
                for peer in self.view.peers:
                    peer.place(self.settings.links_of)
                if place not in (None, members.place(self.settings.name)) and self.phase in OWNING_PHASES:
                    self._abandon(now_ns)
            case ev.PeersNamed(peers=peers, gone=gone):
                tested = self.settings.mirror_tested and len(peers) == 1
                self.settings = replace(self.settings, peers=peers, gone=gone, mirror_tested=tested)
                self.view.name_peers(peers, gone)
                self.view.mirror = self.view.mirror or (not tested and self.phase is not Phase.FOLLOWING)

    def _judge_mirror(self, now_ns: int) -> None:
        """What an owner mirrors began or ceased to arrive, as far as probes tell."""
        if self.role is not Role.PRIMARY and self.mirror.arrives(now_ns):
            self.view.mirror = True
        if self.mirror.fails(self.awaits_mirror, now_ns):
            self.view.mirror = False

    def _note_gap(self, gap_ns: int, now_ns: int) -> None:
        """This node was halted if its steps are further apart than a lease: what it knows may be old."""
        if gap_ns > self.settings.lease_ns:
            self._gap_ns, self._alert_until_ns = gap_ns, now_ns + self.settings.settle_ns
            self._doubt = self.phase in PRIMARY_PHASES

    def _absorb_server(
        self, event: ev.ServerRecovered | ev.ServerFailed | ev.ServerKnown | ev.ClientServed
    ) -> None:
        view = self.view
        match event:
            case ev.ServerRecovered() if not view.healthy:
                view.healthy = True
                self._vouch(True)
            case ev.ServerFailed(cause=cause, serves=serves):
                view.healthy = False
                self._server_cause = cause
                self._vouch(serves)
            case ev.ServerKnown(run=run, ready=ready):
                if run != view.run:
                    view.served = self.settings.watched
                view.run, view.ready = run, ready
            case ev.ClientServed():
                view.served = True

    def _absorb_peer(
        self,
        event: ev.PeerHeard | ev.PeerLost | ev.PeerStated | ev.LinkFound | ev.LinkLost,
        peer: Peer,
        now_ns: int,
    ) -> None:
        match event:
            case ev.PeerHeard(boot_id=boot_id):
                if boot_id != peer.boot_id:
                    peer.boot_id, peer.since_ns, peer.said, peer.declined_ns = boot_id, now_ns, None, 0
            case ev.PeerLost():
                self._absorb_loss(event, peer, now_ns)
            case ev.PeerStated():
                if peer.alive:
                    self._absorb_body(event, peer)
            case ev.LinkFound(link=link):
                peer.links |= 1 << link
            case ev.LinkLost(link=link):
                peer.links &= ~(1 << link)

    def _absorb_loss(self, loss: ev.PeerLost, peer: Peer, now_ns: int) -> None:
        """Forget the peer, unless a heartbeat came in after all: then it has its grant again."""
        if now_ns - loss.heard_ns < self.settings.patience_ns:
            peer.silent = False
            self.promises.heard(peer.index, now_ns)
            return
        peer.forget()
        peer.heard_ns, peer.lost_ns = loss.heard_ns, loss.lost_ns
        peer.stalled = loss.silent_ns >= 2 * self.settings.patience_ns
        if peer.stalled:
            self._alert_until_ns = max(self._alert_until_ns, now_ns + self.settings.settle_ns)
        self.promises.lost(peer.index, loss.heard_ns)

    def _absorb_body(self, stated: ev.PeerStated, peer: Peer) -> None:
        """Note what the peer says and the epochs it has seen."""
        body = stated.body
        peer.hear(body, self.settings.links_of)
        if self.checkpoints.hear(body, self.role):
            self._out.append(do.LetGoOlder())
        self._absorb_maintenance(body.maintenance)
        self._seen, self._used = max(self._seen, body.epoch), max(self._used, body.used)
        depends = body.role is Role.PRIMARY and body.mode in (Mode.PAIRED, Mode.HANDOVER)
        if depends and self.phase is Phase.FOLLOWING and body.session == self.session:
            self.confirmed = True
            self.arbitration.learn(Record(body.epoch, peer.name, Ownership.PAIRED, self.settings.name))
        if self.phase not in PRIMARY_PHASES:
            self.epoch = max(self.epoch, body.epoch)
        if body.request not in (0, self._request_seen) and peer is self.partner:
            self._request_seen = body.request
            if self.phase is Phase.PAIRED and body.able and not self.paused:
                # Whoever asked there was not told what it ends. Without grants (a failover) no time is left.
                self._want_switch(True, force=True, now=not body.yields)

    def _absorb_request(self, asked: ev.SwitchoverRequested, now_ns: int) -> None:
        """Take a request in, or refuse it."""
        said = self.partner.said if self.partner is not None else None
        if self.view.stopping:
            self._out.append(do.Refuse(Refusal.STOPPING))
        elif self.paused:
            self._out.append(do.Refuse(Refusal.PAUSED))
        elif self.phase is Phase.PAIRED:
            self._want_switch(said is not None and said.able, asked.force, asked.now)
            if not self._switch_wanted:
                self._out.append(do.Refuse(Refusal.PEER_UNABLE))
        elif self.phase is Phase.FOLLOWING and self.confirmed and said is not None:
            if self._able(now_ns):
                self._request = asked.nonce
            else:
                self._out.append(do.Refuse(Refusal.SELF_UNABLE))
        else:
            self._out.append(do.Refuse(Refusal.IS_SPARE if self.spare else Refusal.NOT_PAIRED))

    def _absorb_failover(self, nonce: int, now_ns: int) -> None:
        """Stop granting; what was granted is outlasted before anything else is done. Or refuse.

        The primary is asked as well: one that can hear hands over before it asks the arbiter to go on alone.
        """
        owner = self.view.owner()
        alone = owner is not None and owner.said is not None and owner.said.mode in OWNING_MODES
        if self.view.stopping:
            refusal = Refusal.STOPPING
        elif self.paused:
            refusal = Refusal.PAUSED
        elif self.phase in PRIMARY_PHASES:
            refusal = Refusal.IS_PRIMARY
        elif self.phase is Phase.FOLLOWING and self.confirmed:
            if self._able(now_ns):
                self._forced, self._request = True, nonce
                self._orphaned_ns = self._orphaned_ns or now_ns
                return
            refusal = Refusal.SELF_UNABLE
        elif self.spare:
            refusal = Refusal.IS_SPARE
        else:
            refusal = Refusal.PRIMARY_ALONE if alone else Refusal.NOT_PAIRED
        self._out.append(do.Refuse(refusal))

    def _absorb_maintenance(self, count: int) -> None:
        """Go by the highest count; what an operator wanted before a pause is not wanted any more."""
        if count > self.maintenance:
            self.maintenance = count
            self._out.append(do.KeepMaintenance(count))
            if self.paused:
                self._want_no_switch()
                self._request, self._forced = 0, False

    def _lease_lapsed(self, now_ns: int) -> None:
        """This node did not renew its right to emit: who else may have taken the service?"""
        self._lapsed = True
        if self.phase not in OWNING_PHASES:
            return
        halted = not self.settings.arbitrated and self._gap_ns >= self.settings.startup_wait_ns
        if halted or self.phase is Phase.PROMOTING:  # flows that are no server's yet cannot be gone on with
            self._abandon(now_ns)
        else:
            self._go_silent(now_ns)
