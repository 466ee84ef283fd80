"""What this node promised its peers: not to take over within D of each heartbeat that carries a grant.

A grant to a peer goes through four states:

    none -> given -> withdrawn -> binding -> none

It is *given* by the order of one step. It is *withdrawn* by that of a later one, which has been carried out
for certain only when the next step begins: Python may stand still in between, while the beat thread goes on
granting. From then on it is *binding* for D * (1 + drift), as long as the peer may still use what it heard.
The grant of a peer that falls silent is withdrawn as well, and the peer then uses none that answers more
than its last heartbeat: once it is known when that came, the grant binds from there.

What always holds, whatever comes in which order:

- While a peer may emit by a grant of this node, ``free`` is false.
- A grant ends in two ways only: it is outlasted, or its peer has shut its gate (``void``).
- Nothing but ``void`` makes this node free sooner than it was going to be.
"""

from __future__ import annotations


class Promises:
    """The grants of one node for one group, as bits by the peers' indexes."""

    def __init__(self, binding_ns: int) -> None:
        """``binding_ns``: D * (1 + drift), for how long a grant may be used after the heartbeat with it."""
        self._binding_ns = binding_ns
        self.given = 0
        """A bit for each peer that every heartbeat grants the right to emit, by the last order."""
        self._withdrawn = False
        """The last step ordered that a grant is given no more."""
        self._silent = 0
        """Grants withdrawn because their peers fell silent: when these were last heard is to be told."""
        self._bound_until_ns = 0

    def give(self, peers: int) -> None:
        """This step's order: these peers have a grant from now on, no others."""
        self._withdrawn = bool(self.given & ~peers)
        self.given = peers

    def carried_out(self, now_ns: int) -> None:
        """A new step begins, so the orders of the last one have been carried out: what they withdrew ends."""
        if self._withdrawn:
            self._withdrawn = False
            self._bind(now_ns)

    def silence(self, peer: int) -> None:
        """The peer fell silent: this step withdraws its grant. Then ``lost`` or ``heard`` is called."""
        self._silent |= self.given & 1 << peer
        self.given &= ~(1 << peer)

    def lost(self, peer: int, heard_ns: int) -> None:
        """The peer's grant was withdrawn; it was last heard at ``heard_ns``, read after that."""
        if (self.given | self._silent) >> peer & 1:
            self.given &= ~(1 << peer)
            self._silent &= ~(1 << peer)
            self._bind(heard_ns)

    def heard(self, peer: int, now_ns: int) -> None:
        """The peer was not silent after all. Unless its grant is given again, it has ended now."""
        if self._silent >> peer & 1:
            self._silent &= ~(1 << peer)
            self._bind(now_ns)

    def void(self) -> None:
        """The peer that had a grant has shut its gate itself, or will never use it."""
        self.given = self._silent = self._bound_until_ns = 0
        self._withdrawn = False

    def free(self, now_ns: int) -> bool:
        """True if no grant of this node can let another one emit."""
        given = self.given or self._silent or self._withdrawn
        return not given and now_ns >= self._bound_until_ns

    def deadline_ns(self, now_ns: int) -> int:
        """Return when this node may be free, if that waits for time alone; it may be past."""
        return now_ns + 1 if self._withdrawn else self._bound_until_ns

    def _bind(self, since_ns: int) -> None:
        self._bound_until_ns = max(self._bound_until_ns, since_ns + self._binding_ns)
