"""Checkpoints of a warm group: when one is made, which one counts, what a server begins with at a takeover.

The node that serves has one made, again and again; when it is complete it tells the others. These let go of
all connections that they have followed up to then, and would begin with that one. So what a backup follows is
never older than what it would begin with.
"""

from __future__ import annotations

from fttcp.ownership import commands as do
from fttcp.ownership.model import Body, Phase, Role

_SERVING = frozenset({Phase.SOLO, Phase.PAIRING, Phase.PAIRED})
NONE_YET = "0"
"""What a node tells that serves, and has no complete one yet."""


class Checkpoints:
    """Those of one group, as one node knows of them."""

    def __init__(self, every_ns: int) -> None:
        """``every_ns``: from the end of one to the next; 0: the group is not warm."""
        self._every_ns = every_ns
        self.told = ""
        """The last complete one of this node in this role: what the others would begin with; "": it does not
        serve."""
        self.heard = ""
        """What this node's server would begin with: the last one that another node has told."""
        self.making = ""
        """The one that is being made."""
        self._elsewhere = False
        """Another node has served since this one did: what this one has is old."""
        self._made = self._next_ns = 0
        self._serving = self._paired = False

    def look(self, phase: Phase, epoch: int, now_ns: int) -> list[do.Command]:
        """The phase may have changed, or it is time: return what is to be done. One is made when this node
        begins to serve, when a pair begins, and then again and again."""
        if not self._every_ns:
            return []
        out: list[do.Command] = []
        serving, paired = phase in _SERVING, phase is Phase.PAIRED
        began = (serving and not self._serving) or (paired and not self._paired)
        self._serving, self._paired = serving, paired
        if self.making and (began or not serving):
            self.making = ""
            out.append(do.EndCheckpoint())
        if not serving:
            self.told = ""
            return out
        self.heard, self._elsewhere, self.told = "", False, self.told or NONE_YET
        if not self.making and (began or now_ns >= self._next_ns):
            self._made += 1
            self.making = f"{epoch}.{self._made}"
            out.append(do.MakeCheckpoint(self.making))
        return out

    def ended(self, name: str, made: bool, now_ns: int) -> None:
        """The hook has ended; one that failed leaves the one before in force."""
        if name == self.making:
            self.making, self._next_ns = "", now_ns + self._every_ns
            self.told = name if made else self.told

    def hear(self, body: Body, role: Role) -> bool:
        """Another node says this to this one in this role; true if older connections are to be let go."""
        if not body.checkpoint or body.role is not Role.PRIMARY or role is Role.PRIMARY:
            return False
        self._elsewhere = True
        if body.checkpoint in (NONE_YET, self.heard):
            return False
        self.heard = body.checkpoint
        return True

    def promotion(self) -> do.Promote:
        """Return how the server of this node starts when it is to serve: as it is, with what another node has
        told last, or not at all, since another one has served and told none."""
        if not self._elsewhere:
            return do.Promote()
        return do.Promote(self.heard, lost=not self.heard)

    def deadline_ns(self) -> int:
        """Return when the next one is due; it may be past."""
        return self._next_ns if self._serving and not self.making else 0
