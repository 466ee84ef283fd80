"""Who may be whose backup: servers that know the same, settings that agree, engines that can speak."""

from __future__ import annotations

from fttcp.ownership.model import Role, Settings, Unfit
from fttcp.ownership.state import State
from fttcp.ownership.terms import BINDING, Term, differing
from fttcp.ownership.versions import common
from fttcp.ownership.view import Peer


class Fitness(State):
    """What the machine thinks of other nodes, by what they tell."""

    def __init__(self, settings: Settings, now_ns: int) -> None:
        """See ``State``."""
        super().__init__(settings, now_ns)
        self._elders: frozenset[int] = frozenset()
        """Servers of other nodes that were there when the first client came to this one's."""
        self._elders_until_ns = 0

    def unfit(self, peer: Peer) -> Unfit | None:
        """Return why this primary does not make a peer that waits its backup, or None.

        A server that keeps its state in memory has it of its clients. Where neither has had one, neither has
        anything that the other lacks. One that was there when this node began to serve may follow for
        ``startup_wait_ns`` from then, and once: the clients of that time are few, and nobody knows of those
        of servers that somebody else runs.
        """
        said = peer.said
        if said is None or not said.ready:
            return Unfit.NOT_READY
        members = self.settings.members
        if peer.gone or (members is not None and members.refusal(peer.name)):
            return Unfit.NO_MEMBER
        if self.version(peer) is None:
            return Unfit.RELEASE
        if not self._agreed(peer):
            return Unfit.DIFFERS
        unused = said.run != 0 and not said.served and not self.view.served
        elder = said.run in self._elders and self._stepped_ns < self._elders_until_ns
        return Unfit.YOUNGER if self.settings.memory and not (unused or elder) else None

    def differs(self, peer: Peer) -> frozenset[Term]:
        """Return in what a peer that is heard differs from this node."""
        return differing(self.settings.terms, peer.said.terms) if peer.said is not None else frozenset()

    def _agreed(self, peer: Peer) -> bool:
        """True unless a pairing with this one would break a promise."""
        return self.version(peer) is not None and not self.differs(peer) & BINDING

    def version(self, peer: Peer) -> int | None:
        """Return in which version this node's engine speaks with that of a peer, or None: in none."""
        return common(self.settings.speaks, peer.said.speaks) if peer.said is not None else None

    @property
    def contested(self) -> bool:
        """True while another node, which decides by another arbiter, may own the group for all that is known.

        Neither arbiter keeps the two apart. So of two such nodes none takes the group while the other one is
        not heard, however long that is; of two that start together, the one with the smaller digest has it.
        One that has no arbiter never does: the network's word is the weaker one.
        """
        for peer in filter(self._elsewhere, self.view.peers):
            idle = peer.said is not None and peer.said.role is not Role.PRIMARY
            if not idle or (peer.arbiter or 0) < self.settings.terms[Term.ARBITER]:
                return True
        return False

    def _elsewhere(self, peer: Peer) -> bool:
        """True if that node decides by another arbiter, as far as it ever told."""
        told = peer.arbiter is not None and len(self.settings.terms) > Term.ARBITER
        return told and peer.arbiter != self.settings.terms[Term.ARBITER]

    def _note_elders(self, fresh: bool, now_ns: int) -> None:
        """This node begins to serve: with a server that has heard nothing (``fresh``), or that has."""
        said = [peer.said for peer in self.view.peers if fresh and peer.said is not None]
        self._elders = frozenset(body.run for body in said if body.run and body.role is not Role.PRIMARY)
        self._elders_until_ns = now_ns + self.settings.startup_wait_ns
