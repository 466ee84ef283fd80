"""Stand-in of the native side of one boot: beats to several peers, the lease (lease.h), the gate."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fttcp.ownership.model import Body, EngineMode, Lease, Settings

SOCKET_BUFFER = 200
_OPEN_MODES = (EngineMode.PAIRED, EngineMode.SOLO)


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat on one link, made for one receiver."""

    boot: int
    number: int
    sent: int
    echo_boot: int
    echo: int
    body: Body
    grant: bool


class LeaseRules:
    """struct ftt_lease and its functions, rule by rule."""

    def __init__(self, worth: int, peers: int) -> None:
        self.worth, self.policy, self.partner = worth, Lease.NONE, 0
        self.until = self.floor = 0
        self.limit: int | None = None
        self.granted = [0] * peers
        self.open = False

    def cut(self, until: int) -> int:
        return until if self.limit is None else min(until, self.limit)

    def use_grants(self, now: int) -> None:
        self.until = self.cut(self.granted[self.partner])
        self.open = self.open or now < self.until

    def set_policy(self, policy: Lease, limit: int | None, decided: int, now: int) -> None:
        kept_up = self.policy is Lease.SELF and self.open and now < self.until
        self.policy, self.limit = policy, limit
        if policy is Lease.SELF:
            until = min(decided, now) + self.worth
            self.until, self.open = self.cut(max(self.until, until) if kept_up else until), True
        elif policy is Lease.GRANTED:
            self.use_grants(now)
        else:
            self.until, self.granted, self.floor, self.open = 0, [0] * len(self.granted), now, False

    def set_partner(self, partner: int, now: int) -> None:
        self.partner = partner
        if self.policy is Lease.GRANTED:
            self.use_grants(now)

    def grant(self, peer: int, sent: int, now: int) -> None:
        if sent < self.floor or sent > now:
            return
        self.granted[peer] = max(self.granted[peer], sent + self.worth)
        if self.policy is Lease.GRANTED and peer == self.partner:
            self.use_grants(now)

    def renew(self, now: int) -> None:
        if self.policy is Lease.SELF and self.open and now < self.until:
            self.until = max(self.until, self.cut(now + self.worth))

    def ran_out(self, now: int) -> bool:
        if not self.open or now < self.until:
            return False
        self.open = False
        return True


@dataclass
class HeardPeer:
    """What the beat thread knows of one peer."""

    boot: int = 0
    number: int = 0
    echo: int = 0
    body: Body | None = None
    last: int = 0
    lost: bool = True
    link_last: dict[int, int] = field(default_factory=dict)
    links_up: set[int] = field(default_factory=set)


class Native:
    """One boot of the native side. Times are the host's own clock."""

    lease_rules: type[LeaseRules] = LeaseRules

    def __init__(self, boot: int, settings: Settings, post: Callable[[str, int, int], None]) -> None:
        self.boot, self.settings, self.post = boot, settings, post
        self.mode, self.session = EngineMode.IDLE, 0
        self.lease = self.lease_rules(settings.lease_ns, len(settings.peers))
        self.body: Body | None = None
        self.grant_to = self.number = 0
        self.peers = [HeardPeer() for _ in settings.peers]
        self.inbox: deque[tuple[int, int, Beat]] = deque(maxlen=SOCKET_BUFFER)

    def may_emit(self, now: int) -> bool:
        """ftt_may_emit()."""
        return self.mode in _OPEN_MODES and self.lease.policy is not Lease.NONE and now < self.lease.until

    def set_mode(self, mode: EngineMode, session: int, peer: int, now: int) -> None:
        if mode is not EngineMode.IDLE:
            self.lease.set_partner(peer, now)
        self.mode, self.session = mode, session

    def beat_for(self, peer: int, now: int) -> Beat | None:
        """Return the next heartbeat for a peer."""
        if self.body is None:
            return None
        heard = self.peers[peer]
        grant = bool(self.grant_to >> peer & 1)
        return Beat(self.boot, self.number, now, heard.boot, heard.echo, self.body, grant)

    def receive(self, peer: int, link: int, beat: Beat, now: int) -> None:
        heard = self.peers[peer]
        new_boot = beat.boot != heard.boot
        if new_boot:
            heard.boot, heard.number, heard.lost = beat.boot, 0, True
            heard.echo, heard.body = 0, None
        if beat.number < heard.number:
            return
        heard.last = heard.link_last[link] = now
        if link not in heard.links_up:
            heard.links_up.add(link)
            self.post("link-up", link, peer)
        if beat.number == heard.number:
            return
        if beat.grant and beat.echo_boot == self.boot:
            self.lease.grant(peer, beat.echo, now)
        changed = beat.body != heard.body
        heard.number, heard.echo, heard.body = beat.number, beat.sent, beat.body
        if heard.lost:
            heard.lost = False
            self.post("up", beat.boot, peer)
        if changed:
            self.post("body", 0, peer)

    def judge_lease(self, now: int) -> None:
        """What each round of the beat thread begins with: a lapse is told before anything that is heard."""
        if self.lease.ran_out(now) and (self.lease.policy is Lease.SELF or self.mode in _OPEN_MODES):
            self.post("lapsed", now, 0)

    def judge_peers(self, now: int) -> None:
        """At a tick: renew the lease; peers and links that have been silent for too long."""
        self.lease.renew(now)
        patience = self.settings.patience_ns
        for index, heard in enumerate(self.peers):
            for link in [link for link in heard.links_up if now - heard.link_last[link] > patience]:
                heard.links_up.discard(link)
                self.post("link-lost", link, index)
            if not heard.lost and now - heard.last > patience:
                heard.lost = True
                self.grant_to &= ~(1 << index)
                self.post("lost", now - heard.last, index)
