"""An experiment: the primary dies at a point of the protocol, to the packet.

It dies when it hears the COMMIT that would let its first answer go: the backup has the client's request, both
servers have answered, no client has seen it. The backup takes over, and the answer comes from there. Another
place is another condition in `record`, `packet` or `ownership`.
"""

import os
import signal
from collections.abc import Callable

from fttcp.planes.experiment import Action, EngineMode, Pass, Record, RecordType


def die() -> None:
    """End the daemon at once, as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)


class DieAtCommit:
    """Strikes once, at the first COMMIT of bytes of a client."""

    def __init__(self, strike: Callable[[], None] = die) -> None:
        self._strike = strike
        self._opened: dict[str, int] = {}

    def record(self, record: Record) -> Action:
        """OPENED tells where a client's stream begins."""
        if record.mode is not EngineMode.PAIRED or not record.heard:
            return Pass()
        place = record.numbers.get("rcv_nxt", 0)
        if record.kind == RecordType.OPENED:
            self._opened[str(record.key)] = place
        elif record.kind == RecordType.COMMIT and self._opened.get(str(record.key), place) != place:
            self._strike()
        return Pass()


die_at_commit = DieAtCommit()
