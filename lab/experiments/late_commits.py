"""An experiment: the backup's commits reach the primary 20 ms late.

The primary holds an answer until the backup has committed the input that it acknowledges. So each request
and answer takes 20 ms longer, and a download, whose segments acknowledge nothing new, does not.
"""

from fttcp.planes.experiment import Action, Delay, Pass, Record, RecordType

LATE_S = 0.02


class LateCommits:
    """Delays each COMMIT that this node hears."""

    def __init__(self, late_s: float) -> None:
        self.late_s = late_s

    def record(self, record: Record) -> Action:
        """Of records that this node tells none is delayed: a Delay of these is refused."""
        late = record.heard and record.kind == RecordType.COMMIT
        return Delay(self.late_s) if late else Pass()


late_commits = LateCommits(LATE_S)
