"""The rules of one group's register: who may change it, to what, and when. Pure.

Whoever keeps the register (the witness, the simulator) holds one ``Entry``, calls these functions one
after the other, and answers only after the returned entry's record is on stable storage.

*Who may change what.* Nobody's record: anyone may own the group. ``paired(P, B)``: only P and B, and
only so that one of them holds it. ``solo(X)``: X at any time, anyone else after X's lease has lapsed,
and only for itself. The epoch grows with every change. And who is no member of the cluster
(``ownership/members.py``) owns nothing, is nobody's backup, and replaces nothing.

*Leases.* Only a solo record has one. It is counted here, from the moment at which it was asked for;
others wait longer than the holder was promised, by the drift allowed between both clocks. ``restarted``
begins it anew in full: how long the arbiter was away is not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fttcp.ownership.members import Members
from fttcp.ownership.ownership import Outcome, Ownership, Record

PPM = 1_000_000
NOBODY = Members()


@dataclass(frozen=True, slots=True)
class Terms:
    """A lease: its length, and by how much the rates of two clocks may differ."""

    lease_ns: int
    drift_ppm: int

    @property
    def patience_ns(self) -> int:
        """How long others wait on the arbiter's clock: the holder has then surely counted its lease."""
        return self.lease_ns + -(-self.lease_ns * self.drift_ppm // PPM)


@dataclass(frozen=True, slots=True)
class Entry:
    """One register: what stands, and when the lease of a solo holder began (arbiter's clock)."""

    record: Record | None = None
    leased_ns: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a request. Durations count from the moment at which it was decided.

    ``lease_ns``: what is left of the solo holder's lease, as promised to it; None when there is none.
    ``wait_ns``: how long the asker must wait until it may replace a solo holder; 0 when waiting does
    not help. ``why``: the reason of a refusal, for people.
    """

    outcome: Outcome
    record: Record | None
    lease_ns: int | None = None
    wait_ns: int = 0
    why: str = ""


def flaw(record: Record) -> str:
    """Return what makes ``record`` one that can never stand, or ''."""
    if record.epoch < 1:
        return f"epoch {record.epoch} is below 1"
    if not record.holder:
        return "it has no holder"
    if record.mode is Ownership.SOLO and record.backup:
        return f"it is solo and has a backup ({record.backup})"
    if record.mode is Ownership.PAIRED and record.backup in ("", record.holder):
        return "it is paired without a second node"
    return ""


def propose(
    entry: Entry,
    by: str,
    expected: Record | None,
    wanted: Record,
    now_ns: int,
    terms: Terms,
    members: Members = NOBODY,
) -> tuple[Entry, Verdict]:
    """Replace ``expected`` by ``wanted`` for node ``by``, if the rules allow it."""
    if entry.record == wanted:  # done already: the answer was lost, or the partner did it
        entry = _leased(entry, by, now_ns)
        return entry, _verdict(Outcome.WON, entry, by, now_ns, terms)
    why = strangers(members, by, wanted) or refusal(entry, by, expected, wanted, now_ns, terms)
    if why:
        return entry, replace(_verdict(Outcome.LOST, entry, by, now_ns, terms), why=why)
    entry = Entry(wanted, now_ns)
    return entry, _verdict(Outcome.WON, entry, by, now_ns, terms)


def renew(entry: Entry, by: str, record: Record, now_ns: int, terms: Terms) -> tuple[Entry, Verdict]:
    """Begin the lease of ``by``'s own solo ``record`` anew, lapsed or not, as long as it stands."""
    if entry.record != record or record.mode is not Ownership.SOLO or record.holder != by:
        verdict = _verdict(Outcome.LOST, entry, by, now_ns, terms)
        return entry, replace(verdict, why=f"node {by} does not hold the group alone with this record")
    entry = _leased(entry, by, now_ns)
    return entry, _verdict(Outcome.WON, entry, by, now_ns, terms)


def inquire(entry: Entry, by: str, now_ns: int, terms: Terms) -> Verdict:
    """Return what stands."""
    return _verdict(Outcome.WON, entry, by, now_ns, terms)


def restarted(record: Record | None, now_ns: int) -> Entry:
    """Return the entry of a record that was read from stable storage: its lease begins anew, in full."""
    return Entry(record, now_ns)


def refusal(entry: Entry, by: str, expected: Record | None, wanted: Record, now_ns: int, terms: Terms) -> str:
    """Return why ``by`` may not replace ``expected`` by ``wanted``, for people, or ''."""
    current = entry.record
    if current != expected:
        return "another record stands than was expected"
    return misfit(current, by, wanted) or (
        f"the lease of {current.holder} has not lapsed"
        if current is not None and _remaining_ns(entry, by, now_ns, terms)
        else ""
    )


def strangers(members: Members, by: str, wanted: Record) -> str:
    """Return who is no member of those that the change is by or for, in a sentence, or ''."""
    refused = (members.refusal(name) for name in (by, wanted.holder, wanted.backup) if name)
    return next(filter(None, refused), "")


def owners(records: Iterable[Record | None]) -> set[str]:
    """Return who stands in one of these records."""
    named = (name for record in records if record for name in (record.holder, record.backup))
    return set(filter(None, named))


def misfit(current: Record | None, by: str, wanted: Record) -> str:
    """Return why ``by`` may never replace ``current`` by ``wanted``, whatever the time is, or ''."""
    if broken := flaw(wanted):
        return f"the proposed record cannot stand: {broken}"
    if current is None:
        return "" if wanted.holder == by else "a node may own a group for itself only"
    if wanted.epoch <= current.epoch:
        return f"epoch {wanted.epoch} is not above {current.epoch}"
    members = (current.holder, current.backup)
    if current.mode is Ownership.PAIRED:
        if by not in members:
            return f"only {members[0]} and {members[1]} may replace their pair's record"
        return "" if wanted.holder in members else "a pair hands the group to one of its own"
    return "" if by in (current.holder, wanted.holder) else "a node may own a group for itself only"


def _leased(entry: Entry, by: str, now_ns: int) -> Entry:
    """Begin the lease anew if ``by`` holds the group alone."""
    record = entry.record
    if record is not None and record.mode is Ownership.SOLO and record.holder == by:
        return Entry(record, now_ns)
    return entry


def _remaining_ns(entry: Entry, by: str, now_ns: int, terms: Terms) -> int:
    """Return how long ``by`` must wait until another's lease has lapsed."""
    record = entry.record
    if record is None or record.mode is not Ownership.SOLO or record.holder == by:
        return 0
    return max(0, entry.leased_ns + terms.patience_ns - now_ns)


def _verdict(outcome: Outcome, entry: Entry, by: str, now_ns: int, terms: Terms) -> Verdict:
    lease_ns = None
    if entry.record is not None and entry.record.mode is Ownership.SOLO:
        lease_ns = max(0, entry.leased_ns + terms.lease_ns - now_ns)
    return Verdict(outcome, entry.record, lease_ns, _remaining_ns(entry, by, now_ns, terms))
