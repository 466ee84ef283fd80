"""Properties of the codec and of the role machine under any sequence of events."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import (
    NS_PER_MS,
    Body,
    Cause,
    EngineMode,
    HistoryFailure,
    Lease,
    Mode,
    Role,
    Settings,
)
from fttcp.ownership.ownership import Outcome
from fttcp.ownership.pair import PairMachine
from fttcp.wire import body as codec
from fttcp.wire.errors import WireError

U64 = st.integers(0, 2**64 - 1)
NAMES = st.text(min_size=1, max_size=16)


def _body(**said: Any) -> Body:
    """What is not said has its default: hypothesis would make that up."""
    return Body(**said)


BODIES = st.builds(
    _body,
    group=NAMES,
    name=NAMES,
    role=st.sampled_from(Role),
    mode=st.sampled_from(Mode),
    epoch=U64,
    session=U64,
    healthy=st.booleans(),
    carrier=st.booleans(),
    priority=st.integers(0, 2**31 - 1),
    links=U64,
    request=U64,
    refused=U64,
    reason=st.sampled_from(Cause),
    reference=st.booleans(),
    maintenance=U64,
    offer=U64,
    yields=st.booleans(),
    seeking=st.booleans(),
    barred=st.booleans(),
    used=U64,
    offered_to=U64,
)
SMALL_BODIES = st.builds(
    _body,
    group=st.just("web"),
    name=st.just("beta"),
    role=st.sampled_from(Role),
    mode=st.sampled_from(Mode),
    epoch=st.integers(0, 8),
    session=st.sampled_from((0, 1 << 32 | 1, 2 << 32 | 1, 3 << 32 | 1, 3 << 32 | 2)),
    healthy=st.booleans(),
    carrier=st.booleans(),
    priority=st.sampled_from((50, 100, 150)),
    links=st.integers(0, 3),
    request=st.integers(0, 2),
    refused=st.integers(0, 8),
    reason=st.sampled_from(Cause),
    reference=st.booleans(),
    maintenance=st.integers(0, 4),
    offer=st.integers(0, 3),
    offered_to=st.integers(0, 1),
    mirror=st.booleans(),
)
EVENTS = st.one_of(
    st.builds(ev.PeerHeard, st.integers(1, 2)),
    st.builds(ev.PeerStated, SMALL_BODIES),
    st.builds(ev.LinkFound, st.integers(0, 1)),
    st.builds(ev.LinkLost, st.integers(0, 1)),
    st.sampled_from(
        (
            ev.ServerRecovered(),
            ev.ServerFailed(Cause.SERVER_DIED),
            ev.ServerFailed(Cause.RESOURCES_EXHAUSTED, serves=True),
            ev.CarrierChanged(True),
            ev.CarrierChanged(False),
            ev.WorkerDied(0),
            ev.WorkerDied(2),
            ev.GroundChanged(False),
            ev.GroundChanged(True),
            ev.ProbesSent(1, 3),
            ev.ProbesSent(2, 3),
            ev.ProbeSeen(1, 0),
            ev.ProbeSeen(1, 1),
            ev.ReferenceChanged(True),
            ev.ReferenceChanged(False),
            ev.SwitchoverRequested(3),
            ev.SwitchoverRequested(5, force=True),
            ev.SwitchoverRequested(7, now=True),
            ev.FlowsSeen(),
            ev.FlowsSeen(catching=1, progress=1),
            ev.FlowsSeen(unverified=1),
            ev.HistoryFailed(HistoryFailure.CUT),
            ev.HistoryFailed(HistoryFailure.NO_ROOM),
            ev.FailoverRequested(9),
            ev.MaintenanceChanged(1),
            ev.MaintenanceChanged(2),
            ev.PeerQuiet(),
            ev.LossNoticed(),
            ev.DeadlineReached(),
        )
    ),
    st.just("lost"),
    st.just("lapsed"),
)
MOVES = st.lists(st.tuples(EVENTS, st.sampled_from((0, 1, 20, 60, 250, 700))), max_size=40)
SETTINGS = Settings("web", "alpha", ("beta",), 100, 100 * NS_PER_MS, 1000, 500 * NS_PER_MS, boot_id=1)


@given(BODIES)
def test_a_body_survives_the_wire(body: Body) -> None:
    assert codec.decode(codec.encode(body)) == body


@given(st.binary(max_size=600))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    with suppress(WireError):
        codec.decode(data)


@settings(max_examples=400, deadline=None)
@given(MOVES)
def test_whatever_happens_the_orders_keep_the_invariants(moves: list[tuple[ev.Event | str, int]]) -> None:
    now = 10**12
    machine = PairMachine(SETTINGS, now)
    lease, mode, grant, epoch = Lease.NONE, EngineMode.IDLE, False, 0
    for move, wait_ms in [(ev.Started(), 0), *moves]:
        now += wait_ms * NS_PER_MS
        if move == "lost":
            event: ev.Event = ev.PeerLost(SETTINGS.patience_ns, now, now - SETTINGS.patience_ns)
        elif move == "lapsed":
            event = ev.LeaseLapsed(now)
        else:
            assert not isinstance(move, str)
            event = move
        for command in machine.step(event, now):
            assert not isinstance(command, do.Fence), command.why
            match command:
                case do.SetLease(policy=policy):
                    lease = policy
                case do.SetMode(mode=new_mode):
                    mode = new_mode
                case do.Publish(body=body, grant_to=granted):
                    grant = bool(granted)
                    assert body.epoch >= epoch
                    epoch = body.epoch
        assert not (grant and lease is not Lease.NONE)
        assert lease is Lease.NONE or mode in (EngineMode.PAIRED, EngineMode.SOLO)
        assert lease is not Lease.SELF or mode is EngineMode.SOLO
        deadline = machine.deadline_ns()
        assert deadline is not None and deadline > now


class Twins:
    """Two machines that live through the same: one is told of each deadline, one pulses where it may."""

    def __init__(self) -> None:
        self.now, self.pulses = 10**12, 0
        self.told, self.light = (PairMachine(SETTINGS, self.now) for _ in range(2))
        for event in (ev.Started(), ev.CarrierChanged(True), ev.ServerRecovered()):
            self.step(event)

    def step(self, event: ev.Event) -> None:
        commands = self.told.step(event, self.now)
        assert self.light.step(event, self.now) == commands
        for command in commands:
            assert not isinstance(command, do.Fence)
            if isinstance(command, do.StoreEpoch):
                self.step(ev.EpochStored(command.epoch))
            elif isinstance(command, do.Propose):
                self.step(ev.ArbiterAnswered(command.request, Outcome.WON, command.wanted))
            elif isinstance(command, do.Inquire):
                record = self.told.arbitration.record
                self.step(ev.ArbiterAnswered(command.request, Outcome.WON, record))

    def wait(self, duration_ns: int) -> None:
        end = self.now + duration_ns
        while (deadline := self.told.deadline_ns()) is not None and deadline <= end:
            assert self.light.deadline_ns() == deadline
            self.now = deadline
            if self.light.pulse(self.now):
                self.pulses += 1
                assert self.told.step(ev.DeadlineReached(), self.now) == []
            else:
                self.step(ev.DeadlineReached())
        self.now = end

    def hear(self, **said: object) -> None:
        body = Body("web", "beta", Role.BACKUP, Mode.IDLE, 0, 0, True, True, 50, 3)
        for event in (ev.PeerHeard(1), ev.LinkFound(0), ev.LinkFound(1)):
            self.step(event)
        self.step(ev.PeerStated(body._replace(**said)))  # type: ignore[arg-type]


def in_step(role: Role) -> Twins:
    """Twins that are a primary, or a backup, in step with the peer; those at rest pulse."""
    twins = Twins()
    if role is Role.PRIMARY:
        twins.wait(SETTINGS.startup_wait_ns)
        twins.hear()
        twins.hear(mode=Mode.PAIRING, session=twins.told.session)
    else:
        twins.wait(SETTINGS.settle_ns)
        twins.hear(role=Role.PRIMARY, mode=Mode.PAIRING, epoch=2, session=2 << 32 | 1)
        twins.hear(role=Role.PRIMARY, mode=Mode.PAIRED, epoch=2, session=2 << 32 | 1)
    twins.wait(SETTINGS.lease_ns)
    assert twins.told.in_step and twins.pulses >= 2
    return twins


@settings(max_examples=400, deadline=None)
@given(st.sampled_from((Role.PRIMARY, Role.BACKUP)), MOVES)
@example(Role.BACKUP, [(ev.CarrierChanged(False), 60), (ev.CarrierChanged(True), 60)])
@example(Role.BACKUP, [(ev.FailoverRequested(9), 60)])
def test_a_pulse_leaves_out_only_what_decides_nothing(
    role: Role, moves: list[tuple[ev.Event | str, int]]
) -> None:
    twins = in_step(role)
    for move, wait_ms in moves:
        twins.wait(wait_ms * NS_PER_MS)
        if move == "lost":
            event: ev.Event = ev.PeerLost(SETTINGS.patience_ns, twins.now, twins.now - SETTINGS.patience_ns)
        elif move == "lapsed":
            event = ev.LeaseLapsed(twins.now)
        else:
            assert not isinstance(move, str)
            event = move
        twins.step(event)
    twins.wait(1000 * NS_PER_MS)


def test_a_node_that_was_halted_does_not_pulse() -> None:
    twins = in_step(Role.PRIMARY)
    deadline_ns = twins.light.deadline_ns()
    assert deadline_ns is not None
    for halt_ns, pulses in ((SETTINGS.lease_ns, True), (SETTINGS.lease_ns + 1, False)):
        stepped_ns = deadline_ns - SETTINGS.lease_ns // 3
        assert twins.light.pulse(stepped_ns + halt_ns) == pulses
        deadline_ns += halt_ns
