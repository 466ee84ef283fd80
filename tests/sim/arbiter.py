"""A simulated arbiter: the register's production rules behind a network that loses, doubles and delays."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from fttcp.arbiter import register
from fttcp.arbiter.register import NOBODY, Entry, Terms, Verdict
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.members import Members, MembersError
from fttcp.ownership.model import NS_PER_MS
from fttcp.ownership.ownership import Outcome

MS = NS_PER_MS
Request = do.Propose | do.RenewLease | do.Inquire
CLIENT_TIMEOUT = 60 * MS


class Surroundings(Protocol):
    """What every machine finds in its world: true time, chance, ways to others."""

    random: Random
    now: int

    def later(self, delay: int, action: Callable[[], None]) -> None: ...

    def cut_off(self, sender: str, receiver: str) -> bool: ...

    def note(self, text: str) -> None: ...


class Arbiter:
    """The register of one group. Its record is durable; its leases begin anew when it starts again."""

    def __init__(self, world: Surroundings, terms: Terms, drift_ppm: int) -> None:
        self.world, self.terms = world, terms
        self.rate = 1 + world.random.uniform(-drift_ppm / 2, drift_ppm / 2) / 1e6
        self.up = True
        self.entry = Entry()
        self.members = NOBODY
        self._told: dict[str, tuple[int, int]] = {}
        self._order: dict[str, tuple[int, int]] = {}

    def clock(self) -> int:
        return int(self.world.now * self.rate)

    def crash(self) -> None:
        self.up = False

    def boot(self) -> None:
        self.up, self.entry = True, register.restarted(self.entry.record, self.clock())

    def ask(self, node: str, boot: int, request: Request, answer: Callable[[ev.ArbiterAnswered], None],
            sent: int) -> None:  # fmt: skip
        """Carry a request there and an answer back, if the network and the arbiter let it."""
        for _ in range(2 if self.world.random.random() < 0.05 else 1):
            self.world.later(self._delay(), lambda: self._arrive(node, boot, request, answer, sent))

    def _arrive(self, node: str, boot: int, request: Request, answer: Callable[[ev.ArbiterAnswered], None],
                sent: int) -> None:  # fmt: skip
        if not self.up or self.world.cut_off(node, "arbiter"):
            return
        place = (boot, request.request)
        if place < self._order.get(node, (0, 0)):
            return  # an older request: it takes no effect any more
        self._order[node] = place
        verdict = self.decide(node, request)
        until = None if verdict.lease_ns is None else sent + verdict.lease_ns
        said = ev.ArbiterAnswered(request.request, verdict.outcome, verdict.record, until, verdict.wait_ns)
        if not self.world.cut_off("arbiter", node):
            self.world.later(self._delay(), lambda: answer(said))

    def tell(self, node: str, place: tuple[int, int], peers: tuple[str, ...], apart: bool,
             answer: Callable[[Members], None]) -> None:  # fmt: skip
        """As ``ask``, of the record of the nodes; ``place``: boot and number of the request."""

        def arrive() -> None:
            if not self.up or self.world.cut_off(node, "arbiter") or place < self._told.get(node, (0, 0)):
                return
            self._told[node] = place
            try:
                self.members = self.members.tell(node, peers, apart, register.owners([self.entry.record]))
                self.world.note(f"arbiter: {node} names {', '.join(peers)}: {self.members}")
            except MembersError as error:
                self.world.note(f"arbiter: {error}")
            members = self.members
            if not self.world.cut_off("arbiter", node):
                self.world.later(self._delay(), lambda: answer(members))

        for _ in range(2 if self.world.random.random() < 0.05 else 1):
            self.world.later(self._delay(), arrive)

    def decide(self, node: str, request: Request) -> Verdict:
        now = self.clock()
        match request:
            case do.Propose(expected=expected, wanted=wanted):
                before = self.entry.record
                self.entry, verdict = register.propose(
                    self.entry, node, expected, wanted, now, self.terms, self.members
                )
                if verdict.outcome is Outcome.WON and before != self.entry.record:
                    self.world.note(f"arbiter: {node} {before} -> {wanted}")
            case do.RenewLease(record=record):
                self.entry, verdict = register.renew(self.entry, node, record, now, self.terms)
            case _:
                verdict = register.inquire(self.entry, node, now, self.terms)
        return verdict

    def _delay(self) -> int:
        chance = self.world.random.random()
        if chance < 0.95:
            return self.world.random.randrange(100_000, 2 * MS)
        return self.world.random.randrange(200 * MS)
