"""One simulated machine: the production role machine, driven as the runtime drives it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, Cause, EngineMode, Settings
from fttcp.ownership.ownership import Outcome
from fttcp.ownership.pair import PairMachine
from tests.sim.arbiter import CLIENT_TIMEOUT, Arbiter, Request, Surroundings
from tests.sim.engine import Beat, Native

MS = NS_PER_MS


class Violation(AssertionError):
    """An invariant of the protocol does not hold."""


class World(Surroundings, Protocol):
    """What a host finds beside that."""

    interval: int
    machine: type[PairMachine]
    arbiter: Arbiter | None
    halt_chance: float
    disks_lost: bool

    @property
    def hosts(self) -> Mapping[str, Host]: ...

    def at(self, when: int, action: Callable[[], None]) -> None: ...

    def carry(self, sender: Host, receiver: Host, beat: Beat) -> None: ...

    def check(self) -> None: ...

    def story(self) -> str: ...


class Host:
    """It can be crashed, restarted with or without its disk, paused, lose its carrier or its server."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world, self.settings, self.name = world, settings, settings.name
        self.rate = 1 + world.random.uniform(-settings.drift_ppm / 2, settings.drift_ppm / 2) / 1e6
        self.offset = world.random.randrange(10**12)
        self.alive = False
        self.paused_until = self.stalled_until = 0
        self.carrier = self.reference = True
        self.flows_stale = False
        self.boots = 0
        self.disk = 0
        self.finished = False
        self.maintenance = 0
        self.server_up = False
        self.flows, self.flows_until, self._gets_on = ev.FlowsSeen(), 0, True
        """How connections are, until when, and whether a renewal gets on."""
        self._timers = 0
        self._events: deque[tuple[str, int, int]] = deque()
        self._backlog: deque[do.Command] = deque()
        self.native = Native(0, settings, self.post)
        self.machine = world.machine(settings, self.clock())

    def clock(self) -> int:
        """This host's monotonic clock now."""
        return self.offset + int(self.world.now * self.rate)

    @property
    def running(self) -> bool:
        return self.alive and self.world.now >= self.paused_until

    @property
    def awake(self) -> bool:
        """Whether the daemon's Python goes on; the beat thread does as long as the host runs."""
        return self.running and self.world.now >= self.stalled_until

    @property
    def resumes(self) -> int:
        """When a daemon that is held up goes on."""
        return max(self.paused_until, self.stalled_until)

    @property
    def emits(self) -> bool:
        """May a packet of the group leave this host now?"""
        return self.running and self.native.may_emit(self.clock())

    # -------------------------------------------------------------- life

    def boot(self) -> None:
        self.alive, self.finished = True, False
        self.paused_until = self.stalled_until = 0
        self.flows_stale = self.server_up = False
        self.boots += 1
        self._events.clear()
        self._backlog.clear()
        self.native = native = Native(self.world.random.randrange(1, 2**63), self.settings, self.post)
        self.machine = self.world.machine(
            replace(self.settings, stored_epoch=self.disk, boot_id=native.boot), self.clock()
        )
        self.feed(ev.Started())
        if self.maintenance:
            self.feed(ev.MaintenanceChanged(self.maintenance))
        if self.carrier:
            self.feed(ev.CarrierChanged(True))
        if not self.reference:
            self.feed(ev.ReferenceChanged(False))
        self.world.later(self.world.random.randrange(self.world.interval), lambda: self.tick(native))
        self.server_returns(self.world.random.randrange(20 * MS, 300 * MS))

    def crash(self) -> None:
        self.alive = False

    def lose_disk(self) -> None:
        self.disk, self.world.disks_lost = 0, True

    def pause(self, duration: int) -> None:
        self.paused_until = max(self.paused_until, self.world.now + duration)

    def stall(self, duration: int) -> None:
        """Python stands still (a page fault, a slow disk), and the beat thread does not."""
        self.stalled_until = max(self.stalled_until, self.world.now + duration)

    def kill_server(self) -> None:
        if self.alive and self.server_up:
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
            if not self.awake:
                self.world.at(self.resumes, lambda: self.soon(action, native))
                return
            action()

        self.world.later(delay, run)

    # -------------------------------------------------------------- the daemon's part

    def feed(self, event: ev.Event) -> None:
        """What the runtime does with an event: the engine's own events come first."""
        self.drain_events()
        self.step(event)

    def drain_events(self) -> None:
        while self._events and self.awake:
            kind, value, peer = self._events.popleft()
            if kind == "up":
                self.step(ev.PeerHeard(value, peer))
                self.hear_peer(peer)
            elif kind == "body":
                self.hear_peer(peer)
            elif kind == "lost":
                self.step(ev.LossNoticed(peer))
                self._events.appendleft(("gone", value, peer))
                self.soon(self.drain_events)
            elif kind == "gone":
                self.carry_on()  # the grant is withdrawn first: Python may have stood still before that
                if self._backlog or not self.awake:
                    self._events.appendleft((kind, value, peer))
                    return
                self.step(ev.PeerLost(value, self.clock(), self.native.peers[peer].last, peer))
            elif kind == "lapsed":
                self.step(ev.LeaseLapsed(value))
            elif kind == "link-up":
                self.step(ev.LinkFound(value, peer))
            elif kind == "link-lost":
                self.step(ev.LinkLost(value, peer))

    def hear_peer(self, peer: int) -> None:
        heard = self.native.peers[peer]
        if heard.body is not None and heard.boot == self.machine.view.peers[peer].boot_id:
            self.step(ev.PeerStated(heard.body, peer))

    def step(self, event: ev.Event) -> None:
        self.carry_on()
        if not self.awake:
            native = self.native
            self.world.at(self.resumes, lambda: self.soon(lambda: self.feed(event), native))
            return
        self._backlog.extend(self.machine.step(event, self.clock()))
        self.carry_on()
        self.arm()
        self.world.check()

    def carry_on(self) -> None:
        """Carry out what was decided; the host, or its Python alone, may be halted between any two orders."""
        while self._backlog and self.awake:
            self.carry_out(self._backlog.popleft())
            if self._backlog and self.world.random.random() < self.world.halt_chance:
                halt = self.world.random.choice((self.pause, self.stall))
                self.world.note(f"{self.name}: {halt.__name__} before {type(self._backlog[0]).__name__}")
                halt(self.world.random.choice((20, 60, 200, 1500)) * MS)
        if self._backlog and self.alive:
            native = self.native
            self.world.at(self.resumes, lambda: self.carry_on() if self.native is native else None)

    def arm(self) -> None:
        """Wake the machine at its deadline; one timer at a time."""
        self._timers += 1
        number, native, deadline = self._timers, self.native, self.machine.deadline_ns()
        if deadline is not None:
            true = int((deadline - self.offset) / self.rate) + 1
            self.world.at(true, lambda: self.soon(lambda: self.deadline(number), native))

    def deadline(self, number: int) -> None:
        if number != self._timers:
            return
        if self.machine.pulse(self.clock()):
            self.arm()
            return
        if self.machine.watches_lease:
            self.feed(ev.LeaseSeen(max(0, self.native.lease.until - self.clock())))
        self.feed(ev.DeadlineReached())

    def carry_out(self, command: do.Command) -> None:
        native, now = self.native, self.clock()
        match command:
            case do.SetLease(policy=policy, limit_ns=limit, decided_ns=decided):
                native.lease.set_policy(policy, limit, decided, now)
            case do.SetMode(mode=mode, session=session, peer=peer):
                native.set_mode(mode, session, peer, now)
                if mode in (EngineMode.IDLE, EngineMode.BACKUP):
                    self.flows_stale = False
                elif mode is EngineMode.PAIRED:  # only flows that begin now are continued by the backup
                    self.world.hosts[self.settings.peers[peer]].flows_stale = False
            case do.Publish(body=body, grant_to=grant_to):
                native.body, native.grant_to = body, grant_to
                self.send()
            case do.Propose() | do.RenewLease() | do.Inquire():
                self.ask(command)
            case do.StoreEpoch(epoch=epoch):
                self.store(epoch)
            case do.NoteTakeover(cause=cause):
                self.world.note(f"{self.name} takes over: {cause}")
            case do.Fence(why=why):
                raise Violation(f"{self.name} fenced itself: {why}{self.world.story()}")
            case do.LookAtFlows():
                self.soon(lambda: self.feed(self.look_at_flows()), native)
            case do.RestartServer():
                self.kill_server()
            case do.KeepMaintenance(count=count):
                self.maintenance = count
            case do.Finish():
                self.finished = True

    def look_at_flows(self) -> ev.FlowsSeen:
        """What a look at them finds: now and then a renewal, which takes its time."""
        world, random = self.world, self.world.random
        if world.now >= self.flows_until:
            self.flows_until = world.now + random.choice((1, 30, 300, 3000)) * MS
            self.flows = ev.FlowsSeen(random.choice((0, 0, 3)), unverified=random.choice((0, 0, 1)))
            self._gets_on = random.random() < 0.7
        return (
            replace(self.flows, progress=world.now) if self.flows.catching and self._gets_on else self.flows
        )

    def store(self, epoch: int) -> None:
        """A disk that takes its time; what it has told is there after a crash."""
        native = self.native

        def stored() -> None:
            if self.native is native:
                self.disk = max(self.disk, epoch)
                self.soon(lambda: self.feed(ev.EpochStored(epoch)), native)

        self.world.later(self.world.random.randrange(100_000, 20 * MS), stored)

    def ask(self, request: Request) -> None:
        """Send a request; without an arbiter the answer is immediate: yes."""
        number = request.request
        if self.world.arbiter is None or not self.settings.arbitrated:
            record = request.wanted if isinstance(request, do.Propose) else self.machine.arbitration.record
            self.soon(lambda: self.feed(ev.ArbiterAnswered(number, Outcome.WON, record)))
            return
        native = self.native

        def answer(said: ev.ArbiterAnswered) -> None:
            if self.native is native:
                self.soon(lambda: self.feed(said), native)

        self.world.arbiter.ask(self.name, self.boots, request, answer, self.clock())
        self.world.later(CLIENT_TIMEOUT, lambda: answer(ev.ArbiterAnswered(number, Outcome.UNREACHABLE)))

    # -------------------------------------------------------------- the beat thread's part

    def tick(self, native: Native) -> None:
        if native is not self.native or not self.alive:
            return
        if not self.running:
            self.world.at(self.paused_until + self.world.random.randrange(MS), lambda: self.tick(native))
            return
        self.take_in()
        native.judge_peers(self.clock())
        self.send()
        self.world.later(self.world.interval, lambda: self.tick(native))

    def post(self, kind: str, value: int, peer: int) -> None:
        self._events.append((kind, value, peer))
        self.soon(self.drain_events)

    def send(self) -> None:
        self.native.number += 1
        now = self.clock()
        for index, peer in self.speaks_to():
            beat = self.native.beat_for(index, now)
            if beat is not None:
                self.world.carry(self, self.world.hosts[peer], beat)

    def speaks_to(self) -> Iterable[tuple[int, str]]:
        """Whom this host beats to and listens to, with their numbers."""
        return enumerate(self.settings.peers)

    def arrive(self, sender: str, link: int, beat: Beat) -> None:
        index = next((index for index, peer in self.speaks_to() if peer == sender), None)
        if self.alive and index is not None:
            self.native.inbox.append((index, link, beat))
            if self.running:
                self.take_in()

    def take_in(self) -> None:
        self.native.judge_lease(self.clock())
        while self.native.inbox:
            self.native.receive(*self.native.inbox.popleft(), self.clock())
