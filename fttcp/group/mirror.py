"""Probes of the mirror: sent while this node serves, told of when they come in. The role machine judges.

Heartbeats pass where a firewall drops what clients say, and both nodes would believe in a pair that holds
nothing. So an owner sends probes by its mirror, and tells their number in its heartbeats; the backup's engine
tells of those that came; the backup says whether they do: ``Body.mirror``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from fttcp.group.readiness import Readiness, Reason
from fttcp.ownership import events as ev
from fttcp.ownership.model import Role
from fttcp.ownership.pair import PairMachine
from fttcp.ownership.view import Peer
from fttcp.planes.mirror import MirrorProbe, told
from fttcp.wire.keyfile import KeyRing

INTERVAL_S = 2.0
BETWEEN_S = 0.2
"""Of two rounds of a node. With many groups each has its turn less often: all cost no more than ten do."""
LONGEST_S = 20.0
"""So much longer a turn may be away, as with a hundred groups, however many turns were given up."""
QUICK_S = 0.2
"""While nobody follows: a pairing waits for it."""
_UNANSWERED = 10
_TODO = (
    "let TCP to the service's ports and UDP to the commit channel's (channel_port + 1 and those of further "
    "workers) pass on the peer link, in the firewalls of both nodes; rp_filter of the backup's peer "
    "interface must not be 1"
)


class Turns:
    """When the groups of a node that are in step test: each after the other."""

    def __init__(self) -> None:
        self._last_s = 0.0

    def take(self, now_s: float) -> float:
        """Return after how many seconds it is the turn of the one that asks."""
        self._last_s = min(max(now_s + INTERVAL_S, self._last_s + BETWEEN_S), now_s + INTERVAL_S + LONGEST_S)
        return self._last_s - now_s


class MirrorTest:
    """Both sides of the test, for one group on one node."""

    def __init__(
        self,
        machine: PairMachine,
        probe: MirrorProbe,
        keys: Callable[[], KeyRing],
        feed: Callable[[ev.Event], object],
        publish: Callable[[], None],
        readiness: Readiness,
        turns: Turns,
    ) -> None:
        """``feed``: to the machine, at once; ``publish`` puts ``number`` into the heartbeats; ``turns``:
        of the node."""
        self._machine, self.probe, self._keys = machine, probe, keys
        self._feed, self._publish, self._readiness, self._turns = feed, publish, readiness, turns
        self.number = 0
        """Of the last probes sent; 0 while this node has nobody to send them to."""
        self._next = secrets.randbits(40) + 1
        self._unanswered = 0
        self._heard = 0
        self._round: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; as the owner at once."""
        self._begin(0.0)

    def close(self) -> None:
        """Stop."""
        if self._round is not None:
            self._round.cancel()
            self._round = None

    def hurry(self) -> None:
        """The pair is not in step any more: a round that was due at leisure is due soon."""
        if self._round is not None:
            self._begin(QUICK_S)

    def _begin(self, delay_s: float) -> None:
        self.close()
        self._round = asyncio.get_running_loop().call_later(delay_s, self._tick)

    # ------------------------------------------------------------------ the owner's side

    def _tick(self) -> None:
        peer = self._machine.probed
        if not self._machine.in_step:
            self._begin(QUICK_S)
        elif peer is None:
            self._begin(INTERVAL_S)
        else:
            self._begin(self._turns.take(asyncio.get_running_loop().time()))
        if peer is not None:
            self._send(peer)
            self._look_at_answers(peer)
            return
        self._unanswered = 0
        self._readiness.hold("mirror-probe", [])
        if self._machine.role is not Role.BACKUP:  # nobody mirrors to it
            self._readiness.hold("mirror", [])
        if self.number:
            self.number = 0
            self._publish()

    def _send(self, peer: Peer) -> None:
        try:
            self.probe.send(self._next, self._keys(), peer.index)
        except OSError as error:
            self._readiness.hold("mirror-probe", [_unsent(error)])
            return
        self._readiness.hold("mirror-probe", [])
        self.number, self._next = self._next, self._next + 1
        self._publish()

    def _look_at_answers(self, peer: Peer) -> None:
        waits = peer.said is not None and peer.said.role is Role.BACKUP and not peer.said.mirror
        self._unanswered = self._unanswered + 1 if waits else 0
        if not waits:
            self._readiness.hold("mirror", [])
        elif self._unanswered >= _UNANSWERED:
            what = f"what this node mirrors does not arrive at {peer.name}"
            self._readiness.hold("mirror", [Reason("mirror", what, _TODO)])

    # ------------------------------------------------------------------ the other side

    def heard(self, number: int) -> None:
        """An owner tells that it has sent the probes of this number, or (0) that it sends none."""
        if number != self._heard:
            self._heard = number
            self._feed(ev.ProbesSent(number, self.probe.all))

    def seen(self, value: int) -> None:
        """The engine tells of a probe that came in."""
        self._feed(ev.ProbeSeen(*told(value)))

    def look(self) -> None:
        """Tell the verdict, which may be another one now."""
        if self._machine.role is Role.BACKUP:
            broken = self._machine.mirror.broken
            what = f"what the owner mirrors does not arrive here: {self.probe.named(broken)}"
            self._readiness.hold("mirror", [Reason("mirror", what, _TODO)] if broken else [])


def _unsent(error: OSError) -> Reason:
    return Reason(
        "mirror-probe",
        f"the mirror cannot be tested: a probe was not sent: {error}",
        "a firewall of this host, or a missing right (CAP_NET_RAW, CAP_NET_ADMIN)",
    )
