"""Who owns a group, as an arbiter keeps it: the record, and what an arbiter answers.

The record changes only by an atomic compare-and-set. Its epoch grows with every change.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ownership(StrEnum):
    """How the holder owns the group."""

    PAIRED = "paired"
    """The holder emits under the grants of ``backup``, which alone may replace it."""
    SOLO = "solo"
    """The holder emits under a lease of the arbiter; when that has lapsed, any node may replace it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One group's entry: ``backup`` is empty unless the mode is paired."""

    epoch: int
    holder: str
    mode: Ownership
    backup: str = ""


class Outcome(StrEnum):
    """What became of a request."""

    WON = "won"
    """The record is now what was asked for (also when it was so already)."""
    LOST = "lost"
    """Another record stands, or a rule of the arbiter forbids the change; nothing was changed."""
    UNREACHABLE = "unreachable"
    """No answer: a change may or may not have been carried out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An arbiter's answer.

    ``record`` is what stands now (None: nobody ever owned the group, or no answer). ``lease_until_ns``
    is the end of the holder's lease at the arbiter, on the asker's monotonic clock and counted from the
    moment the request was sent; None when there is none. ``wait_ns`` is how long a refused asker has to
    wait before a solo holder's lease has lapsed; 0 when waiting does not help. ``why``: what speaks against
    this asker, for people; '' when the record says it all.
    """

    outcome: Outcome
    record: Record | None = None
    lease_until_ns: int | None = None
    wait_ns: int = 0
    why: str = ""
