"""What a node builds on of what it knows about its record."""

from __future__ import annotations

from fttcp.core import commands as do
from fttcp.core import events as ev
from fttcp.core.model import NS_PER_MS, Settings
from fttcp.core.ownership import Outcome, Ownership, Record
from fttcp.core.register import Goal, Register

D = 100 * NS_PER_MS
SETTINGS = Settings("web", "alpha", ("beta", "gamma"), 100, D, 1000, 5 * D, solo_lease_ns=30 * D)
SOLO = Goal(Ownership.SOLO)


class Asking:
    """A register whose requests are answered by hand."""

    def __init__(self) -> None:
        self.register, self.now, self.epoch = Register(SETTINGS), 10**12, 100

    def draw(self) -> int:
        self.epoch += 1
        return self.epoch

    def ask(self, solo: bool = False) -> do.Propose | do.RenewLease | do.Inquire:
        self.now += 10 * SETTINGS.retry_ns
        request = self.register.ask(self.now, self.draw, solo, True)
        assert request is not None
        return request

    def answer(self, request: int, outcome: Outcome, record: Record | None) -> None:
        until = self.now + SETTINGS.solo_lease_ns
        self.register.answered(ev.ArbiterAnswered(request, outcome, record, until), self.now)


def test_what_an_earlier_life_held_is_won_anew_before_it_counts() -> None:
    asking = Asking()
    asking.answer(asking.ask().request, Outcome.WON, Record(5, "alpha", Ownership.SOLO))
    assert asking.register.certain and not asking.register.stands(Ownership.SOLO)
    assert asking.register.solo_until_ns() == 0
    asking.register.pursue(SOLO)
    proposal = asking.ask()
    assert isinstance(proposal, do.Propose) and proposal.wanted.epoch > 5
    asking.answer(proposal.request, Outcome.WON, proposal.wanted)
    assert asking.register.stands(Ownership.SOLO) and asking.register.solo_until_ns()


def test_proposals_that_were_refused_are_not_kept() -> None:
    asking = Asking()
    other = Record(7, "beta", Ownership.PAIRED, "gamma")
    asking.answer(asking.ask().request, Outcome.WON, other)
    asking.register.pursue(SOLO)
    for _ in range(50):
        asking.answer(asking.ask().request, Outcome.LOST, other)
    assert not asking.register._made
