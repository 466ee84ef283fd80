"""What all groups of a node have in common in its loop."""

from __future__ import annotations

from fttcp.group.behind import Behind
from fttcp.group.mirror import Turns
from fttcp.group.pulse import Pulse
from fttcp.group.together import Together
from fttcp.server.rounds import Rounds


class Common:
    """Of one node; a group alone has one for itself."""

    def __init__(self) -> None:
        self.behind, self.together = Behind(), Together()
        self.pulse, self.rounds, self.turns = Pulse(), Rounds(), Turns()
