"""An experiment: the mirror loses every tenth packet.

What clients send reaches the backup as copies on the peer link. Here some of them are lost: the primary holds
what it would answer, the backup's stack sees a hole, and clients are asked to send the bytes again (the
counter `nudges` of the primary). On a primary this experiment does nothing.
"""

from fttcp.planes.experiment import Action, Direction, Drop, EngineMode, Packet, Pass

EVERY = 10


class LoseMirrored:
    """Loses each n-th of a backup's packets from clients."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.seen = 0

    def packet(self, packet: Packet) -> Action:
        """Count what is mirrored, and lose some of it."""
        if packet.mode is not EngineMode.BACKUP or packet.direction is not Direction.FROM_CLIENT:
            return Pass()
        self.seen += 1
        return Drop() if self.seen % self.every == 0 else Pass()


lose_mirrored = LoseMirrored(EVERY)
