"""What nodes were told about one register, checked against any order in which it can have happened.

Each record of a register names its epoch, and epochs grow; so a history is linearizable if no epoch has two
records, no record two successors, and nobody is told of an older record than somebody was told of before.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from fttcp.ownership.ownership import Record


@dataclass
class Ledger:
    """``note`` what was answered; ``check`` in the end. Times are of one clock, in any unit."""

    told: list[tuple[float, float, Record | None]] = field(default_factory=list)
    wins: list[tuple[Record | None, Record]] = field(default_factory=list)

    def note(self, asked: float, answered: float, record: Record | None) -> None:
        """Somebody asked, and was told that this record stands."""
        self.told.append((asked, answered, record))

    def note_win(self, expected: Record | None, wanted: Record) -> None:
        """Somebody was told that it replaced ``expected`` by ``wanted``."""
        self.wins.append((expected, wanted))

    def check(self) -> None:
        """Fail if the register forked, or forgot."""
        records: dict[int, Record | None] = {0: None}
        for _, _, record in self.told:
            epoch = record.epoch if record else 0
            assert records.setdefault(epoch, record) == record, f"forked: {records[epoch]} and {record}"
        winners: dict[Record | None, Record] = {}
        for expected, wanted in self.wins:
            assert winners.setdefault(expected, wanted) == wanted, f"two winners over {expected}"
        newest = 0
        answers = sorted((answered, record.epoch if record else 0) for _, answered, record in self.told)
        ended = 0
        for asked, _, record in sorted(self.told, key=lambda told: told[0]):
            while ended < len(answers) and answers[ended][0] < asked:
                newest = max(newest, answers[ended][1])
                ended += 1
            epoch = record.epoch if record else 0
            assert epoch >= newest, f"forgotten: epoch {newest} was known, then {record} was told"

    def chained(self) -> bool:
        """True if every epoch from the first to the last was won by somebody who was told so."""
        epochs = sorted({wanted.epoch for _, wanted in self.wins})
        return all(after == before + 1 for before, after in itertools.pairwise(epochs))
