"""What a node knows of its group's record at the arbiter, and what it is asking there.

One request is under way at a time. A request without an answer leaves its proposal in *doubt*: it may
have been carried out, or may still be. Any later answer clears all older doubts up, since arbiters
answer a node's requests in order (fttcp/arbiter/base.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import Settings
from fttcp.ownership.ownership import Outcome, Ownership, Record


@dataclass(slots=True)
class Request:
    """One request: a proposal if ``wanted`` is there, a renewal if only ``expected`` is, else a question."""

    number: int
    sent_ns: int
    expected: Record | None = None
    wanted: Record | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """The record that this node wants: itself as holder, alone or with a backup."""

    mode: Ownership
    backup: str = ""


class Arbitration:
    """Knowledge and requests of one node about one group. Decides nothing about roles."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.record: Record | None = None
        self.known = False
        """False until the first answer (or until the owner has said what stands)."""
        self.reachable: bool | None = None
        self.lease_until_ns: int | None = None
        """End of this node's lease as solo holder; None without one."""
        self.barred_until_ns = 0
        """The arbiter refused, and will until then."""
        self.goal: Goal | None = None
        self.won: Record | None = None
        """What the present goal has brought."""
        self.took_from: Record | None = None
        """What stood before ``won``."""
        self._pending: Request | None = None
        self._doubts: list[Request] = []
        self._numbers = 0
        self._next_ns = 0
        self._renewed_ns = 0
        self._asked_ns = 0
        self._asked_for_goal = False
        self._made: dict[int, int] = {}
        """Epochs that this node proposed, each with the epoch that it was to replace."""

    # ------------------------------------------------------------------ what is known

    @property
    def certain(self) -> bool:
        """True if the record cannot be another one by this node's own doing."""
        return self.known and not self._doubts and not (self._pending and self._pending.wanted)

    def stands(self, mode: Ownership, backup: str = "") -> bool:
        """True if this node holds the group in this mode, for certain, and by its own doing: what an earlier
        life of it held is not built upon, since requests of that life may still be on their way."""
        record = self.record
        if not self.certain or record is None or record.epoch not in self._made:
            return False
        return (record.holder, record.mode, record.backup) == (self._settings.name, mode, backup)

    @property
    def _of_others(self) -> bool:
        """True if a pair without this node stands: only its two members may replace that, so a proposal would
        be refused and cost an epoch, however often it is tried."""
        record = self.record
        if record is None or record.mode is not Ownership.PAIRED or not self._settings.arbitrated:
            return False
        return self._settings.name not in (record.holder, record.backup)

    def barred(self, now_ns: int) -> bool:
        """True if the arbiter does not give this node what it wants now, or does not hear it."""
        return now_ns < self.barred_until_ns or self.reachable is False

    def replaces(self, owner: str, epoch: int) -> bool:
        """True if the group belongs to another than ``owner``, who acts under ``epoch``, or may come to by a
        proposal of this node."""
        record = self.record
        return not self.certain or (record is not None and record.holder != owner and record.epoch > epoch)

    def solo_until_ns(self) -> int | None:
        """Return until when this node may emit by its own lease, None: without limit; 0: not at all."""
        if not self.stands(Ownership.SOLO):
            return 0
        return (self.lease_until_ns or 0) if self._settings.arbitrated else None

    def doubtful_until_ns(self) -> int | None:
        """Return when a solo record that this node may have unknowingly is lost; None: it cannot have one."""
        unsure = [*self._doubts, *([self._pending] if self._pending else [])]
        sent = [r.sent_ns for r in unsure if r.wanted and r.wanted.mode is Ownership.SOLO]
        if not sent or not self._settings.arbitrated:
            return None
        return self._settings.discounted_ns(min(sent), min(sent) + self._settings.solo_lease_ns)

    def unbroken_since(self, epoch: int) -> bool:
        """True if nobody else has held the group between the record of ``epoch`` and the one that was won."""
        before = self.took_from.epoch if self.took_from else 0
        while before > epoch and before in self._made:
            before = self._made[before]
        return before == epoch

    def learn(self, record: Record) -> None:
        """The owner said what stands."""
        if not self.known or self.record is None or record.epoch > self.record.epoch:
            self.record, self.known = record, True

    @property
    def stuck(self) -> bool:
        """True if there is a goal, and the last answer about it was none or a refusal."""
        return self.goal is not None and self.won is None and self._asked_for_goal

    @property
    def unheard(self) -> bool:
        """True if there is a goal, and the arbiter does not answer."""
        return self.stuck and self.reachable is False

    # ------------------------------------------------------------------ goals and requests

    def pursue(self, goal: Goal | None) -> bool:
        """Want this record from now on; True once it was won."""
        if goal != self.goal:
            self.goal, self.won, self.took_from, self._asked_for_goal = goal, None, None, False
            self._next_ns = 0
        return self.won is not None

    def forget_goal(self) -> None:
        """Want nothing more; what was won is used up, so that the same goal later means a new record."""
        self.goal = self.won = self.took_from = None
        self._asked_for_goal = False

    def ask(
        self, now_ns: int, epoch: Callable[[], int | None], solo: bool, curious: bool
    ) -> do.Propose | do.RenewLease | do.Inquire | None:
        """Return the request that is due, if one is.

        ``epoch`` draws an epoch for a new record, None if none may be used yet; ``solo``: this node serves
        alone, so its lease is kept up; ``curious``: it wants to know what stands.
        """
        if self._pending is not None or now_ns < self._next_ns:
            return None
        if self.goal is not None and self.won is None and (self.known or self._doubts):
            if self.certain and (self._of_others or self.reachable is False):  # no doubt without need
                return do.Inquire(self._send(now_ns).number)
            return self._propose(now_ns, epoch)
        if (self.goal is not None and self.won is None) or self._doubts or (curious and self._stale(now_ns)):
            return do.Inquire(self._send(now_ns).number)
        if solo and self._renewal_ns() is not None and now_ns >= (self._renewal_ns() or 0):
            assert self.record is not None
            request = self._send(now_ns)
            request.expected = self.record
            return do.RenewLease(request.number, self.record)
        return None

    def deadline_ns(self, solo: bool, curious: bool) -> int | None:
        """Return when ``ask`` may have something to send; None while it waits for an answer."""
        if self._pending is not None:
            return None
        if (self.goal is not None and self.won is None) or self._doubts or (curious and not self.known):
            return self._next_ns
        renewal_ns = self._renewal_ns() if solo else None
        stale_ns = self._asked_ns + self._settings.solo_lease_ns if curious else None
        times = [t for t in (renewal_ns, stale_ns) if t is not None]
        return max(min(times), self._next_ns) if times else None

    def _stale(self, now_ns: int) -> bool:
        """True if it is time to look whether the record still stands."""
        return not self.known or now_ns >= self._asked_ns + self._settings.solo_lease_ns

    def _renewal_ns(self) -> int | None:
        if not self._settings.arbitrated or not self.stands(Ownership.SOLO):
            return None
        return self._renewed_ns + self._settings.solo_lease_ns // 3

    def _propose(self, now_ns: int, epoch: Callable[[], int | None]) -> do.Propose | None:
        assert self.goal is not None
        for doubt in self._doubts:  # the same again: it is won if it was won before
            wanted = doubt.wanted
            if wanted is not None and (wanted.mode, wanted.backup) == (self.goal.mode, self.goal.backup):
                return self._sent(self._send(now_ns), doubt.expected, wanted)
        number = epoch()
        if number is None:
            return None
        wanted = Record(number, self._settings.name, self.goal.mode, self.goal.backup)
        return self._sent(self._send(now_ns), self.record, wanted)

    def _sent(self, request: Request, expected: Record | None, wanted: Record) -> do.Propose:
        request.expected, request.wanted = expected, wanted
        self._made[wanted.epoch] = expected.epoch if expected else 0
        return do.Propose(request.number, expected, wanted)

    def _send(self, now_ns: int) -> Request:
        self._numbers += 1
        self._asked_ns = now_ns
        self._pending = Request(self._numbers, now_ns)
        return self._pending

    # ------------------------------------------------------------------ answers

    def answered(self, answer: ev.ArbiterAnswered, now_ns: int) -> None:
        """Take an answer in. One that comes twice, or to an older request, says nothing any more."""
        asked = self._pending
        if asked is None or asked.number != answer.request:
            return
        self._pending = None
        self.reachable = answer.outcome is not Outcome.UNREACHABLE
        if asked.wanted is not None:
            self._asked_for_goal = True
        if not self.reachable:
            if asked.wanted is not None and all(doubt.wanted != asked.wanted for doubt in self._doubts):
                self._doubts.append(asked)  # of several tries the first one counts
            self._asked_for_goal = True
            self._next_ns = now_ns + self._settings.retry_ns
            return
        self._doubts = []
        self.record, self.known = answer.record, True
        self.barred_until_ns = 0
        if self.goal is not None and self._of_others:
            self._asked_for_goal = True
            self.barred_until_ns = self._next_ns = now_ns + self._settings.watch_ns
        if asked.expected is not None or asked.wanted is not None:
            self._judge(asked, answer, now_ns)

    def _judge(self, asked: Request, answer: ev.ArbiterAnswered, now_ns: int) -> None:
        settings = self._settings
        if answer.outcome is Outcome.WON:
            if asked.wanted is not None and self.record is None:
                self.record = asked.wanted
            if answer.lease_until_ns is not None and self.stands(Ownership.SOLO):
                self._renewed_ns = asked.sent_ns
                self.lease_until_ns = settings.discounted_ns(asked.sent_ns, answer.lease_until_ns)
            wanted = asked.wanted
            if wanted is not None and self.goal == Goal(wanted.mode, wanted.backup):
                self.won, self.took_from = wanted, asked.expected
            return
        if asked.wanted is not None:
            self._made.pop(asked.wanted.epoch, None)  # it does not stand, and never will
        if (asked.wanted is not None and self.record == asked.expected) or answer.wait_ns:
            self.barred_until_ns = self._next_ns = now_ns + max(answer.wait_ns, settings.retry_ns)
