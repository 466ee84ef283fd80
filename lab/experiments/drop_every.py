"""An experiment: lose every 50th segment with data that this node's server sends.

Both nodes run it. On the primary the client sees the loss; on the backup, whose server is silent
anyway, it loses commits: the primary then asks for them (the counter `probes_sent`).
"""

from fttcp.planes.experiment import Action, Direction, Drop, Packet, Pass

EVERY = 50


class DropEvery:
    """Counts on its own: `packet.number` counts all packets, of both directions and all flows."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.seen = 0

    def __call__(self, packet: Packet) -> Action:
        """Called once for every packet, in the engine's thread."""
        if packet.direction is not Direction.FROM_SERVER or not packet.payload:
            return Pass()
        self.seen += 1
        return Drop() if self.seen % self.every == 0 else Pass()


drop_every = DropEvery(EVERY)
