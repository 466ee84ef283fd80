"""The register's rules: one winner for each expected record, epochs that grow, leases that protect."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fttcp.arbiter.register import Entry, Terms, inquire, propose, renew, restarted
from fttcp.ownership.ownership import Outcome, Ownership, Record

NODES = ("alpha", "beta", "gamma")
LEASE_NS, DRIFT_PPM = 1_000_000, 50_000
TERMS = Terms(LEASE_NS, DRIFT_PPM)

nodes = st.sampled_from(NODES)


@st.composite
def records(draw: st.DrawFn) -> Record:
    mode, holder = draw(st.sampled_from(Ownership)), draw(nodes)
    backup = draw(nodes) if mode is Ownership.PAIRED else ""
    return Record(draw(st.integers(0, 12)), holder, mode, backup)


def may(current: Record | None, by: str, wanted: Record) -> bool:
    """The sequential model, written anew from the text: may ``by`` ever replace ``current``?"""
    alone = wanted.mode is Ownership.SOLO and not wanted.backup
    together = wanted.mode is Ownership.PAIRED and wanted.backup != wanted.holder
    if not (alone or together) or wanted.epoch < (current.epoch + 1 if current else 1):
        return False
    if current is not None and current.mode is Ownership.PAIRED:
        pair = {current.holder, current.backup}
        return by in pair and wanted.holder in pair
    return wanted.holder == by or (current is not None and current.holder == by)


class Register(RuleBasedStateMachine):
    """Nodes that ask at random, each with a clock that may run too slow by as much as is allowed."""

    @initialize(rates=st.lists(st.integers(0, DRIFT_PPM), min_size=3, max_size=3))
    def begin(self, rates: list[int]) -> None:
        self.now_ns = 0
        self.entry = Entry()
        self.rate = dict(zip(NODES, rates, strict=True))
        self.stored: Record | None = None
        self.winners: dict[Record | None, Record] = {}
        self.believed: dict[str, tuple[Record, Fraction]] = {}

    def clock(self, node: str) -> Fraction:
        return self.now_ns / (1 + Fraction(self.rate[node], 1_000_000))

    def note_lease(self, node: str, lease_ns: int | None, delay_ns: int) -> None:
        """The holder counts its lease from the moment of sending, ``delay_ns`` ago."""
        record = self.entry.record
        assert record is not None
        if record.mode is Ownership.SOLO and record.holder == node:
            assert lease_ns is not None
            self.believed[node] = (record, self.clock(node) - delay_ns + lease_ns)

    @rule(
        by=nodes, expected=st.none() | records(), stale=st.booleans(), wanted=records(), ahead=st.booleans()
    )
    def someone_proposes(
        self, by: str, expected: Record | None, stale: bool, wanted: Record, ahead: bool
    ) -> None:
        before = self.entry.record
        expected = expected if stale else before
        if ahead and before is not None:
            wanted = Record(before.epoch + 1, wanted.holder, wanted.mode, wanted.backup)
        lapsed = self.now_ns - self.entry.leased_ns >= TERMS.patience_ns
        self.entry, verdict = propose(self.entry, by, expected, wanted, self.now_ns, TERMS)
        protected = (
            before is not None and before.mode is Ownership.SOLO and before.holder != by and not lapsed
        )
        won = before == wanted or (expected == before and may(before, by, wanted) and not protected)
        assert (verdict.outcome is Outcome.WON) is won
        assert self.entry.record == verdict.record == (wanted if won else before)
        assert bool(verdict.why) is not won
        if won and before != wanted:
            assert self.winners.setdefault(expected, wanted) == wanted, "two winners for one record"
            for node, (record, until) in self.believed.items():
                assert node == by or record != before or self.clock(node) >= until, "a lease was broken"
        self.stored = self.entry.record
        if won:
            self.note_lease(by, verdict.lease_ns, 0)

    @rule(by=nodes, delay_ns=st.integers(0, LEASE_NS))
    def someone_renews(self, by: str, delay_ns: int) -> None:
        record = self.entry.record
        if record is None:
            return
        self.now_ns += delay_ns
        self.entry, verdict = renew(self.entry, by, record, self.now_ns, TERMS)
        mine = record.mode is Ownership.SOLO and record.holder == by
        assert (verdict.outcome is Outcome.WON) is mine and self.entry.record == record
        if mine:
            assert verdict.lease_ns == LEASE_NS
            self.note_lease(by, verdict.lease_ns, delay_ns)

    @rule(by=nodes)
    def someone_waits_as_told(self, by: str) -> None:
        """Waiting as long as the arbiter says is enough, and not waiting is too early."""
        verdict = inquire(self.entry, by, self.now_ns, TERMS)
        record = verdict.record
        if record is None or verdict.wait_ns == 0:
            return
        mine = Record(record.epoch + 1, by, Ownership.SOLO)
        _, early = propose(self.entry, by, record, mine, self.now_ns + verdict.wait_ns - 1, TERMS)
        _, late = propose(self.entry, by, record, mine, self.now_ns + verdict.wait_ns, TERMS)
        assert (early.outcome, late.outcome) == (Outcome.LOST, Outcome.WON)

    @rule(duration_ns=st.integers(1, 2 * LEASE_NS))
    def time_passes(self, duration_ns: int) -> None:
        self.now_ns += duration_ns

    @rule()
    def the_arbiter_restarts(self) -> None:
        self.entry = restarted(self.stored, self.now_ns)

    @invariant()
    def epochs_grow(self) -> None:
        chain = [(old.epoch if old else 0, new.epoch) for old, new in getattr(self, "winners", {}).items()]
        assert all(old < new for old, new in chain)


TestRegister = Register.TestCase
TestRegister.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(lease_ns=st.integers(1, 10**12), drift_ppm=st.integers(0, 100_000))
def test_others_wait_longer_than_the_slowest_holder_counts(lease_ns: int, drift_ppm: int) -> None:
    """A clock slower by the drift has counted the lease when the patience is over: no rounding in between."""
    patience_ns = Terms(lease_ns, drift_ppm).patience_ns
    assert patience_ns * 1_000_000 >= lease_ns * (1_000_000 + drift_ppm)


def test_only_the_holder_or_time_replaces_a_solo_record() -> None:
    solo = Record(3, "alpha", Ownership.SOLO)
    entry = Entry(solo, 0)
    taken = Record(4, "beta", Ownership.SOLO)
    just_before, after = TERMS.patience_ns - 1, TERMS.patience_ns
    assert propose(entry, "beta", solo, taken, just_before, TERMS)[1].wait_ns == 1
    assert propose(entry, "beta", solo, taken, after, TERMS)[1].outcome is Outcome.WON
    paired = Record(4, "alpha", Ownership.PAIRED, "beta")
    assert propose(entry, "alpha", solo, paired, 1, TERMS)[1].outcome is Outcome.WON
