"""A discrete-event world for two role machines: heartbeats, leases and faults, all from one seed.

Each host runs the production machine against a stand-in of the native side: a beat thread (beats on
two links, grants, leases, loss detection) and an engine that emits when mode and lease allow. Time
is true time in nanoseconds; every host has a clock of its own that drifts within the bound.

Checked after every event: I1 (at most one host may emit) and I3 (no host goes on with flows that
another one has meanwhile served alone). Not made: a partition of every link at once, which the
arbiter "none" does not defend against.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fttcp.arbiter.none import NoArbiter
from fttcp.core import commands as do
from fttcp.core import events as ev
from fttcp.core.model import NS_PER_MS, Body, Cause, EngineMode, Lease, Settings
from fttcp.core.pair import PairMachine

MS = NS_PER_MS
INTERVAL = 10 * MS
LEASE = 50 * MS
DRIFT_PPM = 1000
STARTUP_WAIT = 400 * MS
LINKS = (0, 1)
SERVICE_LINK = 1
SOCKET_BUFFER = 200


class Violation(AssertionError):
    """An invariant of the protocol does not hold."""


@dataclass(frozen=True)
class Beat:
    """One heartbeat on one link."""

    boot: int
    number: int
    sent: int
    echo: int | None
    body: Body
    grant: bool


@dataclass
class Native:
    """Stand-in of the native side of one boot: beat thread, lease, gate. Times are the host's own clock."""

    boot: int
    mode: EngineMode = EngineMode.IDLE
    policy: Lease = Lease.NONE
    lease_until: int = 0
    lapse_told: bool = False
    body: Body | None = None
    grant: bool = False
    number: int = 0
    peer_boot: int = 0
    peer_number: int = 0
    peer_sent: int | None = None
    peer_body: Body | None = None
    last_beat: int = 0
    lost: bool = True
    link_last: dict[int, int] = field(default_factory=dict)
    links_up: set[int] = field(default_factory=set)
    inbox: deque[tuple[int, Beat]] = field(default_factory=lambda: deque(maxlen=SOCKET_BUFFER))
    events: deque[tuple[str, int]] = field(default_factory=deque)


class Host:
    """One machine: it can be crashed, restarted, paused, lose its carrier or its server."""

    def __init__(self, world: World, name: str, peer_name: str, priority: int) -> None:
        self.world, self.name = world, name
        self.settings = Settings("web", name, peer_name, priority, LEASE, DRIFT_PPM, STARTUP_WAIT)
        self.rate = 1 + world.random.uniform(-DRIFT_PPM / 2, DRIFT_PPM / 2) / 1e6
        self.offset = world.random.randrange(10**12)
        self.alive = False
        self.paused_until = 0
        self.carrier = True
        self.reference = True
        self.flows_stale = False
        self.native = Native(0)
        self.machine: PairMachine
        self.finished = False
        self.timers = 0
        self.maintenance = 0
        self.server_up = False

    def clock(self) -> int:
        """This host's monotonic clock now."""
        return self.offset + int(self.world.now * self.rate)

    @property
    def running(self) -> bool:
        return self.alive and self.world.now >= self.paused_until

    @property
    def emits(self) -> bool:
        """May a packet of the group leave this host now? (ftt_may_emit)"""
        native = self.native
        open_gate = native.mode in (EngineMode.PAIRED, EngineMode.SOLO) and native.policy is not Lease.NONE
        return self.running and open_gate and self.clock() < native.lease_until

    # -------------------------------------------------------------- life

    def boot(self) -> None:
        self.alive, self.paused_until, self.finished = True, 0, False
        self.flows_stale = self.server_up = False
        self.native = native = Native(self.world.random.randrange(1, 2**63))
        self.machine = PairMachine(self.settings, NoArbiter(self.settings.settle_ns), self.clock())
        self.feed(ev.Started())
        if self.maintenance:
            self.feed(ev.MaintenanceChanged(self.maintenance))
        if self.carrier:
            self.feed(ev.CarrierChanged(True))
        if not self.reference:
            self.feed(ev.ReferenceChanged(False))
        self.world.later(self.world.random.randrange(INTERVAL), lambda: self.tick(native))
        self.server_returns(self.world.random.randrange(20 * MS, 300 * MS))

    def crash(self) -> None:
        self.alive = False

    def pause(self, duration: int) -> None:
        self.paused_until = max(self.paused_until, self.world.now + duration)

    def kill_server(self) -> None:
        if self.alive and self.machine.view.healthy:
            self.server_up = False
            self.soon(self.tell_health)
            self.server_returns(self.world.random.randrange(20 * MS, 1000 * MS))

    def server_returns(self, delay: int) -> None:
        native = self.native

        def up() -> None:
            if self.native is native:
                self.server_up = True
                self.soon(self.tell_health)

        self.world.later(delay, up)

    def tell_health(self) -> None:
        self.feed(ev.ServerRecovered() if self.server_up else ev.ServerFailed(Cause.SERVER_DIED))

    def set_carrier(self, up: bool) -> None:
        self.carrier = up
        self.soon(lambda: self.feed(ev.CarrierChanged(self.carrier)))

    def set_reference(self, reachable: bool) -> None:
        self.reference = reachable
        self.soon(lambda: self.feed(ev.ReferenceChanged(self.reference)))

    def soon(self, action: Callable[[], None], native: Native | None = None) -> None:
        """Run a piece of this boot's Python code after a delay that the scheduler chooses."""
        native = native or self.native
        chance = self.world.random.random()
        delay = self.world.random.randrange(MS) if chance < 0.97 else self.world.random.randrange(60 * MS)

        def run() -> None:
            if self.native is not native or not self.alive:
                return
            if not self.running:
                self.world.at(self.paused_until, lambda: self.soon(action, native))
                return
            action()

        self.world.later(delay, run)

    # -------------------------------------------------------------- the daemon's part

    def feed(self, event: ev.Event) -> None:
        """What the runtime does with an event: the engine's own events come first."""
        self.drain_events()
        self.step(event)

    def drain_events(self) -> None:
        native = self.native
        while native.events:
            kind, value = native.events.popleft()
            if kind == "up":
                self.step(ev.PeerHeard(value))
                self.hear_peer()
            elif kind == "body":
                self.hear_peer()
            elif kind == "lost":
                native.grant = False
                self.step(ev.PeerLost(value, self.clock(), native.last_beat))
            elif kind == "lapsed":
                self.step(ev.LeaseLapsed(value))
            elif kind == "link-up":
                self.step(ev.LinkFound(value))
            elif kind == "link-lost":
                self.step(ev.LinkLost(value))

    def hear_peer(self) -> None:
        native = self.native
        if native.peer_body is not None and native.peer_boot == self.machine.peer_boot:
            self.step(ev.PeerStated(native.peer_body))

    def step(self, event: ev.Event) -> None:
        for command in self.machine.step(event, self.clock()):
            self.carry_out(command)
        self.arm()
        self.world.check()

    def arm(self) -> None:
        """Wake the machine at its deadline; one timer at a time."""
        self.timers += 1
        number, native, deadline = self.timers, self.native, self.machine.deadline_ns()
        if deadline is not None:
            true = int((deadline - self.offset) / self.rate) + 1
            self.world.at(true, lambda: self.soon(lambda: self.deadline(number), native))

    def deadline(self, number: int) -> None:
        if number == self.timers:
            self.feed(ev.DeadlineReached())

    def carry_out(self, command: do.Command) -> None:
        native = self.native
        match command:
            case do.SetLease(policy=policy):
                native.policy, native.lapse_told = policy, False
                if policy is Lease.SELF:
                    native.lease_until = self.clock() + LEASE
                elif policy is Lease.NONE:
                    native.lease_until = 0
            case do.SetMode(mode=mode):
                native.mode = mode
                if mode in (EngineMode.IDLE, EngineMode.BACKUP):
                    self.flows_stale = False
                elif mode is EngineMode.PAIRED:  # only flows that begin now are continued by the backup
                    self.world.other(self).flows_stale = False
            case do.Publish(body=body, grant=grant):
                native.body, native.grant = body, grant
                self.send()
            case do.RecordTakeover(cause=cause):
                self.world.note(f"{self.name} takes over: {cause}")
            case do.Fence(why=why):
                raise Violation(f"{self.name} fenced itself: {why}")
            case do.RestartServer():
                self.kill_server()
            case do.KeepMaintenance(count=count):
                self.maintenance = count
            case do.Finish():
                self.finished = True

    # -------------------------------------------------------------- the beat thread's part

    def tick(self, native: Native) -> None:
        if native is not self.native or not self.alive:
            return
        if not self.running:
            self.world.at(self.paused_until + self.world.random.randrange(MS), lambda: self.tick(native))
            return
        now = self.clock()
        while native.inbox:  # drain before judging
            self.receive(*native.inbox.popleft())
        if native.policy is Lease.SELF and now < native.lease_until:
            native.lease_until = now + LEASE
        if native.policy is not Lease.NONE and now >= native.lease_until and not native.lapse_told:
            native.lapse_told = True
            self.post("lapsed", now)
        patience = self.settings.patience_ns
        for link in list(native.links_up):
            if now - native.link_last[link] >= patience:
                native.links_up.discard(link)
                self.post("link-lost", link)
        if not native.lost and now - native.last_beat >= patience:
            native.lost = True
            self.post("lost", now - native.last_beat)
        self.send()
        self.world.later(INTERVAL, lambda: self.tick(native))
        self.world.check()

    def post(self, kind: str, value: int) -> None:
        self.native.events.append((kind, value))
        self.soon(self.drain_events)

    def send(self) -> None:
        native = self.native
        if native.body is None:
            return
        native.number += 1
        beat = Beat(native.boot, native.number, self.clock(), native.peer_sent, native.body, native.grant)
        for link in LINKS:
            self.world.carry(self, link, beat)

    def arrive(self, link: int, beat: Beat) -> None:
        if not self.alive:
            return
        self.native.inbox.append((link, beat))
        if self.running:
            while self.native.inbox:
                self.receive(*self.native.inbox.popleft())

    def receive(self, link: int, beat: Beat) -> None:
        native, now = self.native, self.clock()
        if beat.boot != native.peer_boot:
            native.peer_boot, native.peer_number, native.lost = beat.boot, 0, True
            native.peer_sent = native.peer_body = None
        native.last_beat = native.link_last[link] = now
        if native.lost:
            native.lost = False
            self.post("up", beat.boot)
        if link not in native.links_up:
            native.links_up.add(link)
            self.post("link-up", link)
        if beat.number <= native.peer_number:
            return
        native.peer_number, native.peer_sent = beat.number, beat.sent
        if beat.body != native.peer_body:
            native.peer_body = beat.body
            self.post("body", 0)
        if beat.grant and beat.echo is not None and native.policy is Lease.GRANTED:
            native.lease_until = max(native.lease_until, beat.echo + LEASE)


class World:
    """Two hosts, two links, one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0
        self._order = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self.loss = self.random.choice((0.0, 0.0, 0.01, 0.03))
        self.cut: set[tuple[str, int]] = set()
        self.log: deque[str] = deque(maxlen=60)
        self.hosts = {
            "alpha": Host(self, "alpha", "beta", 100),
            "beta": Host(self, "beta", "alpha", self.random.choice((50, 100, 150))),
        }

    def other(self, host: Host) -> Host:
        return self.hosts["beta" if host.name == "alpha" else "alpha"]

    def at(self, when: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, action))

    def later(self, delay: int, action: Callable[[], None]) -> None:
        self.at(self.now + delay, action)

    def note(self, text: str) -> None:
        self.log.append(f"{self.now / 1e9:9.4f} {text}")

    def carry(self, sender: Host, link: int, beat: Beat) -> None:
        """Bring a beat over a link: lost, or late, or neither."""
        receiver = self.other(sender)
        if (sender.name, link) in self.cut or self.random.random() < self.loss:
            return
        if link == SERVICE_LINK and not (sender.carrier and receiver.carrier):
            return
        delay = self.random.randrange(20_000, 400_000) if self.random.random() < 0.98 else 5 * MS
        beat = replace(beat)
        self.later(delay, lambda: receiver.arrive(link, beat))

    def run(self, until: int) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            self.check()
        self.now = until

    def check(self) -> None:
        """I1 and I3, at this instant."""
        emitters = [host for host in self.hosts.values() if host.emits]
        if len(emitters) > 1:
            raise Violation(f"I1: both hosts may emit at {self.now / 1e9:.4f} s{self.story()}")
        for host in emitters:
            if host.flows_stale:
                when = f"{self.now / 1e9:.4f} s"
                raise Violation(f"I3: {host.name} goes on with stale flows at {when}{self.story()}")
            if host.native.mode is EngineMode.SOLO and self.other(host).native.mode is not EngineMode.IDLE:
                self.other(host).flows_stale = True

    def story(self) -> str:
        states = [
            f"{h.name}: alive={h.alive} paused={not h.running} carrier={h.carrier}"
            + (f" {h.machine.phase} {h.native.policy.name} {h.machine.view}" if h.alive else "")
            for h in self.hosts.values()
        ]
        return "\n".join([f" (seed {self.seed}, loss {self.loss})", *self.log, *states])
