"""What other nodes say in their heartbeats, understood or not."""

from __future__ import annotations

from fttcp.ownership.model import Body, Settings
from fttcp.ownership.view import Peer
from fttcp.planes.base import EngineEvent, Intrusion
from fttcp.server.verdict import Note
from fttcp.wire import body as codec
from fttcp.wire.errors import WireError

_STRANGER_NS = 5_000_000_000
"""For so long a forged heartbeat explains why a node is not heard; they are told once in a second."""


class Hearing:
    """Decodes bodies, and remembers of each peer the keys that it believes, and what was wrong."""

    def __init__(self, settings: Settings, note: Note) -> None:
        self._settings, self._note = settings, note
        self.asides: dict[str, codec.Aside] = {}
        """Name of a peer -> what it told last beside its body."""
        self.releases: dict[str, str] = {}
        """Name of a peer -> the release that it runs; "" if it does not tell."""
        self._errors: dict[int, str] = {}
        self._strangers: dict[Intrusion, int] = {}

    def understand(self, data: bytes, known: Peer) -> Body | None:
        """Return what a peer says; None if it cannot be taken, which is told once."""
        self.releases[known.name] = ""
        try:
            fields = codec.unpack(data)
            self.releases[known.name] = codec.release_of(fields)
            body = codec.body_of(fields)
            self.asides[known.name] = codec.aside_of(fields)
            self._agree(body, known.name)
        except WireError as error:
            if str(error) != self._errors.get(known.index):
                self._errors[known.index] = str(error)
                self._note("peer-misunderstood", "error", why=str(error))
            return None
        self._errors.pop(known.index, None)
        return body

    def _agree(self, body: Body, name: str) -> None:
        settings = self._settings
        if (body.group, body.name) != (settings.group, name):
            raise WireError(f"body of group {body.group!r} by node {body.name!r}: check [peer] and [[group]]")
        if body.lease_ns != settings.lease_ns:  # a grant means as much as its receiver takes it for
            raise WireError(
                f"node {body.name} counts with a lease of {body.lease_ns / 1e6:g} ms, this node with "
                f"{settings.lease_ns / 1e6:g} ms: set the same [group.timing] on both"
            )

    def aside(self, peer: str) -> codec.Aside:
        """What a peer told last beside its body."""
        return self.asides.get(peer, codec.Aside())

    def met(self, event: EngineEvent) -> None:
        """A heartbeat came that is not what it should be."""
        self._strangers[Intrusion(event.value)] = event.when_ns

    def error(self, peer: int) -> str:
        """Why the last word of a peer was not understood; '' if it was."""
        return self._errors.get(peer, "")

    def strange(self, now_ns: int) -> list[Intrusion]:
        """What was wrong with heartbeats that came a moment ago, the newest last."""
        recent = {kind: ns for kind, ns in self._strangers.items() if now_ns - ns < _STRANGER_NS}
        return sorted(recent, key=recent.__getitem__)
