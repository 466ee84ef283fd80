"""Does what the owner mirrors arrive? It sends probes by its mirror, and the backup's engine tells of them.

Heartbeats pass where a firewall drops what clients say, and both nodes would believe in a pair that holds
nothing. The owner tells in its heartbeats the number of the probes that it has sent, the other node whether
it gets them: ``Body.mirror``. It says no only to what it knows to have been sent, so being slow is no fault.
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
QUICK_S = 0.2
"""While nobody follows: a pairing waits for it."""
PATIENCE_S = 1.0
"""For a probe that is known to have been sent: behind other packets, on a loaded host."""
MISSED = 3
"""Rounds one after the other in which the same probe was missed."""
_UNANSWERED = 10
_KEPT = 32
_TAKEN = -1
"""In the place of all bits: it has counted, and does so once."""
_FRESH = 8
"""So far from the last number that the owner has told may a probe be. Others are of a former owner, or said
again by somebody who has heard them."""
_TODO = (
    "let TCP to the service's ports and UDP to the commit channel's (channel_port + 1 and those of further "
    "workers) pass on the peer link, in the firewalls of both nodes; rp_filter of the backup's peer "
    "interface must not be 1"
)


class MirrorTest:
    """Both sides of the test, for one group on one node."""

    def __init__(
        self,
        machine: PairMachine,
        probe: MirrorProbe,
        keys: Callable[[], KeyRing],
        peer: Callable[[], Peer],
        feed: Callable[[ev.Event], object],
        publish: Callable[[], None],
        readiness: Readiness,
    ) -> None:
        """``peer``: to which this node mirrors when it serves; ``feed``: to the machine; ``publish`` puts
        ``number`` into the heartbeats."""
        self._machine, self._probe, self._keys, self._peer = machine, probe, keys, peer
        self._feed, self._publish, self._readiness = feed, publish, readiness
        self.number = 0
        """Of the last probes sent; 0 while this node has nobody to send them to."""
        self._next = secrets.randbits(40) + 1
        self._unanswered = 0
        self._heard, self._whole_s = 0, 0.0
        self._came: dict[int, int] = {}
        """Number -> a bit for each target whose probe has come."""
        self._missing, self._missed = probe.all, 0
        self._timers: set[asyncio.TimerHandle] = set()
        self._round: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; as the owner at once."""
        self._round = self._later(0.0, self._tick)

    def close(self) -> None:
        """Stop."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def hurry(self) -> None:
        """The pair is not in step any more: a round that was due at leisure is due soon."""
        if self._round in self._timers:
            self._round.cancel()
            self._timers.discard(self._round)
            self._round = self._later(QUICK_S, self._tick)

    def _later(self, delay_s: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        def due() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(delay_s, due)
        self._timers.add(timer)
        return timer

    # ------------------------------------------------------------------ the owner's side

    def _tick(self) -> None:
        machine, peer = self._machine, self._peer()
        self._round = self._later(INTERVAL_S if machine.in_step else QUICK_S, self._tick)
        if machine.role is Role.PRIMARY and peer.alive:
            self._send()
            self._look_at_answers()
        else:
            self._unanswered = 0
            self._readiness.hold("mirror-probe", [])
            if machine.role is not Role.BACKUP:  # nobody mirrors to it
                self._readiness.hold("mirror", [])
            if self.number:
                self.number = 0
                self._publish()

    def _send(self) -> None:
        try:
            self._probe.send(self._next, self._keys(), self._peer().index)
        except OSError as error:
            self._readiness.hold("mirror-probe", [_unsent(error)])
            return
        self._readiness.hold("mirror-probe", [])
        self.number, self._next = self._next, self._next + 1
        self._publish()

    def _look_at_answers(self) -> None:
        peer = self._peer()
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
        if number in (0, self._heard):
            return
        self._heard = number
        self._look_at_came(number)  # may have been faster than the heartbeat
        if not self._machine.awaits_mirror:
            return
        heard_s = asyncio.get_running_loop().time()
        self._later(PATIENCE_S, lambda: self._judge(number, heard_s))

    def seen(self, value: int) -> None:
        """The engine tells of a probe that came in."""
        number, target = told(value)
        came = self._came.get(number, 0)
        if came >> target & 1:
            return  # a copy
        self._came[number] = came | 1 << target
        while len(self._came) > _KEPT:
            old = (known for known in self._came if not self._fresh(known))
            del self._came[next(old, next(iter(self._came)))]
        self._look_at_came(number)

    def _fresh(self, number: int) -> bool:
        return bool(self._heard) and abs(number - self._heard) <= _FRESH

    def _look_at_came(self, number: int) -> None:
        whole = self._came.get(number) == self._probe.all
        if whole and self._fresh(number) and self._machine.role is not Role.PRIMARY:
            self._came[number] = _TAKEN
            self._arrived()

    def _arrived(self) -> None:
        self._whole_s = asyncio.get_running_loop().time()
        self._missing, self._missed = self._probe.all, 0
        self._readiness.hold("mirror", [])
        if not self._machine.view.mirror:
            self._feed(ev.MirrorChanged(True))

    def _judge(self, number: int, heard_s: float) -> None:
        """The time of these is over; what is older than the last that all came says nothing any more."""
        missing = self._probe.all & ~self._came.get(number, 0)
        if heard_s <= self._whole_s or not missing or not self._machine.awaits_mirror:
            return
        self._missing, self._missed = self._missing & missing, self._missed + 1
        if self._missed < MISSED or not self._missing:
            return
        what = f"what the owner mirrors does not arrive here: {self._probe.named(self._missing)}"
        self._readiness.hold("mirror", [Reason("mirror", what, _TODO)])
        if self._machine.view.mirror:
            self._feed(ev.MirrorChanged(False))


def _unsent(error: OSError) -> Reason:
    return Reason(
        "mirror-probe",
        f"the mirror cannot be tested: a probe was not sent: {error}",
        "a firewall of this host, or a missing right (CAP_NET_RAW, CAP_NET_ADMIN)",
    )
