"""What a node builds on of what it knows about its record."""

from __future__ import annotations

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.arbitration import Arbitration, Goal
from fttcp.ownership.model import NS_PER_MS, Settings
from fttcp.ownership.ownership import Outcome, Ownership, Record

D = 100 * NS_PER_MS
SETTINGS = Settings("web", "alpha", ("beta", "gamma"), 100, D, 1000, 5 * D, solo_lease_ns=30 * D)
SOLO = Goal(Ownership.SOLO)


class Asking:
    """A arbitration whose requests are answered by hand."""

    def __init__(self) -> None:
        self.arbitration, self.now, self.epoch = Arbitration(SETTINGS), 10**12, 100

    def draw(self) -> int:
        self.epoch += 1
        return self.epoch

    def ask(self, solo: bool = False) -> do.Propose | do.RenewLease | do.Inquire:
        self.now += 10 * SETTINGS.retry_ns
        request = self.arbitration.ask(self.now, self.draw, solo, True)
        assert request is not None
        return request

    def answer(self, request: int, outcome: Outcome, record: Record | None) -> None:
        until = self.now + SETTINGS.solo_lease_ns
        self.arbitration.answered(ev.ArbiterAnswered(request, outcome, record, until), self.now)


def test_what_an_earlier_life_held_is_won_anew_before_it_counts() -> None:
    asking = Asking()
    asking.answer(asking.ask().request, Outcome.WON, Record(5, "alpha", Ownership.SOLO))
    assert asking.arbitration.certain and not asking.arbitration.stands(Ownership.SOLO)
    assert asking.arbitration.solo_until_ns() == 0
    asking.arbitration.pursue(SOLO)
    proposal = asking.ask()
    assert isinstance(proposal, do.Propose) and proposal.wanted.epoch > 5
    asking.answer(proposal.request, Outcome.WON, proposal.wanted)
    assert asking.arbitration.stands(Ownership.SOLO) and asking.arbitration.solo_until_ns()


def test_proposals_that_were_refused_are_not_kept() -> None:
    asking = Asking()
    other = Record(7, "beta", Ownership.PAIRED, "gamma")
    asking.answer(asking.ask().request, Outcome.WON, other)
    asking.arbitration.pursue(SOLO)
    for _ in range(50):
        asking.answer(asking.ask().request, Outcome.LOST, other)
    assert not asking.arbitration._made
