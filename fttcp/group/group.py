"""One group on one node: its engine, its role machine, its server, and what flows between them.

The way from an engine's event to the engine's next order is short: read, decide, order, all in one
turn of the loop. Everything that may wait (log, routes, restarts) is put behind it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fttcp.arbiter.base import ArbiterClient
from fttcp.group.calls import Calls
from fttcp.group.checkpoints import Checkpoints
from fttcp.group.claims import Claims
from fttcp.group.clients import Clients
from fttcp.group.commits import ChannelWatch
from fttcp.group.common import Common
from fttcp.group.detectors import Detectors
from fttcp.group.hearing import Hearing
from fttcp.group.last_words import LastWords
from fttcp.group.late import Late
from fttcp.group.mirror import MirrorTest
from fttcp.group.moment import flows_seen
from fttcp.group.orders import Orders
from fttcp.group.ownership import Ownership
from fttcp.group.readiness import Readiness
from fttcp.group.recording import Recorder
from fttcp.group.saying import Saying
from fttcp.group.serving import Serving
from fttcp.group.shown import (
    bits,
    engine_shown,
    firewall_shown,
    is_ready,
    keys_shown,
    machine_shown,
    ownership_shown,
    shown_first,
)
from fttcp.group.stored import StoredReplies
from fttcp.group.takeovers import Takeovers
from fttcp.group.waiting import FENCED, differences, near, waits
from fttcp.network.ground import Ground
from fttcp.network.owner import Standing
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, Phase, Refusal, Role, Settings
from fttcp.ownership.pair import NEVER_NS, PairMachine
from fttcp.ownership.versions import common
from fttcp.planes.base import Engine, EngineEvent, EngineSettings, EventKind, HistoryFailure
from fttcp.planes.clocks import Clocks
from fttcp.planes.mirror import MirrorProbe
from fttcp.report.events import History
from fttcp.server.server import Caretaker
from fttcp.wire import clock
from fttcp.wire.body import AdapterWord
from fttcp.wire.keyfile import KeyRing


class GroupRuntime:
    """Feeds the machine of one group and carries its commands out."""

    mended = 0
    """How much of what it relies on was changed by somebody, and put back."""
    end_grace_ns = 0
    """For so long the engine holds ends of connections that the other node's server did not end."""
    on_news: Callable[[], None] = staticmethod(lambda: None)
    """Called whenever something may have changed in the group's roles."""

    def __init__(
        self,
        machine: PairMachine,
        engine: Engine,
        history: History,
        arbiter: ArbiterClient,
        shape_routes: Callable[[bool], None],
        mirror_to: Callable[[int], None] = lambda peer: None,
        keep_maintenance: Callable[[int], None] = lambda count: None,
        keep_epoch: Callable[[int], None] = lambda epoch: None,
        keys: KeyRing | None = None,
        interface: str = "",
        probe: MirrorProbe | None = None,
        on_lapse: Callable[[], None] = lambda: None,
        common: Common | None = None,
    ) -> None:
        """Called late: ``shape_routes(backup)`` after a change of role, ``mirror_to(peer)`` when another peer
        is, or is about to become, the backup of this primary, ``keep_maintenance(count)`` to store the
        count of pauses and resumes. Both that and ``keep_epoch``: see ``Kept``.
        ``on_lapse()``: the lease has run out, and the gate is shut. ``interface``: where the service is.
        ``common``: of all groups of the node."""
        self.machine, self.engine = machine, engine
        self.name = machine.settings.group
        self.server: Caretaker | None = None
        self.serving = Serving(self)
        self.lockstep: Path | None = None
        """What this group shares with its server, if that is kept in step."""
        self.recorder: Recorder | None = None
        """What keeps the server's history on disk, if that is wanted."""
        self.checkpoints: Checkpoints | None = None
        """Of a warm group."""
        self.detectors: Detectors | None = None
        """What learns for how long a silence is borne, if the configuration wants it."""
        self.firewall: Standing | None = None
        """How the rules stood when they were last looked at."""
        self.clocks: Clocks | None = None
        self.readiness = Readiness(self.note)
        self.ground: Ground | None = None
        """How all else stood that this group relies on."""
        self.finished = asyncio.Event()
        self._ownership = Ownership(
            arbiter, self.name, keep_epoch, self._answered, self.fail, self.readiness, self.note
        )
        self._history, self._on_lapse = history, on_lapse
        self._loop = asyncio.get_running_loop()
        self.common = common or Common()
        self._timer: asyncio.TimerHandle | None = None
        self._takeovers = Takeovers()
        self._last_words = LastWords(engine, self.note)
        self._hearing = Hearing(machine.settings, self.note)
        self._claims = Claims(interface, self.note)
        self._saying = Saying(
            engine,
            keys,
            lambda: self._claims.mac,
            lambda: 0 if self.mirror is None else self.mirror.number,
            lambda: None if self.clocks is None else self.clocks.word,
        )
        self.calls = Calls(self, self._hearing, self._saying)
        self.stored = StoredReplies(machine, engine, self._hearing, self._saying, self.readiness, self.note)
        self.mirror = None if probe is None or keys is None else self._mirror_test(probe, keys)
        self._commits = ChannelWatch()
        self._clients = Clients(machine, engine)
        self._late = Late(
            self, self._hearing, self._claims, self._takeovers, shape_routes, mirror_to, keep_maintenance
        )
        self._orders = Orders(
            self, self._saying, self._ownership, self._last_words, self._takeovers, self._late, self.fail
        )
        self.started = self._closed = False

    # ------------------------------------------------------------------ life

    def start(self, *known: ev.Event) -> None:
        """Start the engine and the machine, which is told first what is ``known``. Raises EngineError."""
        self.engine.start()
        self.started = True
        for event in known:
            self._step(event)
        self._loop.add_reader(self.engine.event_fd(), self._drain)
        self.feed(ev.Started())
        if self.mirror is not None:
            self.mirror.start()

    def stop(self) -> None:
        """Ask for the end of this node's role; ``finished`` is set when it is given up."""
        if not self.started:  # there is nothing to give up
            self.finished.set()
        self.feed(ev.StopRequested())

    def close(self) -> None:
        """Close the engine: nothing of the group passes any more."""
        if self._closed:
            return
        self._closed = self._saying.closed = True
        self._arm()
        self.common.behind.hurry(self, False)
        self.common.together.leave(self.engine)
        self._ownership.close()
        self._loop.remove_reader(self.engine.event_fd())
        for part in (self.mirror, self.recorder, self.checkpoints, self.calls):
            if part is not None:
                part.close()
        self.engine.close()
        self.finished.set()

    def learn(self) -> None:
        """Let the detector learn, and look after what time changes; a few times in a minute will do."""
        if not self._closed:
            paired = self.machine.phase is Phase.PAIRED
            self.readiness.hold("channel", self._commits.look(paired, self.engine.counters()))
            self.look()  # some of it passes with time alone
            if self.stored.leaves():
                self.request_switchover()
        if self.recorder is not None:
            self.recorder.look()
        if self.detectors is not None and not self._closed:
            self.detectors.learn()

    def use(self, settings: EngineSettings, learning: bool) -> None:
        """Go by these settings of the engine; ``learning``: with an adaptive detector."""
        self.end_grace_ns = settings.end_grace_ns
        self.calls.patience_ms = settings.detach_after_ns // NS_PER_MS
        self.stored.use(settings.stored)
        if settings.stored is not None:  # the engine tells before its start that it has read what is stored
            self._loop.add_reader(self.engine.event_fd(), self._drain)
        self._saying.service_mac = settings.service_mac if any(settings.service_mac) else b""
        if learning and self.detectors is None:
            self.detectors = Detectors(self.engine, settings)
        elif not learning and self.detectors is not None:
            self.detectors.close()
            self.detectors = None

    def configure(self, core: Settings, engine: EngineSettings, learning: bool) -> None:
        """Use what may change while the group runs, of both; ``learning``: see ``use``."""
        if self._closed:
            return
        self.engine.tune(engine)
        self.use(engine, learning)
        self.feed(_reconfigured(core))

    def agree_on(self, terms: tuple[int, ...]) -> None:
        """Tell the other nodes these digests from now on, and compare with them."""
        settings = self.machine.settings
        if terms != settings.terms and not self._closed:
            self.feed(_reconfigured(replace(settings, terms=terms)))

    def set_keys(self, keys: KeyRing) -> None:
        """Believe other keys from now on, and tell the peers which."""
        if not self._closed:
            self._saying.use_keys(keys)

    def use_adapter(self, interface: str) -> None:
        """The service is behind this interface from now on: neighbours are told, if this node serves."""
        if not self._closed:
            self._claims.interface = interface
            self.engine.use_interface(interface)

    def say_adapters(self, words: tuple[AdapterWord, ...]) -> None:
        """Tell the peers how the node's adapters stand."""
        if words != self._saying.adapters:
            self._saying.adapters = words
            self.publish()

    def peer_adapters(self) -> dict[str, tuple[AdapterWord, ...]]:
        """Return by names of peers what they told last of theirs."""
        return {name: aside.adapters for name, aside in self._hearing.asides.items()}

    def publish(self) -> None:
        """Something beside the role machine's word has changed: tell the peers."""
        self._saying.again()

    def _mirror_test(self, probe: MirrorProbe, keys: KeyRing) -> MirrorTest:
        return MirrorTest(
            self.machine,
            probe,
            lambda: self._saying.keys or keys,
            self._step,
            self.publish,
            self.readiness,
            self.common.turns,
        )

    # ------------------------------------------------------------------ events in

    def feed(self, event: ev.Event) -> list[do.Command]:
        """Let the machine see an event, after the engine's; return its commands. Before the start: none."""
        if not self.started:
            return []
        self._drain()
        return self._step(event)

    def _answered(self, event: ev.Event) -> None:
        """The arbiter or the disk answered."""
        before = self.machine.arbitration.record
        self.feed(event)
        record = self.machine.arbitration.record
        if record is not None and record != before and self.machine.settings.arbitrated:
            backup = {"backup": record.backup} if record.backup else {}
            self.note("record", epoch=record.epoch, holder=record.holder, mode=record.mode, **backup)

    def request_switchover(self, force: bool = False, now: bool = False) -> Refusal | None:
        """Ask for the roles to be exchanged, see ``SwitchoverRequested``; return why not, or None."""
        commands = self.feed(ev.SwitchoverRequested(secrets.randbits(63) | 1, force, now))
        return next((command.reason for command in commands if isinstance(command, do.Refuse)), None)

    def request_failover(self) -> Refusal | None:
        """Ask for this backup to take over without consent; return why not, or None when it is under way."""
        commands = self.feed(ev.FailoverRequested(secrets.randbits(63) | 1))
        return next((command.reason for command in commands if isinstance(command, do.Refuse)), None)

    def set_paused(self, paused: bool) -> None:
        """Begin or end maintenance."""
        if paused != self.machine.paused:
            self.feed(ev.MaintenanceChanged(self.machine.maintenance + 1))

    def _drain(self) -> None:
        """Take all events of the engine in; people are told of them late, in the order of what happened."""
        while not self._closed and (events := self.engine.events()):
            for event in events:
                self._late.put(event)
                self._take(event)

    def _take(self, event: EngineEvent) -> None:
        match event.kind:
            case EventKind.PEER_UP:
                self._step(ev.PeerHeard(event.value, event.peer))
                self._hear_peer(event.peer)
            case EventKind.PEER_BODY:
                self._hear_peer(event.peer)
            case EventKind.PEER_QUIET:
                self._step(ev.PeerQuiet(event.peer))
            case EventKind.PEER_LOST:
                self._lose_peer(event)
            case EventKind.LINK_UP:
                self._step(ev.LinkFound(event.link, event.peer))
            case EventKind.LINK_LOST if self.machine.view.peers[event.peer].alive:  # else it has none
                self._step(ev.LinkLost(event.link, event.peer))
            case EventKind.PROMOTED:
                self._step(ev.Promoted())
            case EventKind.MIRROR_SEEN if self.mirror is not None:
                self.mirror.seen(event.value)
            case EventKind.LEASE_LAPSED:
                self._step(ev.LeaseLapsed(event.when_ns))
                self._on_lapse()
            case EventKind.HISTORY_FAILED:
                self._step(ev.HistoryFailed(HistoryFailure(event.value)))
            case EventKind.STORED if not self._closed and self.stored.take(event):
                self.request_switchover()
            case EventKind.ERROR:
                self.fail(f"the engine cannot go on: error {event.value} at {event.reason}")

    def _lose_peer(self, event: EngineEvent) -> None:
        """The grant is withdrawn; then look whether a heartbeat has come in spite of all."""
        self._step(ev.LossNoticed(event.peer))
        if not self._closed:
            heard_ns = self.engine.heard_ns(event.peer)
            self._step(ev.PeerLost(event.value, event.when_ns, heard_ns, event.peer))

    def _hear_peer(self, peer: int) -> None:
        """Fetch what a peer says now."""
        said, known = self.engine.peer_body(peer), self.machine.view.peers[peer]
        if said is None or not said[1] or said[0] != known.boot_id:
            return  # of another boot: its PEER_UP is still to come
        body = self._hearing.understand(said[1], known)
        aside = self._hearing.aside(known.name)
        self._claims.know(known.name, aside.mac, aside.service_mac)
        if self.clocks is not None:
            self.clocks.heard(known.name, aside.clock)
        if body is not None:
            self.engine.speak(peer, common(self.machine.settings.speaks, body.speaks) or 0)
            self._step(ev.PeerStated(body, peer))
            if self.mirror is not None:
                self.mirror.heard(aside.probe)

    # ------------------------------------------------------------------ commands out

    def _step(self, event: ev.Event) -> list[do.Command]:
        """Let the machine decide; give the engine its orders now and do the rest afterwards."""
        if self._closed:
            return []
        if self._clients.came_before(event):
            self._step(ev.ClientServed())
        machine, was_in_step = self.machine, self.machine.in_step
        commands = machine.step(event, clock.now_ns())
        self.common.behind.hurry(self, machine.hurries, isinstance(event, ev.PeerQuiet | ev.LossNoticed))
        if isinstance(event, ev.LossNoticed):  # the rest is for the step that comes next
            return self._orders.follow(commands)
        self._late.compare()
        if self.mirror is not None and was_in_step and not machine.in_step:
            self.mirror.hurry()
        self._orders.follow(commands)
        if commands or not isinstance(event, ev.DeadlineReached | ev.LeaseSeen):
            self._late.put()
            self.on_news()
        self._arm()
        if any(isinstance(command, do.LookAtFlows) for command in commands) and not self._closed:
            commands = commands + self._step(flows_seen(self.engine))
        return commands

    def _arm(self) -> None:
        """Set the one timer to the machine's deadline; one at rest pulses with others until then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rests_until_ns = None if self._closed else self.machine.rests_until_ns
        if rests_until_ns is None:
            self.common.pulse.leave(self)
            deadline_ns = None if self._closed else self.machine.deadline_ns()
        else:
            self.common.pulse.join(self)
            deadline_ns = None if rests_until_ns >= NEVER_NS else rests_until_ns
        if deadline_ns is not None:
            delay_s = max(0, deadline_ns - clock.now_ns()) / 1e9
            self._timer = self._loop.call_later(delay_s, self.deadline)

    def deadline(self) -> None:
        """Tell the machine that its time has come."""
        if self.machine.watches_lease and not self._closed:
            self.feed(ev.LeaseSeen(self.engine.lease_left_ns()))
        self.feed(ev.DeadlineReached())

    def fail(self, why: str) -> None:
        """This group cannot go on here: close its engine, so that the peer finds it silent."""
        self.close()
        self._late.put(do.Fence(why))

    # ------------------------------------------------------------------ what people see

    def note(self, kind: str, level: str = "info", **fields: Any) -> None:
        """Tell people what happened in this group."""
        self._history.add(kind, level, self.name, **fields)

    def look(self) -> None:
        """See what the role machine waits for now; its own events have told of it."""
        if self.fenced:
            self.readiness.hold("role", [FENCED], told=False)
            return
        if self.machine.arbitration.goal is None:
            self._ownership.forget_refusal()
        for part in (self.mirror, self.checkpoints):
            if part is not None:
                part.look()
        server, answers = self.server, self._ownership.describe().get("reachable")
        reason, lacks = ("not started", "") if server is None else (server.reason, server.lacks)
        now_ns = clock.now_ns()
        close = near(self.machine, self.engine, now_ns)
        why = waits(self.machine, self._hearing, answers, reason, lacks, close, now_ns)
        self.readiness.hold("role", why, told=False)
        self.readiness.hold("settings", differences(self.machine))
        self.readiness.hold("claims", self._claims.settle(), told=False)
        self.stored.look()
        self.calls.look()

    @property
    def fenced(self) -> bool:
        """True when the group cannot go on in this daemon."""
        return self._closed or self.machine.phase is Phase.FENCED

    def owner(self) -> str | None:
        """Return the name of the node that serves the group, as far as this one knows."""
        machine = self.machine
        if machine.role is Role.PRIMARY and not self._closed:
            return machine.settings.name
        owner = machine.view.owner()
        return None if owner is None else owner.name

    def status(self) -> dict[str, Any]:
        """Return the group's part of ``status``."""
        machine, server, peer = self.machine, self.server, shown_first(self.machine)
        self.look()
        base: dict[str, Any] = {
            **machine_shown(machine, peer, self.fenced, self._hearing.releases),
            "ownership": ownership_shown(machine, self._ownership.describe(), clock.now_ns()),
            "synced": machine.in_step and not self._closed,
            "not_ready": self.readiness.shown(),
            "claims": self._claims.shown(),
            "takeovers": self._takeovers.shown(),
            "takeover_counts": dict(self._takeovers.counts),
            "firewall": firewall_shown(self.firewall),
            "mended": self.mended,
            "shed": self.serving.shed,
            "checkpoint": None if self.checkpoints is None else self.checkpoints.shown(),
            "keys": keys_shown(self._saying.key_ids(), machine.view.named, self._hearing.aside),
        }
        base |= self.calls.shown() | ({} if server is None else {"server": server.shown()})
        if not self._closed:
            base |= engine_shown(self.engine, peer.index)
        base |= {} if self.recorder is None else {"recording": self.recorder.shown()}
        return base | {"ready": is_ready(base)}

    def links_up(self, name: str) -> list[int]:
        """Return the links on which this group hears a peer; none of one that it does not know (yet)."""
        peer = next((one.index for one in self.machine.view.named if one.name == name), None)
        return [] if self._closed or peer is None else bits(self.engine.status().links_up[peer])

    def connections(self, limit: int, with_closed: bool = True) -> Iterable[dict[str, Any]]:
        """See ``Engine.flows``."""
        return [] if self._closed else self.engine.flows(limit, with_closed)

    def clients(self, limit: int) -> set[bytes]:
        """Return the addresses of the clients of up to ``limit`` flows."""
        return set() if self._closed else self.engine.clients(limit)

    def why_not(self, refusal: str) -> str:
        """Return a refusal of the role machine as people read it."""
        return refusal.replace("GROUP", self.name)

    def ending(self) -> int:
        """Return how many connections end if this node stops serving now, as far as it knows."""
        machine = self.machine
        if self._closed or machine.role is not Role.PRIMARY:
            return 0
        flows = self.engine.status()
        followed = (
            0 if machine.in_step and not machine.paused else flows.flows_protected + flows.flows_opening
        )
        return flows.flows_ending + followed

    def counters(self) -> dict[str, int]:
        """Return the engine's counters."""
        return {} if self._closed else self.engine.counters()


def _reconfigured(core: Settings) -> ev.Reconfigured:
    return ev.Reconfigured(core.priority, core.startup_wait_ns, core.handover_wait_ns, core.terms)
