"""A discrete-event world for the role machines of two to five nodes: all chance comes from one seed.

Each host runs the production machine against a stand-in of the native side. Time is true time in
nanoseconds; every host has a monotonic clock of its own that drifts within the bound. (There is no wall
clock in it: the core never sees one.) Heartbeats are lost, doubled, late and out of order.

Checked after every event: I1 (at most one host may emit), I3 (no host goes on with flows that another
one has meanwhile served alone), and that the epochs under which hosts serve only grow.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

from fttcp.arbiter.register import Terms
from fttcp.ownership.model import NS_PER_MS, EngineMode, Settings
from fttcp.ownership.pair import PairMachine
from tests.sim.arbiter import Arbiter
from tests.sim.engine import Beat
from tests.sim.host import Host, Violation

MS = NS_PER_MS
SECOND = 1000 * MS
LEASE = 50 * MS
DRIFT_PPM = 1000
STARTUP_WAIT = 400 * MS
SOLO_LEASE = 1000 * MS
LINKS = (0, 1)
SERVICE_LINK = 1
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")


class World:
    """Hosts, links, perhaps an arbiter, one seed."""

    interval = 10 * MS

    def __init__(self, seed: int, nodes: int = 2, arbitrated: bool = False,
                 machine: type[PairMachine] = PairMachine, host: type[Host] = Host) -> None:  # fmt: skip
        self.seed, self.machine = seed, machine
        self.random = random.Random(seed)
        self.now = self.events = 0
        self.disks_lost = False
        self._order = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self.loss = self.random.choice((0.0, 0.0, 0.01, 0.03))
        self.halt_chance = self.random.choice((0.0, 0.0, 0.001, 0.005))
        self.cut: set[tuple[str, str, int]] = set()
        """(from, to, link) that carry nothing; link -1 is the way to and from the arbiter."""
        self.log: deque[str] = deque(maxlen=120)
        names = NAMES[:nodes]
        terms = Terms(SOLO_LEASE, DRIFT_PPM)
        self.arbiter = Arbiter(self, terms, DRIFT_PPM) if arbitrated else None
        self.hosts: dict[str, Host] = {}
        self._served: tuple[int, str, int] = (0, "", 0)
        for name in names:
            priority = 100 if name == "alpha" else self.random.choice((50, 100, 150))
            peers = tuple(other for other in names if other != name)
            lease = SOLO_LEASE if arbitrated else 0
            settings = Settings("web", name, peers, priority, LEASE, DRIFT_PPM, STARTUP_WAIT, lease)
            self.hosts[name] = host(self, settings)

    def others(self, host: Host) -> list[Host]:
        return [other for other in self.hosts.values() if other is not host]

    def at(self, when: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, action))

    def later(self, delay: int, action: Callable[[], None]) -> None:
        self.at(self.now + delay, action)

    def note(self, text: str) -> None:
        self.log.append(f"{self.now / 1e9:9.4f} {text}")

    def cut_off(self, sender: str, receiver: str) -> bool:
        return (sender, receiver, -1) in self.cut

    def carry(self, sender: Host, receiver: Host, beat: Beat) -> None:
        """Bring a beat over all links: lost, late, twice, or none of it."""
        for link in LINKS:
            if (sender.name, receiver.name, link) in self.cut or self.random.random() < self.loss:
                continue
            if link == SERVICE_LINK and not (sender.carrier and receiver.carrier):
                continue
            self._bring(sender, receiver, link, beat)
            if self.random.random() < 0.01:
                self._bring(sender, receiver, link, beat)

    def _bring(self, sender: Host, receiver: Host, link: int, beat: Beat) -> None:
        chance = self.random.random()
        delay = self.random.randrange(20_000, 400_000) if chance < 0.98 else self.random.randrange(30 * MS)
        self.later(delay, lambda: receiver.arrive(sender.name, link, beat))

    def run(self, until: int) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            self.events += 1
            action()
            self.check()
        self.now = until

    # -------------------------------------------------------------- invariants

    def check(self) -> None:
        """I1, I3 and the epochs, at this instant."""
        emitters = [host for host in self.hosts.values() if host.emits]
        if len(emitters) > 1:
            names = " and ".join(host.name for host in emitters)
            raise Violation(f"I1: {names} may emit at {self.now / 1e9:.4f} s{self.story()}")
        for host in emitters:
            self._check_epoch(host)
            if host.flows_stale:
                when = f"{self.now / 1e9:.4f} s"
                raise Violation(f"I3: {host.name} goes on with stale flows at {when}{self.story()}")
            self._spoil_others(host)

    def _spoil_others(self, host: Host) -> None:
        """What this host serves now, the flows of the others miss; but not those of its backup."""
        spared = ""
        if host.native.mode is EngineMode.PAIRED:
            spared = host.settings.peers[host.native.lease.partner]
            backup = self.hosts[spared].native
            if backup.mode is not EngineMode.BACKUP or backup.session != host.native.session:
                return  # nothing is committed: nothing is served
        for other in self.hosts.values():
            if other is not host and other.name != spared and other.native.mode is not EngineMode.IDLE:
                other.flows_stale = True

    def _check_epoch(self, host: Host) -> None:
        epoch, name, boot = self._served
        mine = (host.machine.epoch, host.name, host.boots)
        if mine == self._served:
            return
        self._served = mine
        if self.disks_lost:
            return
        grown = mine[0] > epoch or (mine[0] == epoch and (name, boot) == mine[1:])
        if not grown:
            raise Violation(
                f"epochs: {name} served under {epoch}, then {mine[1]} under {mine[0]}{self.story()}"
            )

    def story(self) -> str:
        states = [
            f"{h.name}: alive={h.alive} paused={not h.running} carrier={h.carrier} server={h.server_up}"
            f" emits={h.emits}"
            f" {h.machine.phase} {h.native.mode.name} {h.native.lease.policy.name} epoch={h.machine.epoch}"
            f" record={h.machine.arbitration.record} goal={h.machine.arbitration.goal}"
            f" granted={h.machine.promises.given}"
            for h in self.hosts.values()
        ]
        arbiter = f"arbiter: up={self.arbiter.up} {self.arbiter.entry}" if self.arbiter else "no arbiter"
        about = f" (seed {self.seed}, {len(self.hosts)} nodes, loss {self.loss}, cut {sorted(self.cut)})"
        return "\n".join([about, *self.log, *states, arbiter])
